"""What starts assets without anybody asking: crawls by age, everything below by content, reports by the day.

Here: the condition that each kind of asset is declared with, and the switches: one sensor per source, per layer below,
and one for the reports. All assets that one sensor asks for at a tick become one backfill, so raw and catalog must
never share one: within a backfill nothing is done below a cell that failed. Their conditions are ours, so they are
evaluated where our code is. Not here: how cells are chosen (`refresh.py`, `follow.py`).
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.cells import cell_facts
from geopin_assets.defs.automation.follow import Follow
from geopin_assets.defs.automation.refresh import WEEKLY, WEEKLY_SAID, PastFreshness
from geopin_assets.defs.resources import Sources, Storage
from geopin_assets.errors import TransientError
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.store.catalog import Catalog

AC = dg.AutomationCondition

CATALOG_PATIENCE_S = 20.0
"""How long a look waits for the catalog, which a merge has to itself for seconds. A look may take 300 s."""


def refreshed(source: type[Source]) -> dict[str, Any]:
    """Options of a raw asset: crawled again before it is too old, as long as the source is switched on."""
    condition = PastFreshness(
        empty=partial(empty_cells, source),
        disabled_reason=lambda: Sources().disabled_reason(source),
    )
    return {"freshness_policy": WEEKLY, "automation_condition": condition}


def empty_cells(
    source: type[Source], catalog_path: Path | None = None, patience_s: float = CATALOG_PATIENCE_S
) -> list[str]:
    """The cells that have the slower policy: no Dutch land, and nothing of this source when it was last asked."""
    found_nothing = in_catalog(lambda catalog: catalog.empty_cells(source.name), catalog_path, patience_s)
    return [cell_id for cell_id in found_nothing if not cell_facts(cell_id).is_land]


REFRESH_FACTS = {"refreshed_every": WEEKLY_SAID}
"""What a raw asset shows beside its policy, which Dagster judges for the asset as a whole."""


def followed(condition: Follow | None = None) -> dict[str, Any]:
    """Options of a cell asset below raw: made when the content of a cell above has changed.

    Content means `dagster/data_version`: a crawl that found the same leads to nothing.
    """
    return {"automation_condition": condition or Follow()}


def a_blocking_check_fails(report: str) -> AC:
    """Whether the newest report of that name says that its data must not be published; publishing refuses it too."""
    failed = AC.any_checks_match(AC.check_failed(), blocking_only=True)
    return AC.asset_matches(["quality", report], failed).with_label(f"a_blocking_check_of_{report}_fails")


def images_too() -> Follow:
    """Also the cells with images that failed and may be tried again now: nothing above these changes."""
    return Follow(
        also=partial(in_catalog, lambda catalog: catalog.cells_to_retry(datetime.now(UTC))),
        also_said=", or an image of it that could not be embedded may be tried again",
    )


def in_catalog(
    question: Callable[[Catalog], pl.Series], path: Path | None = None, patience_s: float = CATALOG_PATIENCE_S
) -> Collection[str]:
    """What the catalog answers; nothing as long as there is none, or where it is written for longer than we wait."""
    path = path or Storage().settings().catalog_path
    if not path.exists():
        return ()
    try:
        return frozenset(question(Catalog(path, patience_s=patience_s)))
    except TransientError:
        return ()


def _reported() -> AC:
    """After changes, and each morning; not while what it reports on is being made."""
    changed: Any = AC.any_deps_match(AC.data_version_changed()).with_label("content_above_changed")
    morning = AC.cron_tick_passed("0 6 * * *", "Europe/Amsterdam").with_label("each_morning")
    wanted = (changed | morning).since_last_handled().with_label("changed_or_morning_since_last_report")
    above_is_being_made = AC.any_deps_match(AC.run_in_progress()).with_label("above_is_being_made")
    return (wanted & ~AC.in_progress() & ~above_is_being_made).with_label("report")


REPORT: dict[str, Any] = {
    "automation_condition": _reported(),
    "freshness_policy": dg.FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(days=2)),
}
"""Options of an unpartitioned report: made each morning and after changes, at most hourly (`sensors.py`)."""


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
