"""The coverage report: four files in a folder, and the numbers to show beside them.

Here: writing coverage.parquet, gaps.geojson, coverage.png and coverage.html, each replaced whole, and the day's
snapshot. Not here: what is in them (`coverage.py`, `map_png.py`, `map_html.py`, `trend.py`) or who is told.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.parquet import write_frame
from geopin_assets.quality.coverage import (
    Baseline,
    Expectations,
    find_gaps,
    land_cells,
    municipal_baseline,
    not_crawled,
    province_summary,
)
from geopin_assets.quality.coverage_trend import Trend, keep_snapshot, take_snapshot, trend
from geopin_assets.quality.map_html import render_html
from geopin_assets.quality.map_png import render_png
from geopin_assets.quality.wanted import NOTHING_ASKED, wanted
from geopin_assets.regions import in_order, to_geojson


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageReport:
    """Where the files are, and what they say. Cells are Dutch-land cells unless said otherwise."""

    parquet: Path
    geojson: Path
    png: Path
    html: Path
    land_cells: int
    crawled_cells: int
    """Crawled by at least one source."""
    not_crawled_cells: int
    covered_cells: int
    """With at least one capture."""
    gap_cells: int
    """Crawled and short of at least one expectation."""
    gap_population: int
    """Inhabitants of those cells."""
    gaps_by_reason: Mapping[str, int]
    captures: int
    """Everywhere, abroad and at sea too."""
    captures_by_source: Mapping[str, int]
    coverage_rows: int
    """Rows of the Parquet file: one per cell and source."""
    baseline: Baseline
    trend: Trend | None
    """What changed since last week; None at the first report."""
    provinces: pl.DataFrame = field(repr=False, compare=False)
    """One row per province, then the total."""
    gaps: pl.DataFrame = field(repr=False, compare=False)
    """One row per cell and reason, most inhabitants first."""
    wanted: pl.DataFrame = field(repr=False, compare=False)
    """Where imagery would help most (`wanted.py`)."""

    @property
    def gap_share(self) -> float:
        """Share of the crawled cells that fall short, 0 when nothing was crawled."""
        return self.gap_cells / self.crawled_cells if self.crawled_cells else 0.0


def write_report(
    coverage: pl.DataFrame,
    crawled: pl.DataFrame,
    directory: Path,
    *,
    now: datetime,
    expectations: Expectations | None = None,
    retrieval: pl.DataFrame = NOTHING_ASKED,
    contribute: Mapping[str, str] = MappingProxyType({}),
) -> CoverageReport:
    """Write the four files and keep the day's snapshot (frames as in `coverage.py`); returns what they say.

    `retrieval`: cell_id, asked, failed (`wanted.py`). `contribute`: where people add imagery, by source.
    """
    expectations = expectations or Expectations(now=now)
    gaps, most_wanted = find_gaps(coverage, crawled, expectations), wanted(coverage, crawled, retrieval, expectations)
    snapshot = take_snapshot(coverage, gaps, crawled, now=now)
    since = trend(snapshot, directory / "history")
    html = render_html(coverage, gaps, crawled, now=now, trend=since, wanted=most_wanted, contribute=contribute)
    report = CoverageReport(
        parquet=write_frame(directory / "coverage.parquet", coverage),
        geojson=write_bytes(directory / "gaps.geojson", json.dumps(gaps_geojson(gaps)).encode()),
        png=write_bytes(directory / "coverage.png", render_png(coverage, gaps, crawled)),
        html=write_bytes(directory / "coverage.html", html.encode()),
        land_cells=land_cells().height,
        crawled_cells=snapshot.cells.height,
        not_crawled_cells=not_crawled(crawled).height,
        covered_cells=snapshot.covered_cells,
        gap_cells=snapshot.gaps.height,
        gap_population=snapshot.gap_population,
        gaps_by_reason=snapshot.gaps_by_reason,
        captures=sum(snapshot.captures_by_source.values()),
        captures_by_source=snapshot.captures_by_source,
        coverage_rows=coverage.height,
        baseline=municipal_baseline(coverage, crawled),
        trend=since,
        provinces=province_summary(coverage, crawled, gaps),
        gaps=gaps,
        wanted=most_wanted,
    )
    keep_snapshot(snapshot, directory / "history")
    return report


def gaps_geojson(gaps: pl.DataFrame) -> dict[str, Any]:
    """The cells with gaps as squares in partition order, with `gaps`: [{reason, detail}, …] among their properties."""
    by_cell: dict[str, list[dict[str, str]]] = {}
    for cell_id, reason, detail in gaps.select("cell_id", "reason", "detail").iter_rows():
        by_cell.setdefault(cell_id, []).append({"reason": reason, "detail": detail})
    collection = to_geojson(in_order(by_cell))
    for feature in collection["features"]:
        feature["properties"]["gaps"] = by_cell[feature["properties"]["cell_id"]]
    return collection
