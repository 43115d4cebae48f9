"""SIGKILL in the middle of embedding, then the same command again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from geopin_assets.embedding.vectors import CellVectors
from geopin_assets_tests.cli.typed import Place
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.files.processes import Started, start
from geopin_assets_tests.platform import CELLS, Platform

CHECKOUT = Path(__file__).parents[2]
GEOPIN = """
    import sys
    from geopin_assets.cli.main import main
    sys.argv[0] = "geopin"
    main()
"""
REGION = "+".join(CELLS)


def command() -> list[str]:
    return ["run", "--region", REGION, "--source", "panoramax", "--source", "amsterdam"]


def started(platform: Platform, place: Place) -> Started:
    """`geopin run` in a process of its own."""
    with mock.patch.dict(os.environ, platform.overrides | {"DAGSTER_HOME": str(place.home)}):
        return start(GEOPIN, *command())


def finished(cells: Sequence[CellVectors]) -> list[bool]:
    """Of each cell, whether its vectors are finished."""
    return [cell.objects.has(cell.key) for cell in cells]


def content(platform: Platform) -> dict[str, pl.DataFrame]:
    """Everything that a run leaves behind, except when it happened."""
    index = platform.index
    embedded = pl.concat([platform.vectors(cell_id).read() for cell_id in CELLS])
    ids = embedded["vector_id"].sort().to_list()
    store = platform.rows
    return {
        "captures": platform.storage.catalog().captures(CELLS),
        "embeddings": embedded.sort("vector_id"),
        "vectors": pl.concat([index.get(ids[i : i + 20]) for i in range(0, len(ids), 20)]).sort("vector_id"),
        "rows": store.query("SELECT * FROM captures ORDER BY capture_id"),
        "vector rows": store.query("SELECT * FROM vectors ORDER BY vector_id"),
    }


def test_a_killed_run_repeated_ends_as_if_it_had_never_been_killed(
    build_platform: Callable[[str], Platform], tmp_path: Path
) -> None:
    killed, whole = build_platform("killed"), build_platform("whole")
    there, elsewhere = Place(tmp_path / "there"), Place(tmp_path / "elsewhere")
    cells = [killed.vectors(cell_id) for cell_id in CELLS]
    with started(killed, there) as process:
        while not any(finished(cells)):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL and not all(finished(cells))
    assert killed.rows.count("captures") == 0

    for platform, place in ((killed, there), (whole, elsewhere)):
        ended = place.geopin(*command(), **platform.overrides)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    expected, found = content(whole), content(killed)
    assert expected["vectors"].height > 100
    for what, frame in expected.items():
        assert found[what].equals(frame), what


@pytest.mark.skipif(not IS_LONG, reason="as faults/test_together.py tries it without a command: make test-long")
def test_two_commands_at_once_end_as_one(build_platform: Callable[[str], Platform], tmp_path: Path) -> None:
    platform, place = build_platform("twice"), Place(tmp_path)
    environ = os.environ | platform.overrides | {"DAGSTER_HOME": str(place.home)}
    words = [sys.executable, "-m", "geopin_assets.cli", *command()]
    both = [
        subprocess.Popen(words, cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = content(platform)
    for what, frame in found.items():
        assert frame.height and not frame.is_duplicated().any(), what
    assert found["vectors"].height == found["embeddings"].height == found["vector rows"].height
