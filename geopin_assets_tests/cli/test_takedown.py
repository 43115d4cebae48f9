"""`geopin takedown` as people type it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.cli.takedown import meant_by
from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.cli.typed import Ended, Geopin, Place, command_in, complaint
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS

HERE, _ = CELLS


@pytest.fixture
def geopin(tmp_path: Path, sandbox_port: int) -> Geopin:
    return partial(command_in(tmp_path), GEOPIN_SANDBOX_PORT=str(sandbox_port))


@pytest.fixture
def run_here(geopin: Geopin) -> Callable[[], Ended]:
    return partial(geopin, "run", "--region", HERE, "--source", "panoramax")


@pytest.mark.parametrize("wrong", ["0a1b2c", "panoramax:", ":0a1b2c", "panoramx:0a1b2c", "panoramax: 0a1b2c", ""])
def test_what_cannot_be_a_capture_id_is_refused_and_nothing_is_done(geopin: Geopin, tmp_path: Path, wrong: str) -> None:
    line = complaint(geopin("takedown", "panoramax:0a1b2c", wrong))
    assert repr(wrong) in line
    assert "SOURCE:ID" in line
    assert not (tmp_path / "data").exists()


def test_no_capture_at_all_is_a_question(geopin: Geopin) -> None:
    ended = geopin("takedown")
    assert ended.returncode == 2
    assert "which captures?" in ended.stderr


def test_an_empty_list_says_so_and_creates_nothing(geopin: Geopin, tmp_path: Path) -> None:
    shown = geopin("takedown", "--list")
    assert (shown.returncode, shown.stdout.strip()) == (0, "nothing was taken down")
    assert not (tmp_path / "data").exists()


def test_a_capture_unknown_so_far_is_listed_with_its_note_and_can_be_taken_off(geopin: Geopin) -> None:
    ended = geopin("takedown", "panoramax:not-yet", "--note", "asked by its owner")
    assert ended.returncode == 0, ended.stderr
    assert "panoramax:not-yet: unknown so far" in ended.stdout
    shown = geopin("takedown", "--list").stdout
    assert "panoramax:not-yet" in shown and "asked by its owner" in shown and "never" in shown
    assert "not on the list: panoramax:other" in complaint(geopin("takedown", "--undo", "panoramax:other"))
    undone = geopin("takedown", "--undo", "panoramax:not-yet")
    assert undone.returncode == 0
    assert "panoramax:not-yet is off the list" in undone.stdout
    assert geopin("takedown", "--list").stdout.strip() == "nothing was taken down"


def test_a_published_capture_is_taken_down_everywhere_and_the_next_run_leaves_it_out(
    one_cell: tuple[Place, Ended], geopin: Geopin, run_here: Callable[[], Ended], tmp_path: Path
) -> None:
    one_cell[0].copy(tmp_path)
    catalog = Catalog(tmp_path / "data" / "catalog.duckdb")
    before = catalog.ids().to_list()
    gone = before[0]

    ended = geopin("takedown", gone)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found, _, done = ended.stdout.partition("\nsearch index")
    assert found.count(gone) == found.count(HERE) == 6
    for place in ("raw/panoramax", "catalog/captures", "vectors of", "lance:", ":vectors", ":captures"):
        assert place in found
    for layer in ("raw/panoramax", "catalog/captures", "index/embeddings", "publish/vectorize", "publish/d1"):
        assert f"\n{layer} " in done
    assert "nothing is left of 1 captures" in done
    assert catalog.ids().to_list() == before[1:]

    again = geopin("takedown", gone)
    assert again.returncode == 0
    assert f"{gone}: gone already, last crawled 20" in again.stdout
    ran = run_here()
    assert ran.returncode == 0
    assert "1 taken_down" in ran.stdout
    assert catalog.ids().to_list() == before[1:]


def test_an_id_that_is_another_ones_but_for_its_spelling_is_doubted(tmp_path: Path) -> None:
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(tmp_path / "catalog.duckdb")
    assert meant_by(["panoramax:Ab/c"], catalog) == {}
    crawl(raw, HERE, [capture("Ab/c"), capture("7")])
    catalog.merge([HERE], raw)
    asked = [
        "panoramax:AB/C",
        "panoramax:Ab%2Fc",
        "panoramax:ab/c/11",
        "PANORAMAX:Ab/c",
        "panoramax:7/00",
        "panoramax:8",
    ]
    known = [*["panoramax:Ab/c"] * 4, "panoramax:7"]
    assert meant_by(asked, catalog) == dict(zip(asked[:5], known, strict=True))


def test_a_damaged_list_is_said_stops_and_is_mended(geopin: Geopin, tmp_path: Path) -> None:
    assert geopin("takedown", "panoramax:one", "panoramax:two").returncode == 0
    assert "nothing to mend" in geopin("takedown", "--mend").stdout
    listed = tmp_path / "data" / "takedowns.jsonl"
    listed.write_text(listed.read_text().replace("panoramax:one", "panoramax:own"))
    assert "takedown --mend" in complaint(geopin("takedown", "panoramax:three"))
    mended = geopin("takedown", "--mend")
    assert mended.returncode == 0
    assert "set aside" in mended.stdout and "the list has 2 captures" in mended.stdout.replace("\n", " ")
    assert "panoramax:one" in geopin("takedown", "--list").stdout


def test_a_takedown_that_could_not_be_finished_ends_with_1_and_says_what_to_do(geopin: Geopin, tmp_path: Path) -> None:
    damaged = tmp_path / "data" / "raw" / "panoramax" / f"{HERE}.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    ended = geopin("takedown", "panoramax:0a1b2c")
    assert ended.returncode == 1
    assert f"failed {HERE}" in ended.stdout
    assert "repeat the same command" in ended.stdout
    damaged.unlink()
    assert geopin("takedown", "panoramax:0a1b2c").returncode == 0


def test_runs_that_began_before_are_named_as_they_may_still_write_what_they_read(
    geopin: Geopin, tmp_path: Path
) -> None:
    run = dg.DagsterRun("backfill", status=dg.DagsterRunStatus.STARTED)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        instance.add_run(run)
    ended = geopin("takedown", "panoramax:0a1b2c")
    assert ended.returncode == 0
    assert "1 runs are under way" in ended.stdout
