"""A wheel of the project works where there is no checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.ports import free_port

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "geopin_assets"


def ended(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter without any setting of ours but these."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GEOPIN_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environ | variables, capture_output=True, text=True, check=False
    )


def python(*words: str, cwd: Path, **variables: str) -> str:
    """Run this interpreter; its output, or a failed test that shows it."""
    run = ended(*words, cwd=cwd, **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind, and finds what earlier ones left."""
    sources, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    for name in ("geopin_assets", "geopin_assets_tests"):
        shutil.copytree(CHECKOUT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, sources / name)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"  # as pip asks for it
    python("-c", code, str(built), cwd=sources)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    how = ("-q", "--no-deps", "--no-index", "--no-compile")
    python("-m", "pip", "install", *how, "--target", str(target), str(wheel), cwd=target)
    return target


def files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder.parent).as_posix()


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    notes = {name for name in files(PACKAGE) if name.endswith(".md")}
    assert set(files(PACKAGE)) - notes == held - notes


@pytest.mark.parametrize(
    "name", ["data/cells.csv", "data/nl_territory.geojson", "store/schema.sql", "quality/coverage.html"]
)
def test_data_that_the_code_reads_is_in_the_wheel(wheel: Path, name: str) -> None:
    assert f"geopin_assets/{name}" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_states_its_license_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "dist-info" in name
        }
    assert "Apache License" in texts["LICENSE"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "geopin = geopin_assets.cli.main:main" in texts["entry_points.txt"]


def test_the_installed_package_loads_its_definitions_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import geopin_assets.definitions as d, geopin_assets.cells as c;"
        "d.defs.get_repository_def(); print(d.__file__); print(len(c.cell_ids()))"
    )
    file, cells = python("-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert Path(file).is_relative_to(installed)
    assert int(cells) == 20_064


def test_the_installed_command_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    shown = python("-m", "geopin_assets.cli", "cells", "--at", "52.373,4.893", cwd=tmp_path, PYTHONPATH=str(installed))
    assert shown.strip() == "nh-amsterdam-r090c051"


def test_tests_are_not_installed(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {
        "geopin_assets",
        "bin",
        *(p.name for p in installed.glob("*.dist-info")),
    }


def test_the_installed_sandbox_says_where_the_stand_in_of_cloudflare_is(installed: Path, tmp_path: Path) -> None:
    words = ("-m", "geopin_assets.cli", "demo")
    run = ended(*words, cwd=tmp_path, PYTHONPATH=str(installed), DAGSTER_HOME=str(tmp_path), GEOPIN_INDEX="cloudflare")
    assert run.returncode == 1
    assert "comes with a checkout of the project" in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr


def test_the_wheel_alone_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    """All of it in `make test-long`, two sources in one cell otherwise: the same command but for what it is told."""
    words = ["demo"] if IS_LONG else ["run", "-r", "nh-amsterdam-r089c052", "-s", "kartaview", "-s", "stac"]
    shown = python(
        *("-m", "geopin_assets.cli", *words),
        cwd=tmp_path,
        PYTHONPATH=str(installed),
        DAGSTER_HOME=str(tmp_path),
        GEOPIN_SANDBOX_PORT=str(free_port()),
    )
    embedded = re.search(r"(\d+) images embedded", shown)
    assert embedded is not None and int(embedded[1]) > (600 if IS_LONG else 5), shown
    assert (tmp_path / ".geopin" / "sandbox" / "quality" / "coverage.html").is_file()
    assert "FAILED" not in shown


SAFE_FROM = {
    "aiohttp": "3.14.4",
    "h11": "0.16",
    "pillow": "13",
    "pyarrow": "23.0.1",
    "starlette": "1.3",
    "urllib3": "2.8",
}
"""The first versions without vulnerabilities that were known when the floors were set."""


def test_no_version_is_admitted_that_is_known_to_be_vulnerable_and_pins_are_admitted() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {one.name.lower(): one.specifier for one in map(Requirement, project["dependencies"])}
    for name, safe in SAFE_FROM.items():
        (floor,) = (part.version for part in wanted[name] if part.operator == ">=")
        assert Version(floor) >= Version(safe), name
    pins = map(Requirement, (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").split())
    pinned = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    assert not {name for name, admitted in wanted.items() if name in pinned and pinned[name] not in admitted}
