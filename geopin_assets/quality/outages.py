"""Sources that are down: which, since when, and what of the index rests on what they last showed.

Here: the verdict from the newest attempts, and a text for people. Not here: ages of cells (`crawl_state.py`).

A source counts as down when at least half of its newest 20 outcomes are failures. A cell that keeps failing counts
once, when that began: it is tried every day, and on days without other crawls a few such cells would be all there is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

NEWEST = 20
DOWN_SHARE = 0.5


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
