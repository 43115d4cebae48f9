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
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings


def build_definitions(*, overrides: dict[str, str] | None = None, **resources: Any) -> dg.Definitions:
    """Definitions with these resources in place of the default ones of the same key.

    `overrides` are GEOPIN_* variables that the default resources put on top of the environment's.
    Runs use one process: a range run does many cells in its single step, so another interpreter
    per step would only add seconds.
    """
    told = overrides or {}
    defaults: dict[str, Any] = {
        **_storing(told, resources.get("s3")),
        "search_index": SearchIndex(overrides=told),
        "progress": Progress(),
        "alerts": Alerts(overrides=told),
    }
    return dg.Definitions(
        assets=_assets(),
        jobs=[refresh_region, maintenance],
        schedules=[weekly_maintenance],
        sensors=[*sensors, alert_on_failure],
        resources=defaults | resources,
        executor=dg.in_process_executor,
    )


def _storing(overrides: dict[str, str], s3: Any) -> dict[str, Any]:
    """Those that read and write files: over `S3Resource` where there is one, or an address of a bucket."""
    try:
        settings = Sources(overrides=overrides).settings()
    except ConfigurationError:  # the definitions must load, runs then say what is wrong
        settings = Settings()
    if s3 is None and not settings.is_over_s3:
        return {kind.__name__.lower(): kind(overrides=overrides) for kind in (Sources, Storage, Embedding)}
    from geopin_assets.defs import over_s3

    s3 = s3 or over_s3.s3_of(settings)
    kinds = (over_s3.Sources, over_s3.Storage, over_s3.Embedding)
    return {kind.__name__.lower(): kind(overrides=overrides, s3=s3) for kind in kinds} | {"s3": s3}


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
