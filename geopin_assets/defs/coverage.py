"""quality/coverage: what there is per cell and source, where it falls short, what changed, and a map of it.

Not here: expectations, counting, comparing and drawing (`quality/`), or what the checks say (`coverage_checks.py`).
"""

import base64
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.defs.automation import REPORT
from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import column_schema, frame_table
from geopin_assets.defs.coverage_checks import CHECKS, baseline_check, gaps_check
from geopin_assets.defs.partitions import OWNERS
from geopin_assets.defs.resources import Storage
from geopin_assets.quality.coverage import COVERAGE_DESCRIPTIONS, COVERAGE_SCHEMA, Expectations
from geopin_assets.quality.report import CoverageReport, write_report
from geopin_assets.quality.trend import Trend
from geopin_assets.settings import Settings

_KEY = ["quality", "coverage"]
_CHANGES_SHOWN = 20
_Metadata = dict[str, int | float | str | dg.MetadataValue]


@dg.asset(
    key=_KEY,
    deps=[captures],
    group_name="quality",
    kinds={"polars", "matplotlib"},
    owners=OWNERS,
    metadata={"dagster/column_schema": column_schema(COVERAGE_SCHEMA, COVERAGE_DESCRIPTIONS)},
    check_specs=[dg.AssetCheckSpec(name, asset=_KEY, description=text) for name, text in CHECKS.items()],
    **REPORT,
)
def coverage(storage: Storage) -> dg.MaterializeResult:
    """How well the streets are covered: per cell and source, per province, where it falls short, what changed.

    The map is below as a picture, and as a page to zoom and click in (`interactive_map`). A gap is a crawled
    Dutch-land cell that falls short of what is expected of it; a cell nobody crawled yet is counted apart.
    What changed is compared with last week's report, or the oldest there is; the numbers over time are under Plots.
    """
    catalog, settings = storage.catalog(), storage.settings()
    now = datetime.now(UTC)
    report = write_report(
        catalog.looks(),
        catalog.crawls().select("source", "cell_id", "is_complete"),
        settings.quality_dir,
        now=now,
        expectations=Expectations(
            now=now,
            max_age_years=settings.coverage_max_age_years,
            captures_per_1000_inhabitants=settings.captures_per_1000_inhabitants,
        ),
    )
    return dg.MaterializeResult(
        metadata=_files(report, settings) | _trend(report.trend) | _numbers(report),
        check_results=[gaps_check(report, settings.max_gap_share), baseline_check(report.baseline)],
    )


def _files(report: CoverageReport, settings: Settings) -> _Metadata:
    return {
        "map": dg.MetadataValue.md(f"![coverage map]({_data_url(report)})"),
        "interactive_map": dg.MetadataValue.url(f"{settings.reports_url}/{report.html.name}"),
        "interactive_map_file": dg.MetadataValue.path(str(report.html)),
        "gaps_geojson": dg.MetadataValue.path(str(report.geojson)),
        "coverage_parquet": dg.MetadataValue.path(str(report.parquet)),
    }


def _numbers(report: CoverageReport) -> _Metadata:
    return {
        "dagster/row_count": report.coverage_rows,
        "captures": report.captures,
        "captures_by_source": dg.MetadataValue.json(dict(report.captures_by_source)),
        "land_cells": report.land_cells,
        "crawled_cells": report.crawled_cells,
        "covered_cells": report.covered_cells,
        "gap_cells": report.gap_cells,
        "gap_share": round(report.gap_share, 4),
        "gap_population": report.gap_population,
        "gaps_by_reason": dg.MetadataValue.json(dict(report.gaps_by_reason)),
        "by_province": frame_table(report.provinces.with_columns(pl.col("newest").dt.strftime("%Y-%m-%d"))),
    }


def _trend(trend: Trend | None) -> _Metadata:
    if trend is None:
        return {"since_last_week": "no earlier report to compare with"}
    return {
        "since_last_week": str(trend),
        "captures_change": trend.captures,
        "captures_by_source_change": dg.MetadataValue.json(dict(trend.captures_by_source)),
        "covered_cells_change": trend.covered_cells,
        "gap_cells_change": trend.gap_cells,
        "gap_population_change": trend.gap_population,
        "gaps_by_reason_change": dg.MetadataValue.json(dict(trend.gaps_by_reason)),
        "new_gap_cells": trend.new_gaps,
        "closed_gap_cells": trend.closed_gaps,
        "changed_gaps": frame_table(trend.changes.head(_CHANGES_SHOWN)),
    }


def _data_url(report: CoverageReport) -> str:
    """The picture itself: the UI shows it without any server for files."""
    return "data:image/png;base64," + base64.b64encode(report.png.read_bytes()).decode()
