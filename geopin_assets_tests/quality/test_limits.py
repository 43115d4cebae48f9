"""When publishing stops because a source lost too much."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from geopin_assets.quality.limits import (
    DailyBudget,
    PublishingMonth,
    budgets_notable,
    count_failures,
    failures_described,
    losses_described,
    losses_too_large,
)


def losses(had: int, lost: int) -> pl.DataFrame:
    return pl.DataFrame({"source": ["panoramax"], "had": [had], "lost": [lost]})


@pytest.mark.parametrize(
    ("had", "lost", "limit", "stops"),
    [
        (1000, 200, 0.2, True),
        (1000, 199, 0.2, False),
        (100, 50, 0.2, True),
        (49, 49, 0.2, False),
        (1000, 1000, 1, False),
        (1000, 1000, 0.99, True),
    ],
)
def test_publishing_stops_at_the_share_but_not_for_a_handful(had: int, lost: int, limit: float, stops: bool) -> None:
    assert bool(losses_too_large(losses(had, lost), limit).height) is stops


def test_the_text_names_source_share_and_day() -> None:
    assert (
        losses_described(losses(10_000, 3_125), "2026-11-18")
        == "panoramax lost 3,125 of 10,000 captures (31%) since 2026-11-18"
    )
    assert losses_described(losses(1, 1).clear(), "2026-11-18") == ""


MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def budget(per_day: int = 1000, **fields: object) -> DailyBudget:
    return DailyBudget(source="mapillary", kind="tiles", per_day=per_day, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("per_day", "used", "spent"),
    [(1000, 900, True), (1000, 899, False), (1000, 1000, True), (1000, 0, False), (0, 0, False), (1, 1, True)],
)
def test_a_budget_is_worth_a_word_when_hardly_any_of_it_is_left(per_day: int, used: int, spent: bool) -> None:
    assert bool(budgets_notable([budget(per_day, used={MONDAY: used})])) is spent


def test_the_text_says_how_much_when_and_how_often() -> None:
    assert budget(used={MONDAY: 1000, TUESDAY: 950}).text == (
        "mapillary: 950 of 1,000 tiles requests sent on 2026-11-24, 2 days in all"
    )
    until = datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert budget(stopped_until=until, stopped_because="a login page").text == (
        "mapillary: tiles stopped until 2026-11-26 03:00 UTC: a login page"
    )


@pytest.mark.parametrize(
    ("rows", "storage_usd", "cost_usd"), [(50_000_000, 0.0, 0.0), (51_500_000, 0.0, 1.5), (10, 2.25, 2.25)]
)
def test_a_month_costs_what_is_written_beyond_the_plan_and_what_is_kept(
    rows: int, storage_usd: float, cost_usd: float
) -> None:
    month = PublishingMonth(rows_written=rows, requests=1, storage_usd=storage_usd, limit_usd=None)
    assert month.cost_usd == pytest.approx(cost_usd)
    assert month.is_within and "no monthly budget is set" in month.text


def test_images_without_a_vector_are_a_share_of_all_captures_with_the_largest_reasons_first() -> None:
    failures = pl.DataFrame(
        [("flickr", "not_found", True, 30), ("mapillary", "timeout", False, 20), ("flickr", "timeout", False, 40)],
        ["source", "reason", "is_final", "captures"],
        orient="row",
    )
    counted = count_failures(failures, 2_000)
    assert (counted.waiting, counted.final, counted.share) == (60, 30, 0.045)
    assert failures_described(failures, counted, most=2) == (
        "4.5% of 2,000 captures have no vector: 60 are tried again, 30 are given up. flickr timeout 40;"
        " flickr not_found 30"
    )
    nothing = count_failures(failures.clear(), 0)
    assert nothing.share == 0.0
    assert failures_described(failures.clear(), nothing) == (
        "0.0% of 0 captures have no vector: 0 are tried again, 0 are given up"
    )
