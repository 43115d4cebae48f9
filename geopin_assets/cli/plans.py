"""`geopin plan` and `index plan`: what crawling a region, and a first publish, will take.

Here: estimates put together and shown, as tables or as JSON (its fields are in `docs/cli.md`). Not here: the arithmetic
(`sources/crawl_cost.py`, `index/cost.py`). Nothing here imports Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite

from geopin_assets.cli.console import Facts, console, print_facts, print_json, print_table
from geopin_assets.regions import ranges
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings

_THIN_M, _SAMPLED = (0.0, 5.0, 10.0, 15.0), 200_000
Measured = Mapping[str, Mapping[str, tuple[int, int]]]
"""source -> cell_id -> (requests, captures) of the last crawl."""


def print_plan(settings: Settings, names: Sequence[str], region: str, *, is_json: bool = False) -> None:
    """Runs, requests and hours of a crawl per source, each at its own pace, then what a first publish takes."""
    found = crawl_plan(settings, names, region)
    is_there = settings.catalog_path.exists()
    found |= {"publishing": publish_plan() if is_there else None, "thinning": thinning_plan() if is_there else []}
    if is_json:
        print_json(found)
        return
    show_crawl_plan(settings, found)
    ready = [plan for plan in found["sources"] if not plan["disabled_reason"]]
    if len(ready) > 1:
        slowest = max(ready, key=_hours)
        console.print(f"\nall that are ready, at once: {_time(slowest['hours'])}, as long as {slowest['source']} takes")
    if found["publishing"]:
        console.print()
        _show_publish_plan(found["publishing"])
    if found["thinning"]:
        console.print()
        _show_thinning_plan(settings, found["thinning"])


def print_publish_plan(captures: int = 0, pano_share: float = 0.0, *, is_json: bool = False) -> None:
    """What a first load of the catalog takes, or of so many captures. Asks nothing of Cloudflare."""
    print_facts(publish_plan(captures, pano_share), is_json, _show_publish_plan)


def publish_plan(captures: int = 0, pano_share: float = 0.0) -> Facts:
    """Vectors, rows, requests, bytes, shards and money of a first load."""
    from geopin_assets.embedding.model.choosing import dimensions
    from geopin_assets.embedding.protocol import VIEWS
    from geopin_assets.index.cost import forecast_publish
    from geopin_assets.platform.parts import Storage

    storage, embedded, panoramas = Storage(), captures, round(captures * pano_share)
    if not captures:
        catalog = storage.catalog()
        (captures, _), (embedded, panoramas) = catalog.size(), catalog.size(are_wanted=True)
    return asdict(forecast_publish(embedded + (VIEWS - 1) * panoramas, captures, dimensions(storage.settings())))


def thinning_plan() -> list[Facts]:
    """Images, vectors and money of a first load at several distances (GEOPIN_THIN_M), from a sample of the catalog."""
    from geopin_assets.embedding.model.choosing import dimensions
    from geopin_assets.embedding.protocol import VIEWS
    from geopin_assets.index.cost import forecast_publish
    from geopin_assets.platform.parts import Storage
    from geopin_assets.store.thinning import drives, kept

    storage, plans = Storage(), list[Facts]()
    catalog, dim = storage.catalog(), dimensions(storage.settings())
    (captures, _), sample = catalog.size(), drives(catalog, _SAMPLED)
    for within_m in _THIN_M if captures else ():
        images, panoramas = (round(n * captures / sample.height) for n in kept(sample, within_m))
        cost = asdict(forecast_publish(images + (VIEWS - 1) * panoramas, captures, dim))
        shown = {name: cost[name] for name in ("vectors", "hours", "first_load_usd", "monthly_usd")}
        plans.append({"within_m": within_m, "images": images, "share": images / captures} | shown)
    return plans


def _show_thinning_plan(settings: Settings, plans: Sequence[Facts]) -> None:
    rows = [
        (
            f"{plan['within_m']:g} m" + (" (in force)" if plan["within_m"] == settings.thin_m else ""),
            *(f"{plan['images']:,}", f"{plan['share']:.0%}", f"{plan['vectors']:,}", f"{plan['hours']:.1f} h"),
            *(f"${plan['first_load_usd']:.2f}", f"${plan['monthly_usd']:.2f}"),
        )
        for plan in plans
    ]
    title = "thinned: images of one sequence that look the same way, one within (GEOPIN_THIN_M)"
    print_table(title, ("within", "images", "of all", "vectors", "requests", "first load", "each month"), rows)


def _show_publish_plan(plan: Facts) -> None:
    rows = [
        ("vectors", f"{plan['vectors']:,} in {plan['index_shards']} indexes (GEOPIN_INDEX_SHARDS)"),
        ("rows written", f"{plan['rows_written']:,} in {plan['database_shards']} databases (GEOPIN_D1_SHARDS)"),
        ("requests", f"{plan['requests']:,}, {plan['hours']:.1f} h at the account's rate, with waiting"),
        ("bytes", f"{plan['vector_bytes'] / 1e9:.2f} GB of vectors, {plan['row_bytes'] / 1e9:.2f} GB of rows"),
        ("first load", f"${plan['first_load_usd']:.2f} at most"),
        ("each month", f"${plan['monthly_usd']:.2f} at most, searched at least once"),
    ]
    print_table(f"publishing {plan['captures']:,} captures for the first time", ("what", "so much"), rows)


def crawl_plan(settings: Settings, names: Sequence[str], region: str, cell_ids: Sequence[str] | None = None) -> Facts:
    """What a crawl of a region takes, by source and kind of request; all sources where none is named.

    `cell_ids`: those of the region that are left to crawl.
    """
    from geopin_assets.defs.graph import RAW_CELLS
    from geopin_assets.sources import SOURCES, quotas_of, source_named
    from geopin_assets.sources.crawl_cost import estimate_crawl

    cell_ids = cells_of(region) if cell_ids is None else cell_ids
    sources, measured = [source_named(name) for name in names] or list(SOURCES), _measured(settings)
    estimates = [estimate_crawl(s, quotas_of(s, settings), cell_ids, measured.get(s.name, {})) for s in sources]
    return {
        "region": region,
        "cells": len(cell_ids),
        "runs_per_source": len(ranges(cell_ids, RAW_CELLS)),
        "sources": [
            {
                "source": plan.source,
                "disabled_reason": source.disabled_reason(settings),
                "captures": plan.captures,
                "requests": plan.requests,
                "hours": _finite(plan.hours),
                "measured_cells": plan.measured_cells,
                "kinds": [
                    {
                        "kind": kind.kind or "others",
                        "requests": kind.requests,
                        "hours": _finite(kind.hours),
                        "per_second": kind.quota.per_second,
                        "per_day": kind.quota.per_day,
                    }
                    for kind in plan.kinds
                ],
            }
            for source, plan in zip(sources, estimates, strict=True)
        ],
    }


def show_crawl_plan(settings: Settings, found: Facts) -> None:
    """A row per source and kind of request."""
    print_table(
        f"one crawl of {found['region']}: {found['cells']} cells, {found['runs_per_source']} runs per source",
        ("source", "captures", "requests", "time", "at", "known from", "state"),
        [row for plan in found["sources"] for row in _plan_rows(plan)],
    )
    if settings.is_sandbox:
        console.print("rates are the sandbox's; GEOPIN_PROFILE=live plans with the real ones")


def _measured(settings: Settings) -> Measured:
    if not settings.catalog_path.exists():
        return {}
    from geopin_assets.store.catalog import Catalog

    rows = Catalog(settings.catalog_path).crawls().select("source", "cell_id", "requests", "captures").iter_rows()
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for source, cell_id, requests, captures in rows:
        found.setdefault(source, {})[cell_id] = (requests, captures)
    return found


def _plan_rows(plan: Facts) -> list[tuple[object, ...]]:
    kinds = plan["kinds"]
    known = f"{plan['measured_cells']} crawled cells" if plan["measured_cells"] else "what the source states"
    pace = _pace(kinds[0]) if len(kinds) == 1 else ""
    amounts = (f"{plan['captures']:,}", f"{plan['requests']:,}", _time(plan["hours"]))
    first = (plan["source"], *amounts, pace, known, plan["disabled_reason"] or "ready")
    if len(kinds) == 1:
        return [first]
    return [first, *(("", "", f"{k['requests']:,} {k['kind']}", _time(k["hours"]), _pace(k), "", "") for k in kinds)]


def _pace(kind: Facts) -> str:
    rate = f"{kind['per_second'] * 60:g}/min"
    return rate if kind["per_day"] is None else f"{rate}, {kind['per_day']:,}/day"


def _finite(hours: float) -> float | None:
    return hours if isfinite(hours) else None


def _hours(plan: Facts) -> float:
    return float("inf") if plan["hours"] is None else plan["hours"]


def _time(hours: float | None) -> str:
    if hours is None:
        return "never: budget 0"
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
