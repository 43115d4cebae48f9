"""The coverage report: four files in a folder, and the numbers to show beside them.

Here: writing coverage.parquet, gaps.geojson, coverage.png and coverage.html, each replaced whole. Not
here: what is in them (`coverage.py`, `map_png.py`, `map_html.py`) or who is told.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from geopin_assets.quality.coverage import Expectations, coverage_by_cell, find_gaps, land_cells, not_crawled
from geopin_assets.quality.map_html import render_html
from geopin_assets.quality.map_png import render_png
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
    gaps: pl.DataFrame = field(repr=False, compare=False)
    """One row per cell and reason, most inhabitants first."""

    @property
    def gap_share(self) -> float:
        """Share of the crawled cells that fall short, 0 when nothing was crawled."""
        return self.gap_cells / self.crawled_cells if self.crawled_cells else 0.0


def write_report(
    captures: pl.DataFrame,
    crawled: pl.DataFrame,
    directory: Path,
    *,
    now: datetime,
    expectations: Expectations | None = None,
) -> CoverageReport:
    """Write the four files (frames as in `coverage.py`) and return where they are and what they say."""
    coverage = coverage_by_cell(captures)
    gaps = find_gaps(coverage, crawled, expectations or Expectations(now=now))
    directory.mkdir(parents=True, exist_ok=True)
    land, missing = land_cells(), not_crawled(crawled).height
    return CoverageReport(
        parquet=_write_parquet(directory / "coverage.parquet", coverage),
        geojson=_write(directory / "gaps.geojson", json.dumps(gaps_geojson(gaps)).encode()),
        png=_write(directory / "coverage.png", render_png(coverage, gaps, crawled)),
        html=_write(directory / "coverage.html", render_html(coverage, gaps, crawled, now=now).encode()),
        land_cells=land.height,
        crawled_cells=land.height - missing,
        not_crawled_cells=missing,
        covered_cells=land.join(coverage, on="cell_id", how="semi").height,
        gap_cells=gaps["cell_id"].n_unique(),
        gap_population=int(gaps.unique("cell_id")["population"].sum()),
        gaps_by_reason=dict(gaps["reason"].value_counts(sort=True).iter_rows()),
        captures=int(coverage["captures"].sum()),
        captures_by_source=dict(coverage.group_by("source").agg(pl.col("captures").sum()).sort("source").iter_rows()),
        gaps=gaps,
    )


def gaps_geojson(gaps: pl.DataFrame) -> dict[str, Any]:
    """The cells with gaps as squares in partition order, with `gaps`: [{reason, detail}, …] among their properties."""
    by_cell: dict[str, list[dict[str, str]]] = {}
    for cell_id, reason, detail in gaps.select("cell_id", "reason", "detail").iter_rows():
        by_cell.setdefault(cell_id, []).append({"reason": reason, "detail": detail})
    collection = to_geojson(in_order(by_cell))
    for feature in collection["features"]:
        feature["properties"]["gaps"] = by_cell[feature["properties"]["cell_id"]]
    return collection


def _write_parquet(path: Path, frame: pl.DataFrame) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    frame.write_parquet(partial)
    return partial.replace(path)


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    return partial.replace(path)
