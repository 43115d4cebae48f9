"""How old what we hold of each (source, cell) is, and whether the last attempt to renew it worked.

Here: one row per cell, and their sum per source. A cell is as old as its last good crawl: one that failed or was
incomplete renews nothing. Not here: how old cells may become (`defs/freshness.py`), or which sources are down
(`outages.py`).
"""

from datetime import datetime
from enum import StrEnum

import polars as pl

_DAY_S = 86_400


class Age(StrEnum):
    """Of a cell, against how long its data may stay."""

    FRESH = "fresh"
    DUE = "due"
    """To be crawled again about now."""
    OVERDUE = "overdue"
    """Past what was promised."""
    UNKNOWN = "unknown"
    """Its file cannot be read."""
    NEVER = "never"
    """Tried, but not crawled well yet: there is nothing to become old."""


STALE = (Age.OVERDUE, Age.UNKNOWN)
_AT = pl.Datetime("us", "UTC")
STATE_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "cell_id": pl.String(),
        "good_at": _AT,
        "age": pl.String(),
        "age_days": pl.Float64(),
        "failed_since": _AT,
        "last_failed_at": _AT,
        "error": pl.String(),
        "captures": pl.Int64(),
    }
)
STATE_DESCRIPTIONS = {
    "good_at": "Its last good crawl; null if there was none",
    "age": f"Against what its policy allows: {', '.join(Age)}",
    "failed_since": "First of the attempts that failed since then; null if the last one worked",
    "error": "What the last failed attempt met",
    "captures": "How many of this source the catalog holds here",
}


def cell_states(crawls: pl.DataFrame, failures: pl.DataFrame, held: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """One row per cell, with the columns of STATE_SCHEMA.

    `crawls` has source, cell_id, crawled_at, and due_after and overdue_after (durations); `failures` the columns of
    the notes in `store/failed_crawls.py`; `held` source, cell_id, captures: what is published of it. A note older
    than the stored crawl is none. `failed_since` is null where the last attempt worked.
    """
    key = ["source", "cell_id"]
    joined = crawls.join(failures, on=key, how="full", coalesce=True).join(held, on=key, how="left")
    is_standing = pl.col("last_failed_at").is_not_null() & (
        pl.col("crawled_at").is_null() | (pl.col("last_failed_at") >= pl.col("crawled_at"))
    )
    is_stored = pl.col("due_after").is_not_null()
    good_at = pl.when(is_standing).then(pl.col("good_at")).otherwise(pl.col("crawled_at"))
    timed = joined.with_columns(
        good_at=pl.when(is_stored).then(good_at),
        failed_since=pl.when(is_standing).then(pl.col("first_failed_at")),
        last_failed_at=pl.when(is_standing).then(pl.col("last_failed_at")),
        error=pl.when(is_standing).then(pl.col("error")),
        captures=pl.col("captures").fill_null(0),
    )
    age = pl.lit(now) - pl.col("good_at")
    return timed.select(
        *key,
        "good_at",
        age=pl.when(is_stored & pl.col("crawled_at").is_null())
        .then(pl.lit(Age.UNKNOWN))
        .when(pl.col("good_at").is_null())
        .then(pl.lit(Age.NEVER))
        .when(age > pl.col("overdue_after"))
        .then(pl.lit(Age.OVERDUE))
        .when(age > pl.col("due_after"))
        .then(pl.lit(Age.DUE))
        .otherwise(pl.lit(Age.FRESH)),
        age_days=age.dt.total_seconds() / _DAY_S,
        failed_since="failed_since",
        last_failed_at="last_failed_at",
        error="error",
        captures="captures",
    ).sort(key)


def by_source(cells: pl.DataFrame) -> pl.DataFrame:
    """Per source: stored cells, how many fresh, due and overdue, the oldest, failures, and captures that wait.

    `captures_on_old_data` are those in cells that are stale or could not be renewed at the last attempt.
    """
    age, failed = pl.col("age"), pl.col("failed_since").is_not_null()
    oldest = pl.col("good_at").arg_min()
    return (
        cells.group_by("source")
        .agg(
            cells=(age != Age.NEVER).sum(),
            fresh=(age == Age.FRESH).sum(),
            due=(age == Age.DUE).sum(),
            overdue=age.is_in(STALE).sum(),
            oldest_cell=pl.col("cell_id").get(oldest),
            oldest_at=pl.col("good_at").min(),
            oldest_days=pl.col("age_days").max().round(1),
            failed_cells=failed.sum(),
            failing_since=pl.col("failed_since").min(),
            captures_on_old_data=pl.col("captures").filter(failed | age.is_in(STALE)).sum(),
        )
        .sort("source")
    )
