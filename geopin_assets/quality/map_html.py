"""The coverage map as one HTML file: pan, zoom, click a cell, filter, and a table of the gaps.

Here: what the page is told (`page_data`). Its style is `coverage.html`, its script `coverage.js`. Not here: what counts
as a gap (`coverage.py`), or how page and script become one file (`pages.py`).

Where it is served it reads streets from the layers beside it; opened as a file it shows cells, and says why only them.
It asks for nothing else: it works in an intranet. Everything in it that comes from outside is untrusted text: embedded
as JSON in which no character can end the script element, and put into the page as text, never as markup.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any

import polars as pl
import shapely

from geopin_assets.cells import PLACES_ATTRIBUTION, all_cells, place_name, place_slug, places, stored_facts
from geopin_assets.geo import OUTLINE_ATTRIBUTION, dutch_outline
from geopin_assets.grid import CELL_LAT_DEG, CELL_LON_DEG, SOUTH, WEST
from geopin_assets.quality.coverage import GapReason, not_crawled, province_summary
from geopin_assets.quality.coverage_trend import Trend
from geopin_assets.quality.pages import page

_WANTED_SHOWN = 500


def render_html(
    coverage: pl.DataFrame,
    gaps: pl.DataFrame,
    crawled: pl.DataFrame,
    *,
    now: datetime,
    trend: Trend | None = None,
    wanted: pl.DataFrame | None = None,
    contribute: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The page. Frames as in `coverage.py` and `wanted.py`; `now` is printed as its date, `trend` beside the totals.

    `contribute`: where people add imagery, by source.
    """
    data = page_data(coverage, gaps, crawled, now=now, trend=trend)
    ranked = [] if wanted is None else wanted.head(_WANTED_SHOWN).select("cell_id", "lack", "failed").rows()
    data |= {"wanted": [[cell_id, round(lack, 2), round(failed, 2)] for cell_id, lack, failed in ranked]}
    return page("coverage", data | {"contribute": list(contribute.items())})


def page_data(
    coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame, *, now: datetime, trend: Trend | None = None
) -> dict[str, Any]:
    """Everything the page shows. Cells are lists, to keep a whole country under 2 MB (order: see `_cells`)."""
    sources = sorted({*crawled["source"], *coverage["source"]})
    return {
        "date": now.date().isoformat(),
        "attribution": [OUTLINE_ATTRIBUTION, PLACES_ATTRIBUTION],
        "grid": {"west": WEST, "south": SOUTH, "lon": CELL_LON_DEG, "lat": CELL_LAT_DEG},
        "sources": sources,
        "reasons": [reason.value for reason in GapReason],
        "notCrawled": not_crawled(crawled).height,
        "cells": list(_cells(coverage, gaps, crawled, sources)),
        "provinces": _provinces(province_summary(coverage, crawled, gaps)),
        "trend": str(trend) if trend else "",
        "outline": _outline(),
        "lakes": _lakes(),
        "places": _places(),
    }


def _cells(
    coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame, sources: list[str]
) -> Iterable[list[Any]]:
    """Per crawled cell: id, place, is_land, population, sources that looked, [source, captures, panos, date,
    sectors] of each that found, [reason, detail] of each gap. Sources and reasons are positions in their lists."""
    position = {source: i for i, source in enumerate(sources)}
    reasons = {reason.value: i for i, reason in enumerate(GapReason)}
    found, short, looked = defaultdict(list), defaultdict(list), defaultdict(list)
    date = pl.col("newest").dt.strftime("%Y-%m-%d")
    columns = coverage.select("cell_id", "source", "captures", "panos", date, "heading_sectors")
    for cell_id, source, *counts in columns.iter_rows():
        found[cell_id].append([position[source], *counts])
    for cell_id, reason, detail in gaps.select("cell_id", "reason", "detail").iter_rows():
        short[cell_id].append([reasons[reason], detail])
    for cell_id, source in crawled.select("cell_id", "source").unique().sort("cell_id", "source").iter_rows():
        looked[cell_id].append(position[source])
    for cell_id, by in looked.items():
        facts = stored_facts(cell_id)
        yield [
            cell_id,
            place_name(facts.place),
            int(facts.is_land),
            facts.population,
            by,
            found[cell_id],
            short[cell_id],
        ]


def _provinces(summary: pl.DataFrame) -> list[list[Any]]:
    """Per province, the total last: name, land cells, crawled, covered, captures, newest, gaps, people in them."""
    date = pl.col("newest").dt.strftime("%Y-%m-%d")
    counts = ("land_cells", "crawled", "covered", "captures")
    return [list(row) for row in summary.select("province", *counts, date, "gap_cells", "gap_population").iter_rows()]


@cache
def _outline() -> list[list[list[float]]]:
    """Rings of the outline, simplified to about 100 m."""
    simple = dutch_outline().simplify(0.001)
    rings = shapely.get_rings(shapely.get_parts(simple))
    return [shapely.get_coordinates(ring).round(4).tolist() for ring in rings]


@cache
def _lakes() -> list[tuple[int, int]]:
    """(row, column) of the Dutch cells without land."""
    return [(f.row, f.column) for f in all_cells() if not f.is_land and f.province not in ("be", "de", "sea")]


@cache
def _places() -> list[tuple[str, float, float]]:
    """(name, lon, lat) of the places that cells are named after, largest first."""
    known = {f.place for f in all_cells()}
    return [(p.name, round(p.lon, 4), round(p.lat, 4)) for p in places() if place_slug(p.name) in known]
