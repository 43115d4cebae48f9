"""Adding a source takes one file, one registry entry (with its row in the README) and one recorded payload."""

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


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a tenth source, added as the README says."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("geopin_assets", "geopin_assets_tests"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, copy / name)
    shutil.copy(HERE / "lantern.py", copy / "geopin_assets/sources/lantern.py")
    shutil.copy(HERE / "recording.py", copy / "geopin_assets_tests/sources/recordings/lantern.py")
    registry = copy / "geopin_assets/sources/__init__.py"
    text = registry.read_text()
    text = text.replace("    OwnPhotos,\n)", "    OwnPhotos,\n    Lantern,\n)")
    registry.write_text(text.replace("\nSOURCES", "\nfrom geopin_assets.sources.lantern import Lantern\n\nSOURCES", 1))
    readme = copy / "README.md"
    readme.write_text(
        re.sub(r"(^\| `own_photos` \|.*\n)", lambda match: match[1] + ROW, readme.read_text(), flags=re.M)
    )
    return copy


def test_the_contract_suite_runs_over_it(checkout: Path):
    suite = ("geopin_assets_tests/sources/test_contract.py", "geopin_assets_tests/test_house.py")
    about_it = "lantern or registered or readme_has_a_row"
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
