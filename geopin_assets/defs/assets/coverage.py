"""quality/coverage: what there is per cell and source, where it falls short, what changed, a map of it; and its checks.

Neither check blocks publishing: a street that nobody photographed is no reason to hold back the others.
Not here: expectations, counting, comparing and drawing (`quality/`).
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import Columns, frame_table, report, verdict
from geopin_assets.defs.resources import Storage
from geopin_assets.quality.coverage import COVERAGE_DESCRIPTIONS, COVERAGE_SCHEMA, Baseline, Expectations
from geopin_assets.settings import Settings

if TYPE_CHECKING:
    from geopin_assets.quality.coverage_report import CoverageReport
    from geopin_assets.quality.coverage_trend import Trend

CHECKS = {
    "coverage_gaps": "Crawled Dutch-land cells that fall short of what is expected of them (nothing at all, one source "
    "only, nothing recent, too little for the people who live there, no municipal panorama). A warning; an error once "
    "their share of the crawled cells is above GEOPIN_COVERAGE_MAX_GAP_SHARE. What to do: see the map, materialize the "
    "cells of a source that is missing there, or contribute imagery (quality/attribution says where). Many new gaps "
    "at once are a source that broke: look at its last runs.",
    "amsterdam_baseline": "Every land cell of Amsterdam has panoramas of the municipality's own survey, which covers "
    "all of its streets: the yardstick for whether crawling works. What to do: materialize the cells it names for "
    "raw/amsterdam, then catalog/captures; if they stay empty, compare with the city's own viewer and fix the source.",
}
_CHANGES_SHOWN = 20
_Metadata = dict[str, int | float | str | dg.MetadataValue]
FEWEST_CELLS = 25
"""Land cells of a median town: of fewer, a share says nothing, and gaps stay a warning."""
_GAPS_SHOWN = 50
_WANTED_SHOWN = 20


@report(
    "quality/coverage",
    columns=Columns(COVERAGE_SCHEMA, COVERAGE_DESCRIPTIONS),
    checks=CHECKS,
    kinds={"polars", "matplotlib"},
)
def coverage(storage: Storage) -> dg.MaterializeResult:
    """How well the streets are covered: per cell and source, per province, where it falls short, what changed.

    The map is below as a picture, and as a page to zoom and click in (`interactive_map`). A gap is a crawled
    Dutch-land cell that falls short of what is expected of it; a cell nobody crawled yet is counted apart.
    What changed is compared with last week's report, or the oldest there is; the numbers over time are under Plots.
    """
    from geopin_assets.locate.history import CELLS_FILE, read_cells
    from geopin_assets.quality.coverage_report import write_report
    from geopin_assets.sources import SOURCES

    catalog, settings = storage.catalog(), storage.settings()
    now = datetime.now(UTC)
    with storage.quality().as_folder("history", CELLS_FILE) as folder:
        report = write_report(
            catalog.coverage().cast(COVERAGE_SCHEMA),
            catalog.crawls().select("source", "cell_id", "is_complete"),
            folder,
            now=now,
            expectations=Expectations(
                now=now,
                max_age_years=settings.coverage_max_age_years,
                captures_per_1000_inhabitants=settings.coverage_captures_per_1000,
            ),
            retrieval=read_cells(folder),
            contribute={source.name: source.contribute_url for source in SOURCES if source.takes_photos},
        )
        files = _files(report, settings, storage.quality().address)
    return dg.MaterializeResult(
        metadata=files | _trend(report.trend) | _numbers(report),
        check_results=[gaps_check(report, settings.coverage_max_gap_share), baseline_check(report.baseline)],
    )


def gaps_check(report: "CoverageReport", max_gap_share: float) -> dg.AssetCheckResult:
    """Passed without any gap; a warning, or an error past the share."""
    is_error = report.crawled_cells >= FEWEST_CELLS and report.gap_share > max_gap_share
    return verdict(
        "coverage_gaps",
        report.gap_cells == 0,
        f"{_gaps(report, max_gap_share if is_error else None)}; {_since(report.trend)}",
        is_error=is_error,
        cells=report.gap_cells,
        share=round(report.gap_share, 4),
        population=report.gap_population,
        by_reason=dict(report.gaps_by_reason),
        most_people_first=frame_table(report.gaps.head(_GAPS_SHOWN)),
    )


def baseline_check(baseline: Baseline) -> dg.AssetCheckResult:
    """Passed where every judged cell has municipal panoramas; a warning also where none could be judged."""
    return verdict(
        "amsterdam_baseline",
        baseline.is_met,
        str(baseline),
        land_cells=baseline.land_cells,
        judged_cells=baseline.crawled_cells,
        cells_without_panorama=len(baseline.without_panorama),
        without_panorama=list(baseline.without_panorama),
    )


def _gaps(report: "CoverageReport", exceeded: float | None) -> str:
    if not report.gap_cells:
        return f"none of {report.crawled_cells:,} crawled land cells falls short"
    limit = "" if exceeded is None else f" (more than the {exceeded:.0%} allowed)"
    return (
        f"{report.gap_cells:,} of {report.crawled_cells:,} crawled land cells fall short{limit},"
        f" where {report.gap_population:,} people live: {_worst(report.gaps)}"
    )


def _worst(gaps: pl.DataFrame) -> str:
    """The most populated cells with all their reasons, e.g. `nh-amsterdam-r090c050 (12,345: single_source)`."""
    cells = (
        gaps.group_by("cell_id", "population", maintain_order=True)
        .agg(pl.col("reason").str.join(" + "))
        .sort("population", descending=True)
    )
    shown = [f"{cell_id} ({people:,}: {why})" for cell_id, people, why in cells.head(3).iter_rows()]
    return ", ".join(shown) + _more(cells.height - 3)


def _since(trend: "Trend | None") -> str:
    """What changed, with the most populated cells of each kind of change."""
    if trend is None:
        return "no earlier report to compare with"
    kinds = trend.changes.group_by("change", maintain_order=True).agg("cell_id", total=pl.len())
    named = (f"{change}: {', '.join(ids[:3])}{_more(total - 3)}" for change, ids, total in kinds.iter_rows())
    return "; ".join((str(trend), *named))


def _more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""


def _files(report: "CoverageReport", settings: Settings, address: Callable[[str], str]) -> _Metadata:
    return {
        "map": dg.MetadataValue.md(f"![coverage map]({_data_url(report)})"),
        "interactive_map": dg.MetadataValue.url(f"{settings.reports_url}/{report.html.name}"),
        "interactive_map_file": dg.MetadataValue.path(address(report.html.name)),
        "gaps_geojson": dg.MetadataValue.path(address(report.geojson.name)),
        "coverage_parquet": dg.MetadataValue.path(address(report.parquet.name)),
    }


def _numbers(report: "CoverageReport") -> _Metadata:
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
        "contribute_here": frame_table(report.wanted.head(_WANTED_SHOWN).with_columns(pl.col(pl.Float64).round(2))),
        "by_province": frame_table(report.provinces.with_columns(pl.col("newest").dt.strftime("%Y-%m-%d"))),
    }


def _trend(trend: "Trend | None") -> _Metadata:
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


def _data_url(report: "CoverageReport") -> str:
    """The picture itself: the UI shows it without any server for files."""
    return "data:image/png;base64," + base64.b64encode(report.png.read_bytes()).decode()
