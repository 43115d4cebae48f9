"""How much is too much: captures lost by a source at once, images that could not be embedded, requests and rows spent.

Here: the limits, the verdicts and what to tell people. Not here: counting (`store/`, `http_client/`, `index/`), or
who is stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

MIN_LOST = 50
"""Fewer captures than this are no reason to stop: small sources are edited by a few people."""
WHAT_TO_DO_ABOUT_LOSSES = (
    "Nothing is published meanwhile: the index keeps what it has. See what the last crawls of raw/… left out and"
    " whether the source works. If it is broken: what it shows again is back after the next crawl. If the loss is"
    " right: publish once with a higher GEOPIN_MAX_SOURCE_LOSS (1 lets everything pass)."
)
NEARLY = 0.9
"""Share of a day's requests from which there is something to say."""
INCLUDED_ROWS_PER_MONTH = 50_000_000
"""D1 rows written that the plan of a whole account includes."""


def losses_too_large(losses: pl.DataFrame, limit: float) -> pl.DataFrame:
    """The losses (source, had, lost) at which publishing stops, with their `share`. A limit of 1 lets all pass."""
    shared = losses.with_columns(share=pl.col("lost") / pl.col("had"))
    return shared.filter((pl.col("share") >= limit) & (pl.col("lost") >= MIN_LOST) & pl.lit(limit < 1))


def losses_described(losses: pl.DataFrame, since: str) -> str:
    """Each source with what it lost, in one line; empty for none."""
    return "; ".join(
        f"{source} lost {lost:,} of {had:,} captures ({lost / had:.0%}) since {since}"
        for source, had, lost in losses.select("source", "had", "lost").iter_rows()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailures:
    """Over all captures of the catalog."""

    captures: int
    waiting: int
    """Tried again by themselves."""
    final: int
    """Given up until the image changes."""

    @property
    def share(self) -> float:
        return (self.waiting + self.final) / self.captures if self.captures else 0.0


def count_failures(failures: pl.DataFrame, captures: int) -> ImageFailures:
    """Sum of `failures`: is_final and captures, a row for each source and reason."""
    final = int(failures.filter("is_final")["captures"].sum())
    return ImageFailures(captures=captures, final=final, waiting=int(failures["captures"].sum()) - final)


def failures_described(failures: pl.DataFrame, counted: ImageFailures, *, most: int = 5) -> str:
    """The share, and where most of it comes from, in one line."""
    text = (
        f"{counted.share:.1%} of {counted.captures:,} captures have no vector: {counted.waiting:,} are tried again,"
        f" {counted.final:,} are given up"
    )
    largest = failures.sort("captures", "source", "reason", descending=[True, False, False]).head(most)
    named = "; ".join(f"{source} {reason} {n:,}" for source, reason, _, n in largest.iter_rows())
    return f"{text}. {named}" if named else text


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBudget:
    """One kind of request that may be sent so many times a day (UTC)."""

    source: str
    kind: str
    per_day: int
    used: Mapping[date, int] = field(default_factory=dict)
    """Requests of the days looked at; a day without any may be missing."""
    stopped_until: datetime | None = None
    stopped_because: str = ""

    @property
    def spent_days(self) -> list[date]:
        """Days on which hardly anything was left. A budget of 0 is a switch, not something to run out of."""
        return sorted(d for d, requests in self.used.items() if 0 < self.per_day * NEARLY <= requests)

    @property
    def text(self) -> str:
        """What is the matter; empty if nothing is."""
        said = []
        if self.spent_days:
            last = self.spent_days[-1]
            days = f", {len(self.spent_days)} days in all" if len(self.spent_days) > 1 else ""
            said.append(f"{self.used[last]:,} of {self.per_day:,} {self.kind} requests sent on {last}{days}")
        if self.stopped_until:
            said.append(f"{self.kind} stopped until {self.stopped_until:%Y-%m-%d %H:%M} UTC: {self.stopped_because}")
        return f"{self.source}: {'; '.join(said)}" if said else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingMonth:
    """What publishing of 30 days cost, as far as the history of runs remembers, and what keeping it costs."""

    rows_written: int
    requests: int
    storage_usd: float
    """A month of storing and searching what is published."""
    limit_usd: float | None
    """What a month may cost; None: nobody said."""

    @property
    def cost_usd(self) -> float:
        """As if nothing else of the account wrote rows."""
        return max(self.rows_written - INCLUDED_ROWS_PER_MONTH, 0) / 1e6 + self.storage_usd

    @property
    def is_within(self) -> bool:
        return self.limit_usd is None or self.cost_usd <= self.limit_usd

    @property
    def text(self) -> str:
        """Rows, requests and money in one line."""
        limit = "no monthly budget is set" if self.limit_usd is None else f"budget ${self.limit_usd:.2f}"
        return (
            f"publishing, last 30 days: {self.rows_written:,} rows written, {self.requests:,} requests, about"
            f" ${self.cost_usd:.2f} with storage and search ({limit})"
        )


def budgets_notable(budgets: Sequence[DailyBudget]) -> list[str]:
    """What is the matter with each, where something is."""
    return [budget.text for budget in budgets if budget.text]
