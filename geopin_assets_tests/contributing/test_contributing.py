"""CONTRIBUTING.md leads where it says: its three steps add a check to a copy of the project; what it names is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent
GUIDE = (CHECKOUT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
FORMS = sorted((CHECKOUT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
EVALUATED = """
import dagster as dg
from geopin_assets.defs.assemble import build_definitions

key = dg.AssetKey(["quality", "diversity"])
defs = build_definitions()
(check,) = (found for found in defs.resolve_asset_graph().asset_check_keys if found.asset_key == key)
print(check.name, "|", defs.resolve_asset_graph().get_check_spec(check).description)
with dg.DagsterInstance.ephemeral() as instance:
    job = defs.resolve_implicit_global_asset_job_def()
    ended = job.execute_in_process(instance=instance, asset_selection=[key])
(evaluation,) = ended.get_asset_check_evaluations()
print(evaluation.passed, evaluation.description)
"""


def run(copy: Path, *words: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GEOPIN_", "DAGSTER_", "PYTEST_"))}
    environ = kept | {"PYTHONPATH": str(copy), "GEOPIN_DATA": str(copy / "data")}
    command = [sys.executable, "-W", "ignore", *words]
    ended = subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name} has no single {old!r}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with another check: the three steps of "Add a check", and its test."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("geopin_assets", "geopin_assets_tests"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("data"))
    shutil.copytree(CHECKOUT / "geopin_assets" / "data", folder / "geopin_assets" / "data")
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    check = (HERE / "winter.py").read_text(encoding="utf-8").partition("\n")[2]
    edit(
        folder / "geopin_assets/defs/assets/diversity.py",
        ('@report("quality/diversity", ', f'{check}\n\n@report("quality/diversity", checks=CHECKS, '),
        ("import Columns, frame_table, report\n", "import Columns, frame_table, report, verdict\n"),
        (
            "return dg.MaterializeResult(\n",
            "return dg.MaterializeResult(\n        check_results=[winter_check(report.winter_share)],\n",
        ),
    )
    shutil.copy(HERE / "winter_checked.py", folder / "geopin_assets_tests/defs/assets/test_winter.py")
    return folder


def test_a_check_added_by_the_three_steps_is_defined_and_evaluated_with_its_report(copy: Path) -> None:
    defined, evaluated = run(copy, "-c", EVALUATED).splitlines()
    assert defined.startswith("winter | At least one capture in ten")
    assert evaluated == "False 0% of the captures were taken in winter"


def test_the_test_that_comes_with_it_runs_alone(copy: Path) -> None:
    ran = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "geopin_assets_tests/defs/assets/test_winter.py")
    assert "2 passed" in ran


def test_every_file_and_target_that_the_guide_names_exists() -> None:
    named = set(re.findall(r"`((?:geopin_assets|docs|\.github)[\w./]*)`", GUIDE))
    named |= set(re.findall(r"pytest (geopin_assets_tests[\w./]*)", GUIDE))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (CHECKOUT / path).exists()] == []
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", GUIDE, re.MULTILINE))
    assert {"test", "test-long", "check", "demo", "lock"} <= targets
    assert [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_every_link_of_the_guide_leads_to_a_file_or_a_heading() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in GUIDE.splitlines()}
    for link in re.findall(r"\]\(([^)]+)\)", GUIDE):
        path, _, anchor = link.partition("#")
        assert not path or (CHECKOUT / ".github" / path).exists(), link
        assert path or anchor in headings, link


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_takes(form: Path) -> None:
    said = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= said.keys()
    asked = [part for part in said["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked) > 2
    for part in asked:
        assert part["type"] in ("input", "textarea", "dropdown", "checkboxes") and part["attributes"]["label"]
        if part["type"] in ("dropdown", "checkboxes"):
            assert part["attributes"]["options"]


def test_each_commit_is_checked_by_the_tools_that_make_check_runs() -> None:
    config = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert all(repo["repo"] == "local" for repo in config["repos"]), "nothing is fetched at a commit"
    tools = {hook["entry"].split()[0].rpartition("/")[2] for hook in hooks}
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert tools == set(re.findall(r"^\t\$\(BIN\)/(ruff|lint-imports|mypy)\b", makefile, re.MULTILINE))
