"""How old cells are, which sources are down, and what rests on old data."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from geopin_assets.quality.crawl_state import Outage, by_source, cell_states, find_outages
from geopin_assets.store.failed_crawls import FAILED_SCHEMA

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)
DAY = timedelta(days=1)
CRAWLED: dict[str, Any] = {
    "source": pl.String,
    "cell_id": pl.String,
    "crawled_at": pl.Datetime("us", "UTC"),
    "unknown": pl.String,
    "due_after": pl.Duration("us"),
    "overdue_after": pl.Duration("us"),
}
HELD: dict[str, Any] = {"source": pl.String, "cell_id": pl.String, "captures": pl.Int64}


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def stored(**age_days: float | None) -> list[tuple[Any, ...]]:
    """Crawls of one source that are so many days old; None for a file that cannot be read."""
    return [
        ("panoramax", cell, None if age is None else days_ago(age), "unknown", 7 * DAY, 9 * DAY)
        for cell, age in age_days.items()
    ]


def failed(cell: str, *, since: float, last: float = 0, good: float | None = None, **other: Any) -> dict[str, Any]:
    """A note; times in days before now."""
    note = {
        "source": "panoramax",
        "cell_id": cell,
        "first_failed_at": days_ago(since),
        "last_failed_at": days_ago(last),
        "attempts": 2,
        "error": "TransientError: 500",
        "good_at": None if good is None else days_ago(good),
        "good_number": 0,
    }
    return note | other


def states(
    crawls: list[tuple[Any, ...]], failures: Sequence[dict[str, Any]] = (), held: Sequence[tuple[str, str, int]] = ()
) -> pl.DataFrame:
    return cell_states(
        pl.DataFrame(crawls, CRAWLED, orient="row"),
        pl.DataFrame(failures, FAILED_SCHEMA, orient="row"),
        pl.DataFrame(held, HELD, orient="row"),
        now=NOW,
    )


def outages(
    crawls: list[tuple[Any, ...]], failures: list[dict[str, Any]], held: Sequence[tuple[str, str, int]] = ()
) -> list[Outage]:
    return find_outages(states(crawls, failures, held), pl.DataFrame(held, HELD, orient="row"))


@pytest.mark.parametrize(
    ("age_days", "age"), [(0, "fresh"), (7, "fresh"), (7.01, "due"), (9, "due"), (9.01, "overdue"), (None, "unknown")]
)
def test_a_cell_is_judged_by_its_own_last_crawl(age_days: float | None, age: str) -> None:
    cells = states(stored(a=age_days))
    assert cells["age"].to_list() == [age]
    assert cells["age_days"].to_list() == [pytest.approx(age_days) if age_days is not None else None]


def test_a_cell_whose_time_has_not_come_yet_is_of_no_known_age_and_counted_as_stale() -> None:
    cells = states([("panoramax", "a", None, "ahead", 7 * DAY, 9 * DAY)])
    assert cells.select("age", "age_days").row(0) == ("ahead", None)
    assert by_source(cells)["overdue"].to_list() == [1]


def test_a_crawl_that_failed_or_was_incomplete_makes_a_cell_no_younger() -> None:
    incomplete = failed("a", since=0, good=8)
    cells = states(stored(a=0, b=8), [incomplete, failed("b", since=1, good=8)])
    assert cells.select("cell_id", "age", "age_days").rows() == [("a", "due", 8.0), ("b", "due", 8.0)]
    assert cells["failed_since"].to_list() == [NOW, days_ago(1)]


def test_a_cell_that_was_never_crawled_well_is_not_stale_but_failed() -> None:
    cells = states(stored(a=0), [failed("a", since=20), failed("b", since=20), failed("c", since=20, good=30)])
    assert cells.select("cell_id", "age", "good_at").rows() == [(c, "never", None) for c in "abc"]
    assert by_source(cells).select("cells", "overdue", "failed_cells").row(0) == (0, 0, 3)


def test_a_source_is_summed_with_its_oldest_cell_and_what_waits() -> None:
    crawls = stored(a=1, b=8, c=12.34, d=9.5, e=None)
    cells = states(
        crawls,
        [failed("b", since=3, good=8)],
        [("panoramax", cell, n) for cell, n in zip("abcd", (1, 2, 4, 8), strict=True)],
    )
    (row,) = by_source(cells).to_dicts()
    assert row == {
        "source": "panoramax",
        "cells": 5,
        "fresh": 1,
        "due": 1,
        "overdue": 3,
        "oldest_cell": "c",
        "oldest_at": days_ago(12.34),
        "oldest_days": 12.3,
        "failed_cells": 1,
        "failing_since": days_ago(3),
        "captures_on_old_data": 2 + 4 + 8,
    }


def test_nothing_crawled_is_nothing_stale_and_nobody_down() -> None:
    cells = states([])
    assert by_source(cells).is_empty()
    assert outages([], []) == []


def test_a_source_that_fails_everywhere_is_down_and_what_it_last_showed_is_named() -> None:
    notes = [failed("a", since=2, last=1, good=8), failed("b", since=1.5, good=9), failed("new", since=1)]
    held = [("panoramax", "a", 5), ("panoramax", "b", 7), ("amsterdam", "a", 3), ("amsterdam", "x", 3)]
    (outage,) = outages(stored(a=8, b=9, c=2.5), notes, held)
    assert (outage.source, outage.since, outage.failed_cells) == ("panoramax", days_ago(2), 3)
    assert (outage.data_from, outage.captures) == ({"a": days_ago(8), "b": days_ago(9)}, 12)
    assert (outage.covered_by, outage.uncovered_cells) == ({"amsterdam": 1}, 1)
    assert outage.text == (
        "panoramax is down since 2026-11-23 06:00 UTC: 3 cells could not be crawled; 2 cells with 12 captures rest on"
        " data of 2026-11-16 to 2026-11-17, which stays published. Other sources in these cells: amsterdam 1; 1 without"
        " another. Last error: TransientError: 500"
    )


def many(prefix: str, count: int, **note: Any) -> list[dict[str, Any]]:
    return [failed(f"{prefix}{number}", **note) for number in range(count)]


def crawled(count: int, age: float) -> list[tuple[Any, ...]]:
    return stored(**{f"good{number}": age for number in range(count)})


@pytest.mark.parametrize(("failing", "is_down"), [(9, False), (10, True), (20, True)])
def test_half_of_the_newest_twenty_must_fail(failing: int, is_down: bool) -> None:
    assert bool(outages(crawled(1000, 1), many("bad", failing, since=0.5))) is is_down


def test_a_few_cells_that_fail_for_weeks_do_not_make_their_source_down() -> None:
    """Retried every day, they are all that is tried on most days."""
    assert outages(crawled(1000, 3), many("bad", 50, since=20, last=0.1)) == []


def test_a_source_that_breaks_in_the_middle_of_a_week_is_down_however_much_worked_before() -> None:
    (outage,) = outages(crawled(15_000, 2), [*many("bad", 300, since=1), *many("old", 5, since=30)])
    assert outage.since == days_ago(1)


def test_a_source_that_works_again_is_no_longer_down_while_it_catches_up() -> None:
    broken = many("bad", 5000, since=3, last=1, good=9)
    assert outages(crawled(11, 0.1), broken) == []
    assert len(outages(crawled(10, 0.1), broken)) == 1


def test_an_outage_before_there_was_any_data_says_so() -> None:
    (outage,) = outages([], [failed("a", since=1)])
    assert outage.text == (
        "panoramax is down since 2026-11-24 06:00 UTC: 1 cells could not be crawled, none of them held anything before"
        " (TransientError: 500)"
    )
