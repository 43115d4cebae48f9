"""quality/freshness: how old the data of every cell is, which sources are down, and what a source lost.

Not here: ages, outages and limits (`quality/`), or how old a cell may get (`freshness.py`). Dagster judges a raw asset
by its newest cell alone, and its "Passing" hides 20,000 stale ones: this report reads every stored crawl.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from geopin_assets.cells import all_cells
from geopin_assets.defs.automation import REPORT
from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import column_schema, frame_table
from geopin_assets.defs.dagster_internals import TimeWindowFreshnessPolicy
from geopin_assets.defs.freshness import EMPTY, WEEKLY
from geopin_assets.defs.freshness_checks import CHECKS, down_check, lost_check, readable, stale_check
from geopin_assets.defs.partitions import OWNERS
from geopin_assets.defs.publish_guard import loss_limit, losses
from geopin_assets.defs.raw import raw_assets
from geopin_assets.defs.resources import Sources, Storage
from geopin_assets.files.atomic import write_frame
from geopin_assets.quality.crawl_state import STATE_DESCRIPTIONS, STATE_SCHEMA, by_source, cell_states
from geopin_assets.quality.outages import find_outages
from geopin_assets.sources import SOURCES

_KEY = ["quality", "freshness"]
_OFTEN = dg.AutomationCondition.cron_tick_passed("0 */6 * * *").with_label("every_6_hours")
"""Whatever is under way above: a crawl that hangs, or never ends, is what this report is there to tell."""


@dg.asset(
    key=_KEY,
    deps=[*raw_assets, captures],
    group_name="quality",
    kinds={"polars"},
    owners=OWNERS,
    metadata={"dagster/column_schema": column_schema(STATE_SCHEMA, STATE_DESCRIPTIONS)},
    check_specs=[
        dg.AssetCheckSpec(name, asset=_KEY, description=text, blocking=name == "source_lost")
        for name, text in CHECKS.items()
    ],
    **REPORT | {"automation_condition": _OFTEN},
)
def freshness(context: dg.AssetExecutionContext, storage: Storage, sources: Sources) -> dg.MaterializeResult:
    """Per source: cells that are fresh, due and overdue, the oldest, cells whose last crawl failed, and since when.

    A cell is as old as its last good crawl. What a source showed then stays published for as long as it fails:
    `captures_on_old_data` counts it.
    """
    now, held = datetime.now(UTC), storage.catalog().held()
    cells = crawled_cells(storage, held, now=now)
    summed, off = by_source(cells), _switched_off(sources)
    write_frame(storage.quality_dir() / "freshness.parquet", cells)
    lost, since = losses(storage, context.instance, now=now)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": cells.height,
            "sources": frame_table(readable(summed)),
            **_numbers(summed),
        },
        check_results=[
            stale_check(cells, summed, off),
            down_check([outage for outage in find_outages(cells, held) if outage.source not in off], summed),
            lost_check(lost, f"{since:%Y-%m-%d}", loss_limit(storage)),
        ],
    )


def _switched_off(sources: Sources) -> dict[str, str]:
    """Sources that are not crawled at present, and why."""
    reasons = {source.name: sources.disabled_reason(source) for source in SOURCES}
    return {name: reason for name, reason in reasons.items() if reason}


def crawled_cells(storage: Storage, held: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """One row for each (source, cell) that was ever tried, with its age; `held` counts what the catalog has of it."""
    raw = storage.raw()
    return cell_states(_with_windows(raw.crawls()), raw.failures(), held, now=now)


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
        due_after=pl.when(is_empty).then(pl.lit(empty_due)).otherwise(pl.lit(due)),
        overdue_after=pl.when(is_empty).then(pl.lit(empty_overdue)).otherwise(pl.lit(overdue)),
    )


def _windows(policy: TimeWindowFreshnessPolicy) -> tuple[timedelta, timedelta]:
    fail = policy.fail_window.to_timedelta()
    return policy.warn_window.to_timedelta() if policy.warn_window else fail, fail
