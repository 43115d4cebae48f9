"""All assets and resources as one Definitions object. Tests and the command line put their own resources in."""

from typing import Any

import dagster as dg

from geopin_assets.defs.assets.attribution import attribution
from geopin_assets.defs.assets.catalog import captures
from geopin_assets.defs.assets.coverage import coverage
from geopin_assets.defs.assets.diversity import diversity
from geopin_assets.defs.assets.embeddings import embeddings
from geopin_assets.defs.assets.freshness import freshness
from geopin_assets.defs.assets.integrity import integrity
from geopin_assets.defs.assets.publish import d1, vectorize
from geopin_assets.defs.assets.raw import raw_assets
from geopin_assets.defs.automation.alerts import Alerts, alert_on_failure
from geopin_assets.defs.automation.jobs import UPKEEP, maintenance, refresh_region, weekly_maintenance
from geopin_assets.defs.automation.sensors import sensors
from geopin_assets.defs.resources import Embedding, SearchIndex, Sources, Storage
from geopin_assets.defs.running.progress import Progress

_REPORTS = [coverage, diversity, attribution, freshness, integrity]


def build_definitions(*, overrides: dict[str, str] | None = None, **resources: Any) -> dg.Definitions:
    """Definitions with these resources in place of the default ones of the same key.

    `overrides` are GEOPIN_* variables that the default resources put on top of the environment's.
    Runs use one process: a range run does many cells in its single step, so another interpreter
    per step would only add seconds.
    """
    defaults: dict[str, Any] = {
        "sources": Sources(overrides=overrides or {}),
        "storage": Storage(overrides=overrides or {}),
        "embedding": Embedding(overrides=overrides or {}),
        "search_index": SearchIndex(overrides=overrides or {}),
        "progress": Progress(),
        "alerts": Alerts(overrides=overrides or {}),
    }
    return dg.Definitions(
        assets=[*raw_assets, captures, embeddings, vectorize, d1, *_REPORTS, *UPKEEP],
        jobs=[refresh_region, maintenance],
        schedules=[weekly_maintenance],
        sensors=[*sensors, alert_on_failure],
        resources=defaults | resources,
        executor=dg.in_process_executor,
    )
