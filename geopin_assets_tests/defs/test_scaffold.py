"""What Dagster's own tool writes is loaded beside the graph: in a copy, `dg scaffold defs` and then `dg list defs`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from geopin_assets.defs.graph import GRAPH
from geopin_assets_tests.depth import some

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(CHECKOUT / "geopin_assets", copy / "geopin_assets", ignore=shutil.ignore_patterns("foo.py"))
    for name in ("pyproject.toml", "dagster.yaml"):
        shutil.copy(CHECKOUT / name, copy / name)
    return copy


def dg_tool(checkout: Path, *words: str) -> str:
    binaries = Path(sys.executable).parent
    own = {"PYTHONPATH": str(checkout), "DAGSTER_HOME": str(checkout), "HOME": str(checkout)}
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["dg", *words],
        cwd=checkout,
        env={**os.environ, **own, "PATH": path, "VIRTUAL_ENV": str(binaries.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_what_is_scaffolded_is_listed_with_the_assets_of_the_table(checkout: Path) -> None:
    made = some([("asset", "tiles_of_streets"), ("schedule", "nightly")])
    for kind, name in made:
        dg_tool(checkout, "scaffold", "defs", f"dagster.{kind}", f"{name}.py")
    listed = json.loads(dg_tool(checkout, "list", "defs", "--json"))
    assert {asset["asset_key"] for asset in listed["assets"]} == {"tiles_of_streets", *(row.key for row in GRAPH)}
    schedules = {name for kind, name in made if kind == "schedule"}
    assert {schedule["name"] for schedule in listed["schedules"]} == {"weekly_maintenance", *schedules}
