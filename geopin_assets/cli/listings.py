"""`geopin sources`, `cells`, `status`, `plan`, `settings` and `index plan`: what there is, as tables or as JSON.

All of them only look something up, and answer at once: nothing here imports Dagster. The fields of the JSON are in
`docs/cli.md`. Secrets are never shown. Not here: which variables there are and what they mean (`variables.py`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite

from pydantic import SecretStr

from geopin_assets.cells import cell_facts
from geopin_assets.cli.console import Facts, console, print_facts, print_json, print_table
from geopin_assets.environment import ByProfile, is_secret
from geopin_assets.regions import ranges
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings
from geopin_assets.sources import refuse_strangers
from geopin_assets.variables import PER_SOURCE, SECTIONS, VARIABLES, fields_of, heading

Measured = Mapping[str, Mapping[str, tuple[int, int]]]
"""source -> cell_id -> (requests, captures) of the last crawl."""


def list_cells(cell_ids: Sequence[str]) -> None:
    """The facts of each cell, as JSON."""
    found = [(cell_id, cell_facts(cell_id)) for cell_id in cell_ids]
    print_json(
        [
            {
                "cell_id": cell_id,
                "province": facts.province,
                "place": facts.place,
                "population": facts.population,
                "is_land": facts.is_land,
                **asdict(facts.cell.bbox),
            }
            for cell_id, facts in found
        ]
    )


def list_sources(settings: Settings, *, is_json: bool) -> None:
    """The registered sources, and whether they can run with the present settings."""
    from geopin_assets.sources import SOURCES

    found = [
        {
            "source": source.name,
            "title": source.title,
            "license": source.license,
            "attribution": source.attribution,
            "homepage": source.homepage,
            "contribute_url": source.contribute_url,
            "variable": source.key.variable if source.key else None,
            "disabled_reason": source.disabled_reason(settings),
        }
        for source in SOURCES
    ]
    print_facts(found, is_json, lambda found: _show_sources(settings, found))


def _show_sources(settings: Settings, found: Sequence[Facts]) -> None:
    rows = [
        (s["source"], s["title"], s["license"] or "per capture", s["disabled_reason"] or "ready", s["homepage"])
        for s in found
    ]
    print_table(f"profile {settings.profile}", ("source", "title", "license", "state", "homepage"), rows)


def print_status(settings: Settings, *, is_json: bool = False) -> None:
    """Captures, crawled cells, duplicates and rejections per source, then vectors and rows in the index."""
    is_crawled = settings.catalog_path.exists()
    found = {
        "profile": settings.profile,
        "data_dir": str(settings.data_dir),
        "sources": _crawled(settings) if is_crawled else [],
        "index": _published(settings) if is_crawled and settings.index_dir.exists() else None,
    }
    print_facts(found, is_json, _show_status)


def _crawled(settings: Settings) -> list[Facts]:
    import orjson
    import polars as pl

    from geopin_assets.store.catalog import Catalog

    catalog, found = Catalog(settings.catalog_path), []
    held = dict(catalog.licenses().group_by("source").agg(pl.col("captures").sum()).iter_rows())
    for (source,), rows in catalog.crawls().group_by("source", maintain_order=True):
        left_out: dict[str, int] = {}
        for reason, count in (pair for text in rows["rejected"] for pair in orjson.loads(text).items()):
            left_out[reason] = left_out.get(reason, 0) + count
        found.append(
            {
                "source": source,
                "captures": held.get(source, 0),
                "cells": rows.height,
                "requests": rows["requests"].sum(),
                "duplicates": rows["duplicates"].sum(),
                "left_out": dict(sorted(left_out.items())),
                "crawled_at": rows["crawled_at"].max(),
            }
        )
    return found


def _published(settings: Settings) -> Facts | None:
    from geopin_assets.platform.index_state import published_count, published_rows
    from geopin_assets.platform.parts import Embedding, SearchIndex

    search_index = SearchIndex()
    serving = search_index.versions().serving()
    if serving is None:
        return None
    counts = {"vectors": published_count(search_index, serving), "captures": published_rows(search_index)}
    return {"index": serving.name, **counts, "model": Embedding().model().label}


def _show_status(found: Facts) -> None:
    if not found["sources"] and found["index"] is None:
        console.print("nothing crawled yet: try `make demo`, or `geopin run --region nh-amsterdam`")
        return
    rows = [
        (
            *(s["source"], s["captures"], s["cells"], s["requests"], s["duplicates"]),
            ", ".join(f"{count} {reason}" for reason, count in s["left_out"].items()),
            f"{s['crawled_at']:%Y-%m-%d %H:%M}",
        )
        for s in found["sources"]
    ]
    headers = ("source", "captures", "cells", "requests", "duplicates removed", "left out", "crawled")
    print_table("captures per source", headers, rows)
    if (index := found["index"]) is None:
        console.print("\nnothing published yet")
        return
    published = f"{index['vectors']} vectors, {index['captures']} captures"
    console.print(f"\nin the index {index['index']}: {published}\nembedder: {index['model']}")


def list_takedowns(settings: Settings, *, is_json: bool = False) -> None:
    """Every capture on the list, since when, why, and when a crawl last showed it before."""
    from geopin_assets.store.catalog import Catalog

    listed = Catalog(settings.catalog_path).takedowns().listed()
    found = [
        {"capture_id": capture_id, "since": since, "note": note, "last_seen_at": seen}
        for capture_id, since, note, seen in listed.iter_rows()
    ]
    print_facts(found, is_json, _show_takedowns)


def _show_takedowns(found: Sequence[Facts]) -> None:
    if not found:
        console.print("nothing was taken down")
        return
    rows = [
        (
            *(down["capture_id"], f"{down['since']:%Y-%m-%d %H:%M}", down["note"]),
            f"{down['last_seen_at']:%Y-%m-%d}" if down["last_seen_at"] else "never",
        )
        for down in found
    ]
    print_table("taken down", ("capture", "since", "note", "last crawled"), rows)


def print_plan(settings: Settings, names: Sequence[str], region: str, *, is_json: bool = False) -> None:
    """Runs, requests and hours of a crawl per source, each at its own pace, then what a first publish takes."""
    found = crawl_plan(settings, names, region)
    found["publishing"] = publish_plan() if settings.catalog_path.exists() else None
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


def print_publish_plan(captures: int = 0, pano_share: float = 0.0, *, is_json: bool = False) -> None:
    """What a first load of the catalog takes, or of so many captures. Asks nothing of Cloudflare."""
    print_facts(publish_plan(captures, pano_share), is_json, _show_publish_plan)


def publish_plan(captures: int = 0, pano_share: float = 0.0) -> Facts:
    """Vectors, rows, requests, bytes, shards and money of a first load."""
    from geopin_assets.embedding.protocol import VIEWS
    from geopin_assets.index.cost import forecast_publish
    from geopin_assets.platform.parts import Embedding, Storage

    if captures:
        panoramas = round(captures * pano_share)
    else:
        is_pano = Storage().catalog().all_captures(["is_pano"])["is_pano"]
        captures, panoramas = len(is_pano), int(is_pano.sum())
    return asdict(forecast_publish(captures + (VIEWS - 1) * panoramas, captures, Embedding().model().dim))


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


def print_settings(settings: Settings, *, is_json: bool) -> None:
    """Every variable in force. Raises ConfigurationError for a rate or budget of a source that does not exist."""
    refuse_strangers(settings)
    print_facts([*_fields(settings), *_per_source(settings)], is_json, _show)


def shown(value: object) -> str:
    """A value as a person writes it; nothing that opens a door."""
    if isinstance(value, SecretStr):
        return "***" if value else ""
    if isinstance(value, tuple | frozenset):
        return ", ".join(shown(item) for item in (sorted(value) if isinstance(value, frozenset) else value))
    if value is None or isinstance(value, bool | float):
        return "" if value is None else f"{value:.0f}" if value == round(value) else f"{value:g}"
    return re.sub(r"(?<=//)[^/@\s]*@", "***@", str(value))


def _fields(settings: Settings) -> Iterator[Facts]:
    for section in SECTIONS:
        for variable, field in fields_of(section):
            usual = "profile" if isinstance(field.default_factory, ByProfile) else "default"
            yield {
                "section": heading(section),
                "variable": variable,
                "value": shown(getattr(settings, VARIABLES[variable])),
                "origin": "environment" if settings.is_set(variable) else usual,
                "is_secret": is_secret(field),
                "wrong": settings.wrong.get(variable, ""),
            }


def _per_source(settings: Settings) -> Iterator[Facts]:
    for variable in sorted(filter(PER_SOURCE.fullmatch, settings.variables)):
        if settings.is_set(variable):
            value = settings.variables[variable].strip()
            facts = {"section": "Each source", "variable": variable, "value": value, "origin": "environment"}
            yield facts | {"is_secret": False, "wrong": ""}


def _show(rows: Sequence[Facts]) -> None:
    for section in dict.fromkeys(row["section"] for row in rows):
        of_section = (row for row in rows if row["section"] == section)
        found = [(row["variable"], row["value"], row["wrong"] or row["origin"]) for row in of_section]
        print_table(section, ("variable", "value", "from"), found)
