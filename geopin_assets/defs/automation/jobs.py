"""Jobs and schedules that people expect: refresh a region now, and a weekly maintenance.

Here: what starts them and what they may be told. Not here: how cells are crawled (`assets/raw.py`), what follows a
crawl by itself (`sensors.py`), or what is maintained (`assets/maintenance.py`).
"""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import started_by
from geopin_assets.defs.resources import Sources
from geopin_assets.defs.running.backfills import InstanceBackfills, backfill_link, backfill_tags, backfill_title
from geopin_assets.errors import ConfigurationError
from geopin_assets.regions import region as cells_of
from geopin_assets.sources import SOURCES, source_named


class RefreshRegion(dg.Config):
    """What `refresh_region` may be told in the launchpad."""

    region: str = Field(
        default="nh-amsterdam",
        description="A province (nh), a place (nh-amsterdam), a cell id, land, all, bbox:W,S,E,N, around:LAT,LON,KM, "
        "at:LAT,LON; several joined by +",
    )
    sources: list[str] = Field(default=[], description="Names of sources, e.g. [panoramax]; empty: all that are ready")


@dg.op(out=dg.Out(dg.Nothing))
def request_backfills(
    context: dg.OpExecutionContext, config: RefreshRegion, sources: Sources
) -> Iterator[dg.Output[None]]:
    """File one backfill per source in the queue of this instance; pools and limits apply to their runs."""
    cell_ids, ui_url, links = cells_of(config.region), sources.settings().ui_url, {}
    backfills = InstanceBackfills(context.instance)
    for name in _chosen(config, sources):
        backfill_id = backfills.launch(
            f"raw/{name}",
            cell_ids,
            title=backfill_title(name, config.region),
            tags=backfill_tags(config.region),
        )
        links[f"raw/{name}"] = dg.MetadataValue.url(backfill_link(ui_url, backfill_id))
        context.log.info(f"raw/{name}: backfill {backfill_id} of {len(cell_ids)} cells")
    yield dg.Output(None, metadata={"cells": len(cell_ids), **links})


@dg.job
def refresh_region() -> None:
    """Crawl a region now. What is new in it reaches catalog and index by itself."""
    request_backfills()


maintenance = dg.define_asset_job(
    "maintenance",
    dg.AssetSelection.assets(*(asset_key(row.key) for row in started_by("weekly_maintenance"))),
    description="Give back what nobody needs any more, measure what everything takes, and how well photos are placed.",
)


@dg.schedule(
    job=maintenance,
    cron_schedule="30 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def weekly_maintenance(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Sundays at 3:30 UTC, a run per asset, so that each waits for its own pool only.

    It runs unless switched off: everything that it removes is past use, by ages that the assets' configuration states.
    """
    for row in started_by("weekly_maintenance"):
        week = f"{context.scheduled_execution_time:%Y-%m-%d}"
        yield dg.RunRequest(run_key=f"{row.key}-{week}", asset_selection=[asset_key(row.key)])


def _chosen(config: RefreshRegion, sources: Sources) -> list[str]:
    """Raises ConfigurationError for a source that was named and does not exist or cannot run, or when none can."""
    wanted = [source_named(name) for name in dict.fromkeys(config.sources)] or list(SOURCES)
    off = {source.name: reason for source in wanted if (reason := sources.disabled_reason(source))}
    ready = [source.name for source in wanted if source.name not in off]
    if off and (config.sources or not ready):
        raise ConfigurationError("; ".join(f"{name} is switched off: {reason}" for name, reason in off.items()))
    return ready
