"""All assets and resources as one Definitions object. Tests and the command line put their own resources in."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import dagster as dg

from geopin_assets.defs import assets
from geopin_assets.defs.automation.alerts import Alerts, alert_on_failure
from geopin_assets.defs.automation.jobs import maintenance, refresh_region, weekly_maintenance
from geopin_assets.defs.automation.sensors import automated, sensors
from geopin_assets.defs.graph import GRAPH
from geopin_assets.defs.resources import Embedding, SearchIndex, Sources, Storage
from geopin_assets.defs.running.materialize import Progress


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
        assets=_assets(),
        jobs=[refresh_region, maintenance],
        schedules=[weekly_maintenance],
        sensors=[*sensors, alert_on_failure],
        resources=defaults | resources,
        executor=dg.in_process_executor,
    )


@cache
def _assets() -> list[dg.AssetsDefinition]:
    """What the modules of `assets/` declare, in the order of the table, each started by its switch."""
    found = {asset.key.to_user_string(): automated(asset) for asset in _declared()}
    if found.keys() != {row.key for row in GRAPH}:
        raise LookupError(f"in the table or in assets/, not in both: {found.keys() ^ {row.key for row in GRAPH}}")
    return [found[row.key] for row in GRAPH]


def _declared() -> Iterator[dg.AssetsDefinition]:
    """As `dg.load_assets_from_package_module` finds them, which builds each anew: 0.1 s."""
    for found in iter_modules(assets.__path__):
        for value in vars(import_module(f"{assets.__name__}.{found.name}")).values():
            yield from (
                one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dg.AssetsDefinition)
            )
