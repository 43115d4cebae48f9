"""`geopin plan`: what crawling a region will take, source by source, before anything is asked. Reads only."""

from collections.abc import Mapping, Sequence
from math import isfinite

from geopin_assets.cli.console import console, print_table
from geopin_assets.cli.index import print_publish_plan
from geopin_assets.defs.assets.raw import CELLS_PER_RUN
from geopin_assets.defs.resources import Storage
from geopin_assets.regions import ranges
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, quotas_of, source_named
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl_cost import CrawlCost, KindCost, estimate_crawl

Measured = Mapping[str, Mapping[str, tuple[int, int]]]
"""source -> cell_id -> (requests, captures) of the last crawl."""


def print_plan(settings: Settings, names: Sequence[str], region: str) -> None:
    """Runs, requests and hours per source; each at its own pace, side by side."""
    sources = [source_named(name) for name in names] or list(SOURCES)
    estimates = print_estimates(settings, sources, cells_of(region), region)
    ready = [e for s, e in zip(sources, estimates, strict=True) if not s.disabled_reason(settings)]
    if len(ready) > 1:
        slowest = max(ready, key=lambda e: e.hours)
        console.print(f"\nall that are ready, at once: {_time(slowest.hours)}, as long as {slowest.source} takes")
    if settings.catalog_path.exists():
        console.print()
        print_publish_plan()


def print_estimates(
    settings: Settings, sources: Sequence[type[Source]], cell_ids: Sequence[str], region: str
) -> list[CrawlCost]:
    """What a crawl of these cells takes, a row per source and kind of request."""
    measured = _measured(settings)
    estimates = [estimate_crawl(s, quotas_of(s, settings), cell_ids, measured.get(s.name, {})) for s in sources]
    runs = len(ranges(cell_ids, CELLS_PER_RUN))
    print_table(
        f"one crawl of {region}: {len(cell_ids)} cells, {runs} runs per source",
        ("source", "captures", "requests", "time", "at", "known from", "state"),
        [row for s, e in zip(sources, estimates, strict=True) for row in _rows(e, s.disabled_reason(settings))],
    )
    if settings.is_sandbox:
        console.print("rates are the sandbox's; GEOPIN_PROFILE=live plans with the real ones")
    return estimates


def _measured(settings: Settings) -> Measured:
    if not settings.catalog_path.exists():
        return {}
    rows = Storage().catalog().crawls().select("source", "cell_id", "requests", "captures").iter_rows()
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for source, cell_id, requests, captures in rows:
        found.setdefault(source, {})[cell_id] = (requests, captures)
    return found


def _rows(plan: CrawlCost, reason: str | None) -> list[tuple[object, ...]]:
    first = (
        plan.source,
        f"{plan.captures:,}",
        f"{plan.requests:,}",
        _time(plan.hours),
        _pace(plan.kinds[0]) if len(plan.kinds) == 1 else "",
        f"{plan.measured_cells} crawled cells" if plan.measured_cells else "what the source states",
        reason or "ready",
    )
    if len(plan.kinds) == 1:
        return [first]
    return [
        first,
        *(("", "", f"{k.requests:,} {k.kind or 'others'}", _time(k.hours), _pace(k), "", "") for k in plan.kinds),
    ]


def _pace(kind: KindCost) -> str:
    rate = f"{kind.quota.per_second * 60:g}/min"
    return rate if kind.quota.per_day is None else f"{rate}, {kind.quota.per_day:,}/day"


def _time(hours: float) -> str:
    if not isfinite(hours):
        return "never: budget 0"
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
