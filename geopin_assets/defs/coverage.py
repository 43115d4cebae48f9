"""quality/coverage: what there is per cell and source, where it falls short, and a map of it.

Not here: expectations, counting and drawing (`quality/`).
"""

import base64
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import frame_table
from geopin_assets.defs.partitions import OWNERS
from geopin_assets.defs.resources import Storage
from geopin_assets.quality.report import CoverageReport, write_report

_KEY = ["quality", "coverage"]
_GAPS_SHOWN = 50
_GAPS_CHECK = (
    "Crawled Dutch-land cells that fall short of what is expected of them (nothing at all, one source only, nothing "
    "recent, too little for the people who live there, no municipal panorama). What to do: see the map, materialize "
    "the cells of a source that is missing there, or contribute imagery."
)


@dg.asset(
    key=_KEY,
    deps=[captures],
    group_name="quality",
    kinds={"polars", "matplotlib"},
    owners=OWNERS,
    check_specs=[dg.AssetCheckSpec("coverage_gaps", asset=_KEY, description=_GAPS_CHECK)],
)
def coverage(storage: Storage) -> dg.MaterializeResult:
    """Coverage per cell and source, the list of gaps, and the map, as Parquet, GeoJSON, PNG and HTML."""
    catalog = storage.catalog()
    report = write_report(
        catalog.sightings(),
        catalog.crawls().select("source", "cell_id", "is_complete"),
        storage.quality_dir(),
        now=datetime.now(UTC),
    )
    return dg.MaterializeResult(metadata=_metadata(report), check_results=[_gaps_check(report)])


def _metadata(report: CoverageReport) -> dict[str, int | dg.MetadataValue]:
    return {
        "map": dg.MetadataValue.md(f"![coverage map]({_data_url(report)})"),
        "interactive_map": dg.MetadataValue.path(str(report.html)),
        "gaps_geojson": dg.MetadataValue.path(str(report.geojson)),
        "coverage_parquet": dg.MetadataValue.path(str(report.parquet)),
        "captures": report.captures,
        "captures_by_source": dg.MetadataValue.json(dict(report.captures_by_source)),
        "land_cells": report.land_cells,
        "crawled_cells": report.crawled_cells,
        "covered_cells": report.covered_cells,
        "gap_cells": report.gap_cells,
        "gap_population": report.gap_population,
        "gaps_by_reason": dg.MetadataValue.json(dict(report.gaps_by_reason)),
    }


def _data_url(report: CoverageReport) -> str:
    """The picture itself: the UI shows it without any server for files."""
    return "data:image/png;base64," + base64.b64encode(report.png.read_bytes()).decode()


def _gaps_check(report: CoverageReport) -> dg.AssetCheckResult:
    text = (
        f"{report.gap_cells} of {report.crawled_cells} crawled land cells fall short,"
        f" where {report.gap_population:,} people live: {_worst(report.gaps)}"
        if report.gap_cells
        else f"none of {report.crawled_cells} crawled land cells falls short"
    )
    return dg.AssetCheckResult(
        check_name="coverage_gaps",
        passed=report.gap_cells == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "cells": report.gap_cells,
            "population": report.gap_population,
            "by_reason": dg.MetadataValue.json(dict(report.gaps_by_reason)),
            "most_people_first": frame_table(report.gaps.head(_GAPS_SHOWN)),
        },
    )


def _worst(gaps: pl.DataFrame) -> str:
    """The most populated cells with all their reasons, e.g. `nh-amsterdam-r090c050 (12,345: single_source)`."""
    cells = (
        gaps.group_by("cell_id", "population", maintain_order=True)
        .agg(pl.col("reason").str.join(" + "))
        .sort("population", descending=True)
    )
    shown = [f"{c} ({people:,}: {why})" for c, people, why in cells.head(3).iter_rows()]
    return ", ".join(shown) + (f" and {cells.height - 3} more" if cells.height > 3 else "")
