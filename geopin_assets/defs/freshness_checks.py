"""What the checks of quality/freshness say: from ages, outages and losses to verdicts. Not here: the report itself."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from geopin_assets.defs.columns import frame_table
from geopin_assets.quality.crawl_state import STALE
from geopin_assets.quality.losses import described, too_large
from geopin_assets.quality.outages import Outage

_CELLS_SHOWN = 200
_OLD_SCHEMA = pl.Schema({"source": pl.String(), "cell_id": pl.String(), "data_from": pl.Datetime("us", "UTC")})
CHECKS = {
    "stale_cells": "No cell is older than its freshness policy allows (9 days; 35 without Dutch land where nothing was "
    "found). If it warns: is the daemon running, and the source's sensor on (Automation)? Is the source switched off, "
    "or down (`source_down`)? Else materialize the cells it names for that source; `budget` says if the day's requests "
    "are used up. freshness.parquet beside the coverage map lists every cell.",
    "source_down": "No source fails in at least half of its newest 20 cells. If it warns: nothing is lost, what the "
    "source last showed stays published and the other sources go on. See the error and the provider's status page; if "
    "the key or the format changed, fix that. Its cells are tried again once a day and catch up by themselves.",
    "source_lost": "No source lost a large share of its captures since last week (GEOPIN_MAX_SOURCE_LOSS, and at least "
    "50 of them). If it fails, publishing stops and the index keeps what it has: see what the last crawls left out and "
    "whether the source works; what it shows again comes back with the next crawl. If the loss is right, publish once "
    "with a higher GEOPIN_MAX_SOURCE_LOSS.",
}


def stale_check(cells: pl.DataFrame, sources: pl.DataFrame, off: Mapping[str, str]) -> dg.AssetCheckResult:
    """Passes when no cell is past what its policy allows, whatever the asset's newest cell is.

    `off`: source -> why it is switched off. Its cells grow old like any other: a key may be missing by mistake.
    """
    stale = cells.filter(pl.col("age").is_in(STALE)).sort("good_at", "source", "cell_id", nulls_last=True)
    late = sources.filter(pl.col("overdue") > 0)
    text = f"none of {int(sources['cells'].sum()):,} cells is older than allowed"
    if stale.height:
        each = "; ".join(
            f"{source} {overdue:,} of {total:,}, oldest {days:g} days ({cell_id})"
            + (f", switched off: {off[source]}" if source in off else "")
            for source, overdue, total, days, cell_id in late.select(
                "source", "overdue", "cells", "oldest_days", "oldest_cell"
            ).iter_rows()
        )
        text = f"{stale.height:,} cells are older than allowed: {each}"
    return dg.AssetCheckResult(
        check_name="stale_cells",
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "stale_cells": stale.height,
            "oldest_days": float(stale["age_days"].max() or 0),  # type: ignore[arg-type]
            "oldest_first": frame_table(readable(stale.select("source", "cell_id", "good_at").head(_CELLS_SHOWN))),
        },
    )


def down_check(outages: Sequence[Outage], sources: pl.DataFrame) -> dg.AssetCheckResult:
    """Passes when no source is down; names what rests on old data, which stays published.

    `sources`: sums per source, for the few failed cells of those that are not down.
    """
    old = [(outage.source, cell_id, at) for outage in outages for cell_id, at in outage.data_from.items()]
    return dg.AssetCheckResult(
        check_name="source_down",
        passed=not outages,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(outage.text for outage in outages) or f"no source is down{_failures(sources)}",
        metadata={
            "sources_down": len(outages),
            "cells_on_old_data": len(old),
            "captures_on_old_data": sum(outage.captures for outage in outages),
            "cells": frame_table(readable(pl.DataFrame(old[:_CELLS_SHOWN], _OLD_SCHEMA, orient="row"))),
        },
    )


def _failures(sources: pl.DataFrame) -> str:
    """For example `; at the last try failed: amsterdam 3 cells`."""
    few = sources.filter(pl.col("failed_cells") > 0).select("source", "failed_cells")
    named = ", ".join(f"{source} {cells:,} cells" for source, cells in few.iter_rows())
    return f"; at the last try failed: {named}" if named else ""


def lost_check(found: pl.DataFrame, since: str, limit: float) -> dg.AssetCheckResult:
    """Fails when publishing is held back (`publish_guard.py`)."""
    large = too_large(found, limit)
    text = described(large, since) or f"no source lost {limit:.0%} of its captures since {since}"
    return dg.AssetCheckResult(
        check_name="source_lost",
        passed=large.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{text}: nothing is published until it is back or allowed" if large.height else text,
        metadata={"captures_lost": int(found["lost"].sum()), "limit": limit, "losses": frame_table(found)},
    )


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as people read them: a table of metadata holds text and numbers."""
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    return frame.with_columns(pl.col(name).dt.strftime("%Y-%m-%d %H:%M").fill_null("") for name in times)
