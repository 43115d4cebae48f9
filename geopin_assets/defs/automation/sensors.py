"""What starts assets without anybody asking: crawls by age, everything below by content, reports by the day.

Here: the switches, one sensor per source, per layer below, and one for the reports; and the condition by which each
asks for its assets. Which assets those are is in the table. All assets that one sensor asks for at a tick become one
backfill, so raw and catalog must never share one: within a backfill nothing is done below a cell that failed. The
conditions are ours, so they are evaluated where our code is. Not here: how cells are chosen (`refresh.py`,
`follow.py`).
"""

import math
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from geopin_assets.cells import cell_ids
from geopin_assets.defs.automation.follow import Follow
from geopin_assets.defs.automation.refresh import WEEKLY, WEEKLY_SAID, PastFreshness, stored_crawls
from geopin_assets.defs.graph import RAW, Node, node, started_by
from geopin_assets.embedding.protocol import LONGEST_WAIT
from geopin_assets.errors import DamagedFileError, TransientError
from geopin_assets.platform.parts import Sources, Storage
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source

if TYPE_CHECKING:
    from geopin_assets.store.catalog import Catalog

# beta in Dagster 1.13; the version is pinned, so the reminder on every start helps nobody
warnings.filterwarnings("ignore", message=".*use_user_code_server.*", category=dg.BetaWarning)

AC = dg.AutomationCondition
HOUR_S = 3600

CATALOG_PATIENCE_S = 20.0
"""How long a look waits for the catalog, which a merge has to itself for seconds. A look may take 300 s."""
FORGOTTEN_EVERY_S = 6 * HOUR_S
"""All raw files of a source are listed for it, as often as for its next crawls."""


def automated(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The asset with the condition by which its switch asks for it; as it is, where it has none."""
    options = _options(node(asset.key.to_user_string()))
    return asset.map_asset_specs(lambda spec: _with(spec, **options)) if options else asset


def _with(spec: dg.AssetSpec, metadata: dict[str, Any] | None = None, **options: Any) -> dg.AssetSpec:
    return spec.replace_attributes(metadata={**spec.metadata, **(metadata or {})}, **options)


def _options(row: Node) -> dict[str, Any]:
    if row.key in RAW:
        return refreshed(SOURCES[RAW.index(row.key)])
    return _OF_ASSET.get(row.key) or _OF_SENSOR.get(row.started_by, {})


def refreshed(source: type[Source]) -> dict[str, Any]:
    """A raw asset is crawled again before it is too old, as long as the source is switched on."""
    condition = PastFreshness(
        crawls=lambda: stored_crawls(Storage().raw(), source.name),
        disabled_reason=lambda: Sources().disabled_reason(source),
    )
    return {
        "freshness_policy": WEEKLY,
        "automation_condition": condition,
        "metadata": {"refreshed_every": WEEKLY_SAID},  # Dagster shows its policy as if it were of the asset as a whole
    }


def a_blocking_check_fails(report: str) -> AC:
    """Whether the newest report of that name says that its data must not be published; publishing refuses it too."""
    failed = AC.any_checks_match(AC.check_failed(), blocking_only=True)
    return AC.asset_matches(["quality", report], failed).with_label(f"a_blocking_check_of_{report}_fails")


def images_too() -> Follow:
    """Also the cells with images that failed and may be tried again now: nothing above these changes."""
    return Follow(
        also=partial(in_catalog, lambda catalog: catalog.cells_to_retry(datetime.now(UTC), LONGEST_WAIT)),
        also_said=", or an image of it that could not be embedded may be tried again",
    )


class Seldom:
    """The answers to costly questions, one after the other, each once in a while, and none in between."""

    def __init__(
        self, questions: Sequence[Callable[[], Collection[str]]], every_s: float, clock: Callable[[], float]
    ) -> None:
        self._questions, self._pause_s, self._clock = cycle(questions), every_s / len(questions), clock
        self._next_s = -math.inf

    def __call__(self) -> Collection[str]:
        if (now_s := self._clock()) < self._next_s:
            return ()
        self._next_s = now_s + self._pause_s
        return next(self._questions)()


def forgotten_too(
    unmerged: Sequence[Callable[[], Collection[str]]] = (), clock: Callable[[], float] = time.monotonic
) -> Follow:
    """Also the cells whose raw files the catalog lacks though no event tells: who deletes a run deletes its events."""
    return Follow(
        also=Seldom(unmerged or [partial(_unmerged_of, source.name) for source in SOURCES], FORGOTTEN_EVERY_S, clock),
        also_said=", or, as is looked up every 6 hours, it holds what the catalog lacks",
    )


def _unmerged_of(source: str) -> Collection[str]:
    """40 µs of CPU a file: all sources in one look would take longer than a look should."""
    return in_catalog(lambda catalog: catalog.unmerged(Storage().raw(), source=source).keys() & {*cell_ids()})


def in_catalog(
    question: "Callable[[Catalog], Iterable[str]]", path: Path | None = None, patience_s: float = CATALOG_PATIENCE_S
) -> Collection[str]:
    """What the catalog answers; nothing as long as there is none, or where it cannot be read for as long as we wait."""
    path = path or Storage().settings().catalog_path
    if not path.exists():
        return ()
    from geopin_assets.store.catalog import Catalog

    try:
        return frozenset(question(Catalog(path, patience_s=patience_s)))
    except (TransientError, DamagedFileError):
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
"""A report is made each morning and after changes, at most hourly."""

_OFTEN = AC.cron_tick_passed("0 */6 * * *").with_label("every_6_hours")
_OF_SENSOR: dict[str, dict[str, Any]] = {
    "follow_raw": {"automation_condition": forgotten_too()},
    "follow_catalog": {"automation_condition": images_too()},
    "publish_rows": {"automation_condition": Follow(unless=a_blocking_check_fails("freshness"))},
    "publish_vectors": {"automation_condition": Follow(unless=a_blocking_check_fails("freshness"))},
    "make_reports": REPORT,
    "publish_exchange": {
        "automation_condition": (AC.cron_tick_passed("0 4 * * *", "Europe/Amsterdam") & ~AC.in_progress()).with_label(
            "each_night"
        )
    },
}
_OF_ASSET: dict[str, dict[str, Any]] = {
    # whatever is under way above: a crawl that hangs, or never ends, is what this report is there to tell
    "quality/freshness": REPORT | {"automation_condition": _OFTEN},
}


def _sensor(name: str, every_s: int, description: str) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        name,
        target=dg.AssetSelection.assets(*(row.key.split("/") for row in started_by(name))),
        minimum_interval_seconds=every_s,
        description=description,
        default_status=dg.DefaultSensorStatus.RUNNING,
        use_user_code_server=True,
    )


sensors = [
    *(
        _sensor(
            node(key).started_by,
            6 * HOUR_S,
            f"Crawls the cells of {source.title} again, in time for the freshness policy of {key}. Cells that were "
            "never crawled wait for a backfill by hand. Switch it off to leave this source alone.",
        )
        for key, source in zip(RAW, SOURCES, strict=True)
    ),
    _sensor(
        "follow_raw",
        300,
        "Merges the cells that a source has crawled with another result than last time into the catalog.",
    ),
    _sensor(
        "follow_catalog",
        300,
        "Embeds the cells whose captures changed, and those with images that may be tried again.",
    ),
    _sensor(
        "publish_rows",
        600,
        "Publishes what is shown beside the vectors of cells whose captures or vectors changed: it is there first.",
    ),
    _sensor(
        "publish_vectors",
        600,
        "Publishes the vectors of cells whose rows are published. Switch it off to keep the searched index as it is.",
    ),
    _sensor(
        "publish_exchange",
        HOUR_S,
        "Each night, passes on what changed: the publication for others, and an entry of its feed. Switch it off to "
        "pass on nothing.",
    ),
    _sensor("make_reports", HOUR_S, "Makes reports and their checks after changes, at most hourly, and each morning."),
]
