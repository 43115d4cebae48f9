"""The switches of automation: one sensor per source, per layer below, and one for the reports.

Here: what each looks at and how often. Not here: what it asks for (`automation.py`). All assets that one sensor asks
for at a tick become one backfill, so raw and catalog must never share one: within a backfill nothing is done below a
cell that failed. Their conditions are ours, so they are evaluated where our code is.
"""

import dagster as dg

from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source

HOUR_S = 3600
REFRESH_EVERY_S = 6 * HOUR_S
FOLLOW_EVERY_S = 300
PUBLISH_EVERY_S = 600


def _sensor(
    name: str, target: dg.AssetSelection, every_s: int, description: str
) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        name,
        target=target,
        minimum_interval_seconds=every_s,
        description=description,
        default_status=dg.DefaultSensorStatus.RUNNING,
        use_user_code_server=True,
    )


def refresh_sensor(source: type[Source]) -> dg.AutomationConditionSensorDefinition:
    """The switch of one source's weekly refresh."""
    return _sensor(
        f"refresh_{source.name}",
        dg.AssetSelection.assets(["raw", source.name]),
        REFRESH_EVERY_S,
        f"Crawls the cells of {source.title} again, in time for the freshness policy of raw/{source.name}. Cells that "
        "were never crawled wait for a backfill by hand. Switch it off to leave this source alone.",
    )


sensors = [
    *(refresh_sensor(source) for source in SOURCES),
    _sensor(
        "follow_raw",
        dg.AssetSelection.groups("catalog"),
        FOLLOW_EVERY_S,
        "Merges the cells that a source has crawled with another result than last time into the catalog.",
    ),
    _sensor(
        "follow_catalog",
        dg.AssetSelection.groups("index"),
        FOLLOW_EVERY_S,
        "Embeds the cells whose captures changed, and those with images that may be tried again.",
    ),
    _sensor(
        "publish_changes",
        dg.AssetSelection.groups("publish"),
        PUBLISH_EVERY_S,
        "Publishes the cells whose captures or vectors changed. Switch it off to keep the index as it is.",
    ),
    _sensor(
        "make_reports",
        dg.AssetSelection.groups("quality"),
        HOUR_S,
        "Makes reports and their checks after changes, at most hourly, and each morning.",
    ),
]
