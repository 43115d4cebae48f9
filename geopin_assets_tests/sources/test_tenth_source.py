"""Adding a source takes one file, one registry entry (with its place in rule and pages) and one recorded payload."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "tenth"
ROW = "| `lantern` | views | CC-BY-4.0 | `{creator}, Lantern, CC BY 4.0` | <https://lantern.example/contribute> |\n"
PAGE_ROW = "| `lantern` | nothing | as invented | 2 a second | 1 |\n"
SECTION = "## lantern\n\nAn invented platform. CC-BY-4.0, shown as `{creator}, Lantern, CC BY 4.0`.\n\n"


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GEOPIN_", "DAGSTER_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=env | {"PYTHONPATH": str(checkout), "DAGSTER_HOME": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name} has no single {old!r}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def row_of(page: Path) -> str:
    """The last row of the table of sources."""
    return next(line for line in page.read_text(encoding="utf-8").splitlines(True) if line.startswith("| `own_photos`"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a tenth source, added as docs/sources.md says."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("geopin_assets", "geopin_assets_tests", "docs"):
        shutil.copytree(CHECKOUT / name, copy / name)
    for name in ("README.md", "Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, copy / name)
    shutil.copy(HERE / "lantern.py", copy / "geopin_assets/sources/lantern.py")
    shutil.copy(HERE / "recording.py", copy / "geopin_assets_tests/sources/recordings/lantern.py")
    edit(
        copy / "geopin_assets/sources/__init__.py",
        ("\nSOURCES", "\nfrom geopin_assets.sources.lantern import Lantern\n\nSOURCES"),
        ("    OwnPhotos,\n)", "    OwnPhotos,\n    Lantern,\n)"),
    )
    edit(
        copy / "pyproject.toml",
        ('"geopin_assets.sources.own_photos",', '"geopin_assets.sources.own_photos", "geopin_assets.sources.lantern",'),
    )
    edit(copy / "README.md", (row_of(copy / "README.md"), row_of(copy / "README.md") + ROW))
    page = copy / "docs/sources.md"
    edit(
        page,
        ("[own_photos](#own_photos)", "[own_photos](#own_photos) · [lantern](#lantern)"),
        (row_of(page), row_of(page) + PAGE_ROW),
        ("## Add a source\n", f"{SECTION}## Add a source\n"),
    )
    return copy


def test_the_contract_suite_runs_over_it(checkout: Path):
    folder = "geopin_assets_tests"
    suite = (f"{folder}/sources/test_contract.py", f"{folder}/sources/test_docs.py", f"{folder}/test_house.py")
    about_it = "lantern or registered or readme_has_a_row or import_rule or every_source_has_a_section"
    ran = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", about_it, *suite)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed and int(passed[1]) >= 20


def test_its_asset_has_everything_that_follows_from_the_facts(checkout: Path):
    program = (
        "from geopin_assets.definitions import defs\n"
        "import dagster as dg\n"
        "asset = defs.resolve_asset_graph().get(dg.AssetKey(['raw', 'lantern']))\n"
        "print(asset.group_name, len(asset.partitions_def.get_partition_keys()), asset.pools, asset.description[:40])\n"
        "print(asset.metadata['attribution'], asset.metadata['homepage'])\n"
        "print(asset.key in defs.resolve_asset_graph().get(dg.AssetKey(['catalog', 'captures'])).parent_keys)\n"
    )
    ran = run(checkout, "-W", "ignore", "-c", program)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "raw 20064 {'lantern'} Lantern: an invented platform" in ran.stdout
    assert "{creator}, Lantern, CC BY 4.0" in ran.stdout
    assert ran.stdout.strip().endswith("True")


def test_people_see_it_among_the_sources_and_in_plans(checkout: Path):
    assert "Lantern" in run(checkout, "-m", "geopin_assets.cli", "sources").stdout
    assert "lantern" in run(checkout, "-m", "geopin_assets.cli", "plan", "lantern", "--region", "nh-amsterdam").stdout
