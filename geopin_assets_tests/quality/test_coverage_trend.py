"""What changed since last week, and which report that is measured against."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.cells import cell_facts
from geopin_assets.files.damage import is_aside
from geopin_assets.quality.coverage import Expectations, GapReason, find_gaps
from geopin_assets.quality.coverage_trend import (
    CLOSED,
    FIRST_SEEN,
    NEW,
    Snapshot,
    Trend,
    keep_snapshot,
    take_snapshot,
    trend,
)
from geopin_assets_tests.depth import examples
from geopin_assets_tests.quality.factories import (
    CAPTURES,
    CITY,
    CRAWLED,
    FARM,
    LAKE,
    NOW,
    captures,
    coverage_by_cell,
    crawled,
)

NEXT = "nh-amstelveen-r084c050"
NOTHING = pl.DataFrame(schema=CAPTURES)


def snapshot(found: pl.DataFrame = NOTHING, *looked: pl.DataFrame, now: datetime = NOW) -> Snapshot:
    coverage, crawls = coverage_by_cell(found), pl.concat([pl.DataFrame(schema=CRAWLED), *looked])
    return take_snapshot(coverage, find_gaps(coverage, crawls, Expectations(now=NOW)), crawls, now=now)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def since(history: Path, now: Snapshot | None = None) -> Trend:
    found = trend(now or snapshot(), history)
    assert found is not None
    return found


def test_a_snapshot_has_every_crawled_land_cell_with_its_gaps_and_people() -> None:
    found = pl.concat([captures(count=5), captures(cell_id=LAKE, source="flickr", count=2)])
    made = snapshot(
        found, crawled("panoramax", "flickr"), crawled("panoramax", cell_id=FARM), crawled("flickr", cell_id=LAKE)
    )
    rows = made.cells.sort("population").select("cell_id", "captures", "reasons").rows()
    assert rows == [(FARM, 0, "no_capture"), (CITY, 5, "single_source + too_few_for_population")]
    assert made.captures_by_source == {"flickr": 2, "panoramax": 5}
    assert made.gaps_by_reason == {"no_capture": 1, "single_source": 1, "too_few_for_population": 1}
    assert (made.covered_cells, made.gaps.height) == (1, 2)
    assert made.gap_population == cell_facts(CITY).population + cell_facts(FARM).population


@pytest.mark.parametrize("content", [b"", b"PAR1 no", None])
def test_a_damaged_snapshot_is_set_aside_and_an_older_one_is_compared_with(
    tmp_path: Path, content: bytes | None
) -> None:
    keep_snapshot(snapshot(captures(count=3), crawled("panoramax"), now=days_ago(9)), tmp_path)
    damaged = keep_snapshot(snapshot(captures(count=4), crawled("panoramax"), now=days_ago(8)), tmp_path)
    if content is None:
        pl.read_parquet(damaged).write_parquet(damaged)  # without the totals
    else:
        damaged.write_bytes(content)
    (tmp_path / "2026-99-99.parquet").write_bytes(b"somebody's")
    assert since(tmp_path).since == days_ago(9)
    assert not damaged.exists() and sum(is_aside(path) for path in tmp_path.iterdir()) == 1
    damaged.write_bytes(b"")
    keep_snapshot(snapshot(now=days_ago(9)), tmp_path).write_bytes(b"")
    assert trend(snapshot(), tmp_path) is None


def test_what_is_kept_is_read_back_as_it_was(tmp_path: Path) -> None:
    keep_snapshot(snapshot(captures(count=3), crawled("panoramax"), now=days_ago(7)), tmp_path)
    same = since(tmp_path, snapshot(captures(count=3), crawled("panoramax")))
    assert same.since == days_ago(7) and same.changes.is_empty()
    assert same.captures_by_source == {"panoramax": 0} and same.gaps_by_reason == {"too_few_for_population": 0}
    assert (same.captures, same.covered_cells, same.gap_cells, same.gap_population) == (0, 0, 0, 0)


def test_the_differences_are_now_minus_then(tmp_path: Path) -> None:
    keep_snapshot(snapshot(captures(source="kartaview", count=9), crawled("kartaview"), now=days_ago(7)), tmp_path)
    found = pl.concat([captures(count=2), captures(cell_id=FARM, count=4)])
    changed = since(tmp_path, snapshot(found, crawled("panoramax"), crawled("panoramax", cell_id=FARM)))
    assert changed.captures_by_source == {"kartaview": -9, "panoramax": 6} and changed.captures == -3
    assert (changed.covered_cells, changed.gap_cells, changed.gap_population) == (1, 0, 0)
    assert changed.gaps_by_reason == {GapReason.TOO_FEW_FOR_POPULATION: 0}


def test_gaps_that_appeared_closed_or_were_first_looked_at_are_told_apart(tmp_path: Path) -> None:
    cells = (CITY, FARM)
    then = snapshot(captures(cell_id=FARM), *(crawled("panoramax", cell_id=id_) for id_ in cells), now=days_ago(7))
    keep_snapshot(then, tmp_path)
    now = snapshot(captures(count=1000), *(crawled("panoramax", cell_id=id_) for id_ in (*cells, NEXT)))
    changed = since(tmp_path, now)
    rows = changed.changes.select("cell_id", "change", "reasons").rows()
    assert rows == [(CITY, CLOSED, "no_capture"), (NEXT, FIRST_SEEN, "no_capture"), (FARM, NEW, "no_capture")]
    assert (changed.new_gaps, changed.closed_gaps) == (2, 1)
    assert str(changed) == "since 2026-05-25: +999 captures, +0 covered cells, 2 new and 1 closed gaps"


def test_a_gap_whose_reason_changed_is_neither_new_nor_closed(tmp_path: Path) -> None:
    keep_snapshot(snapshot(NOTHING, crawled("panoramax"), now=days_ago(7)), tmp_path)
    assert since(tmp_path, snapshot(captures(), crawled("panoramax"))).changes.is_empty()


@pytest.mark.parametrize(
    ("kept", "compared", "is_a_week"),
    [
        ([14, 7, 1], 7, True),
        ([8, 6.75, 5.9], 6.75, True),
        ([6.4, 3], 6.4, False),
        ([30], 30, True),
        ([20, 3], 20, True),
    ],
)
def test_last_week_is_the_newest_report_of_six_and_a_half_days_else_the_oldest(
    kept: list[float], compared: float, is_a_week: bool, tmp_path: Path
) -> None:
    for days in kept:
        keep_snapshot(snapshot(now=days_ago(days)), tmp_path)
    found = since(tmp_path)
    assert (found.since, found.is_a_week) == (days_ago(compared), is_a_week)
    assert ("the oldest report kept" in str(found)) is not is_a_week


def test_the_first_day_has_nothing_to_compare_with_however_often_it_is_run(tmp_path: Path) -> None:
    assert trend(snapshot(), tmp_path / "none yet") is None
    keep_snapshot(snapshot(), tmp_path)
    assert trend(snapshot(now=NOW + timedelta(hours=3)), tmp_path) is None


def test_a_second_report_of_a_day_replaces_the_first(tmp_path: Path) -> None:
    keep_snapshot(snapshot(captures(count=1), crawled("panoramax"), now=days_ago(7)), tmp_path)
    keep_snapshot(snapshot(captures(count=6), crawled("panoramax"), now=days_ago(7) + timedelta(hours=2)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2026-05-25.parquet"]
    assert since(tmp_path, snapshot(captures(count=7), crawled("panoramax"))).captures == 1


def test_so_many_of_the_newest_snapshots_stay_and_one_by_a_clock_that_is_ahead_takes_none_along(tmp_path: Path) -> None:
    for days in (3, 2, 1, -400):
        keep_snapshot(snapshot(now=days_ago(days)), tmp_path, most=4)
    keep_snapshot(snapshot(), tmp_path, most=4)
    days = sorted(path.stem for path in tmp_path.iterdir())
    assert days == ["2026-05-30", "2026-05-31", "2026-06-01", "2027-07-06"]


CELLS = [CITY, FARM, NEXT]


@settings(max_examples=examples(10, 300))
@given(
    then=st.dictionaries(st.sampled_from(CELLS), st.integers(0, 3)),
    now=st.dictionaries(st.sampled_from(CELLS), st.integers(0, 3)),
)
def test_the_listed_changes_add_up_to_the_change_in_gap_cells(
    then: dict[str, int], now: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    history = tmp_path_factory.mktemp("history")

    def made(counts: dict[str, int], at: datetime) -> Snapshot:
        found = [captures(cell_id=id_, count=count) for id_, count in counts.items()]
        return snapshot(pl.concat([NOTHING, *found]), *(crawled("panoramax", cell_id=id_) for id_ in counts), now=at)

    keep_snapshot(made(then, days_ago(7)), history)
    changed = since(history, made(dict.fromkeys(then, 0) | now, NOW))  # what was crawled once stays crawled
    assert changed.new_gaps - changed.closed_gaps == changed.gap_cells
    assert changed.captures == sum(now.values()) - sum(then.values())
