"""`geopin index …` and the publishing part of `geopin plan`, as people type them."""

from functools import partial
from pathlib import Path

import pytest

from geopin_assets_tests.cli.typed import Ended, Geopin, Place, command_in, complaint
from geopin_assets_tests.platform import CELLS

HERE, _ = CELLS
V1, V2 = "geopin-thumbnail-512-p2-v1", "geopin-thumbnail-512-p2-v2"


@pytest.fixture
def geopin(tmp_path: Path, sandbox_port: int) -> Geopin:
    return partial(command_in(tmp_path), GEOPIN_SANDBOX_PORT=str(sandbox_port))


def rows(geopin: Geopin) -> dict[str, list[str]]:
    """Index -> the words of its line."""
    lines = geopin("index", "list").stdout.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if line.startswith("geopin-")}


def test_before_anything_was_published_there_is_no_index(geopin: Geopin) -> None:
    assert "no index yet" in geopin("index", "list").stdout
    assert "no index 'geopin-x-v1'" in complaint(geopin("index", "drop", "geopin-x-v1"))


def test_a_new_version_is_built_switched_to_and_the_old_one_dropped(
    one_cell: tuple[Place, Ended], geopin: Geopin, tmp_path: Path
) -> None:
    one_cell[0].copy(tmp_path)
    before = rows(geopin)
    assert list(before) == [V1] and before[V1][0] == "serving"
    assert "searches use" in complaint(geopin("index", "drop", V1))

    built = geopin("index", "build", "--new")
    assert built.returncode == 0, built.stderr
    after = rows(geopin)
    assert (after[V1][0], after[V2][0]) == ("retired", "serving")
    assert after[V1][-1] == after[V2][-1] == before[V1][-1], "both hold every vector"

    assert f"dropped {V1}" in geopin("index", "drop", V1).stdout
    assert list(rows(geopin)) == [V2]
    assert f"in the index {V2}" in geopin("status").stdout


def test_a_plan_says_what_publishing_takes_before_anything_is_published(
    one_cell: tuple[Place, Ended], geopin: Geopin, tmp_path: Path
) -> None:
    shown = geopin("index", "plan", "--captures", "39000000", "--pano-share", "0.1").stdout
    for what in (
        "81,900,000 in 6 indexes",
        "120,900,000 in 3 databases",
        "requests",
        "GB of vectors",
        "$70.90 at most",
    ):
        assert what in shown
    one_cell[0].copy(tmp_path)
    assert "captures for the first time" in geopin("plan", "panoramax", "--region", HERE).stdout
