"""quality/freshness: how old the data of every cell is, which sources are down, what a source lost; and its checks.

Not here: ages, outages and limits (`quality/`), or how old a cell may get (`automation/refresh.py`). Dagster judges a
raw asset by its newest cell alone, and its "Passing" hides 20,000 stale ones: this report reads every stored crawl.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from geopin_assets.cells import all_cells, cell_ids, left_grid
from geopin_assets.defs.assets.publish_guard import loss_limit, losses
from geopin_assets.defs.automation.refresh import EMPTY, WEEKLY
from geopin_assets.defs.dagster_internals import TimeWindowFreshnessPolicy
from geopin_assets.defs.declare import Columns, frame_table, report, verdict
from geopin_assets.defs.resources import Sources, Storage
from geopin_assets.quality.crawl_state import (
    STALE,
    STATE_DESCRIPTIONS,
    STATE_SCHEMA,
    Age,
    Outage,
    by_source,
    cell_states,
    find_outages,
)
from geopin_assets.quality.limits import losses_described, losses_too_large
from geopin_assets.sources import SOURCES
from geopin_assets.store.accounts import Unknown

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


@report(
    "quality/freshness",
    columns=Columns(STATE_SCHEMA, STATE_DESCRIPTIONS),
    checks=CHECKS,
    blocking={"source_lost"},
    kinds={"polars"},
)
def freshness(context: dg.AssetExecutionContext, storage: Storage, sources: Sources) -> dg.MaterializeResult:
    """Per source: cells that are fresh, due and overdue, the oldest, cells whose last crawl failed, and since when.

    A cell is as old as its last good crawl. What a source showed then stays published for as long as it fails:
    `captures_on_old_data` counts it.
    """
    from geopin_assets.files.parquet import frame_bytes

    now, counts = datetime.now(UTC), storage.catalog().counts_by_source()
    cells = crawled_cells(storage, counts, now=now)
    summed, off = by_source(cells), _switched_off(sources)
    storage.quality().put("freshness.parquet", frame_bytes(cells))
    lost, since = losses(storage, context.instance, now=now)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": cells.height,
            "sources": frame_table(readable(summed)),
            "cells_outside_the_grid": left_said(storage),
            **_numbers(summed),
        },
        check_results=[
            stale_check(cells, summed, off),
            down_check([outage for outage in find_outages(cells, counts) if outage.source not in off], summed),
            lost_check(lost, f"{since:%Y-%m-%d}", loss_limit(storage)),
        ],
    )


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
    if ahead := int((stale["age"] == Age.AHEAD).sum()):
        text = f"{text}; {ahead:,} of them say a time that has not come yet: a clock was wrong, they are crawled again"
    return verdict(
        "stale_cells",
        stale.is_empty(),
        text,
        stale_cells=stale.height,
        cells_ahead=ahead,
        oldest_days=float(stale["age_days"].max() or 0),  # type: ignore[arg-type]
        oldest_first=frame_table(readable(stale.select("source", "cell_id", "good_at").head(_CELLS_SHOWN))),
    )


def down_check(outages: Sequence[Outage], sources: pl.DataFrame) -> dg.AssetCheckResult:
    """Passes when no source is down; names what rests on old data, which stays published.

    `sources`: sums per source, for the few failed cells of those that are not down.
    """
    old = [(outage.source, cell_id, at) for outage in outages for cell_id, at in outage.data_from.items()]
    return verdict(
        "source_down",
        not outages,
        "; ".join(outage.text for outage in outages) or f"no source is down{_failures(sources)}",
        sources_down=len(outages),
        cells_on_old_data=len(old),
        captures_on_old_data=sum(outage.captures for outage in outages),
        cells=frame_table(readable(pl.DataFrame(old[:_CELLS_SHOWN], _OLD_SCHEMA, orient="row"))),
    )


def _failures(sources: pl.DataFrame) -> str:
    """For example `; at the last try failed: amsterdam 3 cells`."""
    few = sources.filter(pl.col("failed_cells") > 0).select("source", "failed_cells")
    named = ", ".join(f"{source} {cells:,} cells" for source, cells in few.iter_rows())
    return f"; at the last try failed: {named}" if named else ""


def lost_check(found: pl.DataFrame, since: str, limit: float) -> dg.AssetCheckResult:
    """Fails when publishing is held back (`publish_guard.py`)."""
    large = losses_too_large(found, limit)
    text = losses_described(large, since) or f"no source lost {limit:.0%} of its captures since {since}"
    if large.height:
        text = f"{text}: nothing is published until it is back or allowed"
    lost = int(found["lost"].sum())
    return verdict(
        "source_lost", large.is_empty(), text, is_error=True, captures_lost=lost, limit=limit, losses=frame_table(found)
    )


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as people read them: a table of metadata holds text and numbers."""
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    return frame.with_columns(pl.col(name).dt.strftime("%Y-%m-%d %H:%M").fill_null("") for name in times)


def _switched_off(sources: Sources) -> dict[str, str]:
    """Sources that are not crawled at present, and why."""
    reasons = {source.name: sources.disabled_reason(source) for source in SOURCES}
    return {name: reason for name, reason in reasons.items() if reason}


def left_said(storage: Storage) -> str:
    """For example `none`, or what is stored of cells that are none any more: it stays as it was when they left."""
    left = left_grid(storage.catalog().query("select distinct cell_id from captures")["cell_id"])
    if not left:
        return "none"
    return (
        f"{len(left)}, whose captures stay published as they are (`geopin takedown` ends that): {', '.join(left[:5])}"
    )


def crawled_cells(storage: Storage, counts: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """One row for each (source, cell) that was ever tried, with its age; `counts` of captures in the catalog.

    Cells that left the grid are none of them: nothing crawls them any more.
    """
    raw, is_cell = storage.raw(), pl.col("cell_id").is_in(cell_ids())
    crawls, failures = raw.crawls().filter(is_cell), raw.failures().filter(is_cell)
    return cell_states(_with_windows(crawls), failures, counts, now=now)


def _numbers(sources: pl.DataFrame) -> dict[str, int | float]:
    """For the plots: in all, and per source."""
    numbers: dict[str, int | float] = {
        "cells": int(sources["cells"].sum()),
        "stale_cells": int(sources["overdue"].sum()),
    }
    for row in sources.iter_rows(named=True):
        numbers |= {
            f"{row['source']}_stale_cells": row["overdue"],
            f"{row['source']}_failed_cells": row["failed_cells"],
        }
        if row["oldest_days"] is not None:
            numbers[f"{row['source']}_oldest_days"] = row["oldest_days"]
    return numbers


def _with_windows(crawls: pl.DataFrame) -> pl.DataFrame:
    """The age at which each cell is due, and overdue: later without Dutch land where nothing was found."""
    land = [facts.cell.cell_id for facts in all_cells() if facts.is_land]
    is_empty = (pl.col("captures") == 0) & pl.col("is_complete") & ~pl.col("cell_id").is_in(land)
    (due, overdue), (empty_due, empty_overdue) = _windows(WEEKLY), _windows(EMPTY)
    return crawls.select(
        "source",
        "cell_id",
        "crawled_at",
        unknown=pl.when(pl.col("unknown") == Unknown.AHEAD).then(pl.lit(Age.AHEAD)).otherwise(pl.lit(Age.UNKNOWN)),
        due_after=pl.when(is_empty).then(pl.lit(empty_due)).otherwise(pl.lit(due)),
        overdue_after=pl.when(is_empty).then(pl.lit(empty_overdue)).otherwise(pl.lit(overdue)),
    )


def _windows(policy: TimeWindowFreshnessPolicy) -> tuple[timedelta, timedelta]:
    fail = policy.fail_window.to_timedelta()
    return policy.warn_window.to_timedelta() if policy.warn_window else fail, fail
