"""How old what we hold of each (source, cell) is, whether attempts to renew it work, and which sources are down.

Here: one row per cell, their sum per source, and the verdict from a source's newest attempts. A cell is as old as its
last good crawl: one that failed or was incomplete renews nothing. Not here: how old cells may become.

A source counts as down when at least half of its newest 20 outcomes are failures. A cell that keeps failing counts
once, when that began: it is tried every day, and on days without other crawls a few such cells would be all there is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import polars as pl

_DAY_S = 86_400
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
NEWEST = 20
DOWN_SHARE = 0.5


class Age(StrEnum):
    """Of a cell, against how long its data may stay."""

    FRESH = "fresh"
    DUE = "due"
    """To be crawled again about now."""
    OVERDUE = "overdue"
    """Past what was promised."""
    UNKNOWN = "unknown"
    """Its file cannot be read."""
    AHEAD = "ahead"
    """Its crawl says a time that has not come yet: a clock was wrong, and nobody knows how old it is."""
    NEVER = "never"
    """Tried, but not crawled well yet: there is nothing to become old."""


STALE = (Age.OVERDUE, Age.UNKNOWN, Age.AHEAD)
STATE_DESCRIPTIONS = {
    "good_at": "Its last good crawl; null if there was none",
    "age": f"Against what its policy allows: {', '.join(Age)}",
    "failed_since": "First of the attempts that failed since then; null if the last one worked",
    "error": "What the last failed attempt met",
    "captures": "How many of this source the catalog holds here",
}


def cell_states(crawls: pl.DataFrame, failures: pl.DataFrame, held: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """One row per cell, with the columns of STATE_SCHEMA.

    `crawls` has source, cell_id, crawled_at, unknown (why that is null, an Age), and due_after and overdue_after
    (durations); `failures` the columns of the notes in `store/failed_crawls.py`; `held` source, cell_id, captures: what
    is published of it. `failed_since` is null where the last attempt worked.
    """
    key = ["source", "cell_id"]
    joined = crawls.join(failures, on=key, how="full", coalesce=True).join(held, on=key, how="left")
    is_standing = pl.col("first_failed_at").is_not_null()
    is_stored = pl.col("due_after").is_not_null()
    good_at = pl.when(is_standing).then(pl.col("good_at")).otherwise(pl.col("crawled_at"))
    timed = joined.with_columns(
        good_at=pl.when(is_stored).then(good_at),
        failed_since="first_failed_at",
        captures=pl.col("captures").fill_null(0),
    )
    age = pl.lit(now) - pl.col("good_at")
    return timed.select(
        *key,
        "good_at",
        age=pl.when(is_stored & pl.col("crawled_at").is_null())
        .then(pl.col("unknown"))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A source that is down. What it last showed in the cells of `data_from` stays published."""

    source: str
    since: datetime
    failed_cells: int
    """Whose last attempt failed, those included that never had data."""
    data_from: Mapping[str, datetime]
    """Of these, the cells that rest on old data, and when it is from."""
    captures: int
    covered_by: Mapping[str, int]
    """Other source -> how many of these cells it has captures in."""
    uncovered_cells: int
    """Cells that no other source has captures in."""
    error: str

    @property
    def text(self) -> str:
        """What an operator needs to know, in one line."""
        failed = f"{self.source} is down since {_day(self.since)}: {self.failed_cells:,} cells could not be crawled"
        if not self.data_from:
            return f"{failed}, none of them held anything before ({self.error})"
        others = ", ".join(f"{source} {cells:,}" for source, cells in self.covered_by.items()) or "none"
        return (
            f"{failed}; {len(self.data_from):,} cells with {self.captures:,} captures rest on data of {self._days},"
            f" which stays published. Other sources in these cells: {others}; {self.uncovered_cells:,} without another."
            f" Last error: {self.error}"
        )

    @property
    def _days(self) -> str:
        first, last = (f"{choose(self.data_from.values()):%Y-%m-%d}" for choose in (min, max))
        return first if first == last else f"{first} to {last}"


def find_outages(cells: pl.DataFrame, held: pl.DataFrame) -> list[Outage]:
    """Sources that are down, in order of name. Frames as in `crawl_state.cell_states`."""
    return list(_outages(cells, held))


def _outages(cells: pl.DataFrame, held: pl.DataFrame) -> Iterator[Outage]:
    tried = cells.with_columns(at=pl.coalesce("failed_since", "good_at")).drop_nulls("at")
    for (source,), of_source in tried.sort("source", "at", "cell_id").group_by("source", maintain_order=True):
        newest = of_source.tail(NEWEST)
        if newest["failed_since"].is_not_null().mean() >= DOWN_SHARE:  # type: ignore[operator]
            yield _outage(str(source), of_source, held)


def _outage(source: str, cells: pl.DataFrame, held: pl.DataFrame) -> Outage:
    failed = cells.filter(pl.col("failed_since").is_not_null())
    last_good = cells.filter(pl.col("failed_since").is_null())["good_at"].max()
    after = failed if last_good is None else failed.filter(pl.col("failed_since") > last_good)
    begun = (after if after.height else failed)["failed_since"].min()
    old = failed.filter(pl.col("good_at").is_not_null())
    others = held.join(old, on="cell_id", how="semi").filter(pl.col("source") != source)
    covered = others.group_by("source").agg(pl.col("cell_id").n_unique()).sort("source")
    return Outage(
        source=source,
        since=begun,  # type: ignore[arg-type]
        failed_cells=failed.height,
        data_from=dict(old.select("cell_id", "good_at").sort("cell_id").iter_rows()),
        captures=int(old["captures"].sum()),
        covered_by=dict(covered.iter_rows()),
        uncovered_cells=old.height - others["cell_id"].n_unique(),
        error=str(failed.sort("last_failed_at")["error"][-1]),
    )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
