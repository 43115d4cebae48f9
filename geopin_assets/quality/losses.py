"""Has a source lost so many captures at once that it is likelier broken than empty?

Here: the limit, and what to tell people. Not here: counting (`store/catalog.py`), or who is stopped
(`defs/publish_guard.py`).
"""

import polars as pl

MAX_SHARE = 0.2
MIN_LOST = 50
"""Fewer captures than this are no reason to stop: small sources are edited by a few people."""
WHAT_TO_DO = (
    "Nothing is published meanwhile: the index keeps what it has. See what the last crawls of raw/… left out and"
    " whether the source works. If it is broken: what it shows again is back after the next crawl. If the loss is"
    " right: publish once with a higher GEOPIN_MAX_SOURCE_LOSS (1 lets everything pass)."
)


def too_large(losses: pl.DataFrame, limit: float) -> pl.DataFrame:
    """The losses (source, had, lost) at which publishing stops, with their `share`. A limit of 1 lets all pass."""
    shared = losses.with_columns(share=pl.col("lost") / pl.col("had"))
    return shared.filter((pl.col("share") >= limit) & (pl.col("lost") >= MIN_LOST) & pl.lit(limit < 1))


def described(losses: pl.DataFrame, since: str) -> str:
    """Each source with what it lost, in one line; empty for none."""
    return "; ".join(
        f"{source} lost {lost:,} of {had:,} captures ({lost / had:.0%}) since {since}"
        for source, had, lost in losses.select("source", "had", "lost").iter_rows()
    )
