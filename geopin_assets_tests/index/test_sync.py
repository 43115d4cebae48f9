"""The check that a store is in sync says what is wrong."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import publish
from geopin_assets.index.sync import Wanted, sampled_sync_report, sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget
from geopin_assets_tests.index.frames import DIM, NOW, captures, upsertable, vectors

IDS = [f"s:{i:02d}" for i in range(30)]
ROWS = [(id_, i) for i, id_ in enumerate(IDS)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def vector_target(tmp_path: Path, ledger: Ledger) -> VectorTarget:
    target = VectorTarget(LanceIndex(tmp_path, "test", DIM))
    publish(vectors(ROWS), ["a"], target, ledger, now=NOW)
    return target


@pytest.fixture
def row_target(tmp_path: Path, ledger: Ledger) -> RowTarget:
    target = RowTarget(SqliteStore(tmp_path / "d1.sqlite"), TABLES["captures"])
    publish(captures(ROWS), ["a"], target, ledger, now=NOW)
    return target


def test_after_a_publish_both_stores_are_in_sync(
    ledger: Ledger, vector_target: VectorTarget, row_target: RowTarget
) -> None:
    for target in (vector_target, row_target):
        report = sync_report(pl.Series(IDS), ledger, target)
        assert report.is_in_sync
        assert (report.desired, report.in_ledger, report.in_store, report.sampled) == (30, 30, 30, 30)


def test_before_anything_was_published_nothing_is_out_of_sync(tmp_path: Path, ledger: Ledger) -> None:
    report = sync_report(pl.Series([], dtype=pl.String), ledger, VectorTarget(LanceIndex(tmp_path, "new", DIM)))
    assert report.is_in_sync
    assert report.in_store == 0


def test_what_is_not_yet_or_no_longer_desired_is_counted(ledger: Ledger, row_target: RowTarget) -> None:
    report = sync_report(pl.Series(["s:00", "new"]), ledger, row_target)
    assert (report.missing, report.surplus, report.is_in_sync) == (1, 29, False)


def test_rows_somebody_changed_or_removed_behind_our_back_are_found(ledger: Ledger, row_target: RowTarget) -> None:
    row_target.store.upsert("captures", captures([("s:03", 99)]))
    row_target.store.delete("captures", ["s:05"])
    report = sync_report(pl.Series(IDS), ledger, row_target)
    assert set(report.mismatched) == {"s:03", "s:05"}
    assert (report.in_store, report.lost, report.is_in_sync) == (29, ("s:05",), False)


def test_ids_that_came_or_went_behind_our_back_are_named_wherever_the_sample_looks(
    ledger: Ledger, vector_target: VectorTarget, row_target: RowTarget
) -> None:
    vector_target.index.delete(["s:11"])
    vector_target.index.upsert(upsertable([("stranger", 1)]))
    report = sync_report(pl.Series(IDS), ledger, vector_target, samples=0)
    assert (report.lost, report.strange, report.is_in_sync) == (("s:11",), ("stranger",), False)
    row_target.store.delete("captures", ["s:11"])
    assert sync_report(pl.Series(IDS), ledger, row_target, samples=0).lost == ("s:11",)


def test_a_vector_somebody_replaced_is_found_though_the_counts_agree(
    ledger: Ledger, vector_target: VectorTarget
) -> None:
    vector_target.index.upsert(upsertable([("s:07", 99)]))
    report = sync_report(pl.Series(IDS), ledger, vector_target)
    assert (report.in_store, report.mismatched, report.is_in_sync) == (30, ("s:07",), False)


def test_an_unfinished_write_is_named(ledger: Ledger, row_target: RowTarget) -> None:
    ledger.begin(row_target.key, pl.DataFrame(schema={"id": pl.String, "cell_id": pl.String}), pl.Series(["s:01"]))
    report = sync_report(pl.Series(IDS), ledger, row_target)
    assert (report.unfinished, report.is_in_sync) == (1, False)


def test_a_lost_store_is_filled_again_after_its_record_is_forgotten(
    tmp_path: Path, ledger: Ledger, row_target: RowTarget
) -> None:
    for file in tmp_path.glob("d1.sqlite*"):
        file.unlink()
    assert not sync_report(pl.Series(IDS), ledger, row_target).is_in_sync
    ledger.forget(row_target.key)
    publish(captures(ROWS), ["a"], row_target, ledger, now=NOW)
    assert sync_report(pl.Series(IDS), ledger, row_target).is_in_sync


def test_vectors_that_are_there_twice_are_named_with_their_cells(ledger: Ledger, vector_target: VectorTarget) -> None:
    """As two publishers left them, each of whom thought that they were new."""
    table = vector_target.index._table()  # type: ignore[attr-defined]
    table.add(table.search().where("vector_id >= 's:20'").to_arrow())
    report = sync_report(pl.Series(IDS), ledger, vector_target, samples=0)
    assert (report.in_ledger, report.in_store, report.is_in_sync) == (30, 40, False)
    assert (report.doubled, report.cells) == (tuple(IDS[20:]), ("a",))


CELLS = 40


@pytest.fixture
def many(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> VectorTarget:
    """Forty cells, more than are listed or looked into."""
    monkeypatch.setattr("geopin_assets.index.sync.LISTED_AT_MOST", 50)
    monkeypatch.setattr("geopin_assets.index.sync.CELLS_LOOKED_INTO", 8)
    target = VectorTarget(LanceIndex(tmp_path, "many", DIM))
    for n in range(CELLS):
        publish(vectors([(f"c{n:02d}:{i}", i) for i in range(3)], f"c{n:02d}"), [f"c{n:02d}"], target, ledger, now=NOW)
    return target


def wanted(without: str = "") -> tuple[Wanted, list[str]]:
    """What the forty cells want, and which of them were asked for ids."""
    asked = list[str]()

    def ids(cells: Sequence[str]) -> pl.DataFrame:
        asked.extend(cells)
        rows = [(id_, cell) for cell in cells for i in range(3) if (id_ := f"{cell}:{i}") != without]
        return pl.DataFrame(rows, schema={"id": pl.String, "cell_id": pl.String}, orient="row")

    counts = {f"c{n:02d}": 3 - without.startswith(f"c{n:02d}:") for n in range(CELLS)}
    return Wanted(counts, ids), asked


def test_of_many_cells_only_some_are_looked_into(ledger: Ledger, many: VectorTarget) -> None:
    what, asked = wanted()
    report = sampled_sync_report(what, ledger, many)
    assert report.is_in_sync and len(asked) == 8
    assert (report.desired, report.in_ledger, report.in_store) == (120, 120, 120)


def test_a_cell_whose_counts_differ_is_found_among_many(ledger: Ledger, many: VectorTarget) -> None:
    what, _ = wanted(without="c31:2")
    report = sampled_sync_report(what, ledger, many)
    assert (report.surplus, report.cells, report.is_in_sync) == (1, ("c31",), False)


def test_a_store_on_this_machine_is_counted_to_the_last_id_however_large(ledger: Ledger, many: VectorTarget) -> None:
    table = many.index._table()  # type: ignore[attr-defined]
    table.add(table.search().limit(1).to_arrow())
    what, _ = wanted()
    report = sampled_sync_report(what, ledger, many)
    assert (report.in_ledger, report.in_store, report.is_in_sync) == (120, 121, False)


def test_a_sample_is_read_back_in_one_look_at_an_index_on_this_machine(ledger: Ledger, many: VectorTarget) -> None:
    """Each look goes through all ids there are."""
    what, _ = wanted()
    before = many.usage.requests
    assert sampled_sync_report(what, ledger, many).sampled == 24
    assert many.usage.requests - before == 2  # and its count


def test_a_write_that_was_never_finished_is_found_wherever_it_is_among_many(ledger: Ledger, many: VectorTarget) -> None:
    ids = pl.Series([f"c{n:02d}:0" for n in range(0, CELLS, 3)])
    ledger.begin(many.key, pl.DataFrame(schema={"id": pl.String, "cell_id": pl.String}), ids)
    what, _ = wanted()
    report = sampled_sync_report(what, ledger, many)
    assert (report.unfinished, report.is_in_sync, report.mismatched) == (len(ids), False, ())
    assert report.cells == tuple(id_.partition(":")[0] for id_ in ids)


def test_among_many_a_vector_somebody_replaced_is_found_where_the_sample_looks(
    ledger: Ledger, many: VectorTarget
) -> None:
    what, asked = wanted()
    assert sampled_sync_report(what, ledger, many).is_in_sync
    many.index.upsert(upsertable([(f"{asked[0]}:1", 99)]))
    report = sampled_sync_report(what, ledger, many)
    assert (report.mismatched, report.cells) == ((f"{asked[0]}:1",), (asked[0],))
