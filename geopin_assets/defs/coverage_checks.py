"""The checks of quality/coverage: what each says about a report, and what to do when it fails.

Neither blocks publishing: a street that nobody photographed is no reason to hold back the others.
Not here: counting (`quality/coverage.py`, `quality/baseline.py`).
"""

import dagster as dg
import polars as pl

from geopin_assets.defs.columns import frame_table
from geopin_assets.quality.baseline import Baseline
from geopin_assets.quality.report import CoverageReport
from geopin_assets.quality.trend import Trend

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
FEWEST_CELLS = 25
"""Land cells of a median town: of fewer, a share says nothing, and gaps stay a warning."""
_GAPS_SHOWN = 50


def gaps_check(report: CoverageReport, max_gap_share: float) -> dg.AssetCheckResult:
    """Passed without any gap; a warning, or an error past the share."""
    is_error = report.crawled_cells >= FEWEST_CELLS and report.gap_share > max_gap_share
    return dg.AssetCheckResult(
        check_name="coverage_gaps",
        passed=report.gap_cells == 0,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=f"{_gaps(report, max_gap_share if is_error else None)}; {_since(report.trend)}",
        metadata={
            "cells": report.gap_cells,
            "share": round(report.gap_share, 4),
            "population": report.gap_population,
            "by_reason": dg.MetadataValue.json(dict(report.gaps_by_reason)),
            "most_people_first": frame_table(report.gaps.head(_GAPS_SHOWN)),
        },
    )


def baseline_check(baseline: Baseline) -> dg.AssetCheckResult:
    """Passed where every judged cell has municipal panoramas; a warning also where none could be judged."""
    return dg.AssetCheckResult(
        check_name="amsterdam_baseline",
        passed=baseline.is_met,
        severity=dg.AssetCheckSeverity.WARN,
        description=str(baseline),
        metadata={
            "land_cells": baseline.land_cells,
            "judged_cells": baseline.crawled_cells,
            "cells_without_panorama": len(baseline.without_panorama),
            "without_panorama": dg.MetadataValue.json(list(baseline.without_panorama)),
        },
    )


def _gaps(report: CoverageReport, exceeded: float | None) -> str:
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


def _since(trend: Trend | None) -> str:
    """What changed, with the most populated cells of each kind of change."""
    if trend is None:
        return "no earlier report to compare with"
    kinds = trend.changes.group_by("change", maintain_order=True).agg("cell_id", total=pl.len())
    named = (f"{change}: {', '.join(ids[:3])}{_more(total - 3)}" for change, ids, total in kinds.iter_rows())
    return "; ".join((str(trend), *named))


def _more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""
