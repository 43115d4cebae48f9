"""The coverage checks' verdicts and words, and the three reports about captures as the UI shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.assets.coverage import CHECKS, FEWEST_CELLS, baseline_check, gaps_check
from geopin_assets.files.object_store import open_store
from geopin_assets.quality.coverage import GAPS_SCHEMA, Baseline
from geopin_assets.quality.coverage_report import CoverageReport
from geopin_assets.quality.coverage_trend import CLOSED, NEW, Trend
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import DAY_1, capture, crawl

HERE, NEAR = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"
REPORTS = ("coverage", "diversity", "attribution")
MET = Baseline(land_cells=69, crawled_cells=69, without_panorama=())


def gaps(*rows: tuple[str, int, str]) -> pl.DataFrame:
    """Rows of (cell_id, population, reason)."""
    full = [(cell_id, "nh", "amsterdam", people, reason, "") for cell_id, people, reason in rows]
    return pl.DataFrame(full, schema=GAPS_SCHEMA, orient="row")


def report(
    *rows: tuple[str, int, str], crawled: int = 100, gap_cells: int | None = None, trend: Trend | None = None
) -> CoverageReport:
    found = gaps(*rows)
    files = dict.fromkeys(("parquet", "geojson", "png", "html"), Path("unused"))
    numbers = dict.fromkeys(("land_cells", "not_crawled_cells", "covered_cells", "captures", "coverage_rows"), 0)
    given: dict[str, Any] = {
        **files,
        **numbers,
        "captures_by_source": {},
        "provinces": pl.DataFrame(),
        "wanted": pl.DataFrame(),
    }
    return CoverageReport(
        **given,
        crawled_cells=crawled,
        gap_cells=found["cell_id"].n_unique() if gap_cells is None else gap_cells,
        gap_population=int(found.unique("cell_id")["population"].sum()),
        gaps_by_reason=dict(found["reason"].value_counts().iter_rows()),
        baseline=MET,
        trend=trend,
        gaps=found,
    )


def test_without_a_gap_the_check_passes() -> None:
    found = gaps_check(report(), 0.5)
    assert found.passed and found.description == (
        "none of 100 crawled land cells falls short; no earlier report to compare with"
    )


@pytest.mark.parametrize(
    ("gap_cells", "crawled", "max_gap_share", "severity"),
    [
        (50, 100, 0.5, "WARN"),
        (51, 100, 0.5, "ERROR"),
        (1, 100, 0.0, "ERROR"),
        (100, 100, 1.0, "WARN"),
        (FEWEST_CELLS - 1, FEWEST_CELLS - 1, 0.5, "WARN"),
        (FEWEST_CELLS, FEWEST_CELLS, 0.5, "ERROR"),
    ],
)
def test_gaps_are_a_warning_and_past_the_share_an_error(
    gap_cells: int, crawled: int, max_gap_share: float, severity: str
) -> None:
    found = gaps_check(report((HERE, 9, "no_capture"), crawled=crawled, gap_cells=gap_cells), max_gap_share)
    assert (found.passed, found.severity.value) == (False, severity)
    assert ("allowed" in str(found.description)) is (severity == "ERROR")


def test_the_most_populated_cells_are_named_with_all_their_reasons() -> None:
    rows = [("a", 4, "no_capture"), ("b", 3, "single_source"), ("b", 3, "nothing_recent"), ("c", 2, "no_capture")]
    text = gaps_check(report(*rows, ("d", 1, "no_capture")), 0.5).description
    assert str(text).startswith(
        "4 of 100 crawled land cells fall short, where 10 people live: "
        "a (4: no_capture), b (3: single_source + nothing_recent), c (2: no_capture) and 1 more; "
    )


def test_what_changed_since_last_week_is_part_of_the_verdict() -> None:
    changes = pl.DataFrame(
        [*((f"new-{i}", "x", 10 - i, NEW, "no_capture") for i in range(5)), ("gone", "x", 1, CLOSED, "no_capture")],
        schema=["cell_id", "place", "population", "change", "reasons"],
        orient="row",
    )
    trend = Trend(
        since=DAY_1,
        is_a_week=True,
        captures_by_source={"panoramax": -7},
        gaps_by_reason={},
        covered_cells=-3,
        gap_cells=4,
        gap_population=40,
        changes=changes,
    )
    text = str(gaps_check(report((HERE, 9, "no_capture"), trend=trend), 0.5).description)
    assert text.endswith(
        "; since 2026-05-04: -7 captures, -3 covered cells, 5 new and 1 closed gaps; "
        "new gap: new-0, new-1, new-2 and 2 more; closed gap: gone"
    )


@pytest.mark.parametrize(
    ("baseline", "is_passed"),
    [
        (MET, True),
        (Baseline(land_cells=69, crawled_cells=69, without_panorama=(HERE,)), False),
        (Baseline(land_cells=69, crawled_cells=0, without_panorama=()), False),
    ],
)
def test_the_baseline_warns_when_it_is_not_met_or_not_known(baseline: Baseline, is_passed: bool) -> None:
    found = baseline_check(baseline)
    assert (found.passed, found.severity.value, found.description) == (is_passed, "WARN", str(baseline))


def test_every_check_says_what_to_do() -> None:
    assert all("What to do:" in text for text in CHECKS.values())


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dg.ExecuteInProcessResult:
    """The three reports of a catalog with two cells; no source, server or model takes part."""
    data = tmp_path_factory.mktemp("data")
    raw = RawStore(open_store(data / "raw"))
    crawl(raw, HERE, [capture("a1"), capture("a2", heading_deg=180.0, creator=None)])
    crawl(raw, NEAR, [])
    crawl(raw, NEAR, [], source="amsterdam")
    Catalog(data / "catalog.duckdb").merge([HERE, NEAR], raw)
    definitions = build_definitions(
        overrides={"GEOPIN_DATA": str(data), "GEOPIN_PROFILE": "sandbox", "GEOPIN_REPORTS_URL": "http://127.0.0.1:9/"}
    )
    keys = [dg.AssetKey(["quality", name]) for name in REPORTS]
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(asset_selection=keys)


def shown(ended: dg.ExecuteInProcessResult, name: str) -> Mapping[str, Any]:
    (event,) = ended.asset_materializations_for_node(f"quality__{name}")
    return {key: value.value for key, value in event.metadata.items()}


@pytest.mark.parametrize(
    ("report_name", "entry", "file"),
    [
        ("coverage", "interactive_map", "coverage.html"),
        ("attribution", "notice", "NOTICE.txt"),
        ("attribution", "creators", "creators.csv"),
    ],
)
def test_a_file_is_linked_where_the_reports_are_served(
    ended: dg.ExecuteInProcessResult, report_name: str, entry: str, file: str
) -> None:
    assert shown(ended, report_name)[entry] == f"http://127.0.0.1:9/{file}"


def test_the_numbers_that_operators_watch_are_numbers(ended: dg.ExecuteInProcessResult) -> None:
    coverage, diversity, attribution = (shown(ended, name) for name in REPORTS)
    watched = ("captures", "land_cells", "crawled_cells", "covered_cells", "gap_cells", "gap_share")
    assert [coverage[name] for name in watched] == [2, 9_600, 2, 1, 2, 1.0]
    assert (diversity["captures"], diversity["covered_places"], diversity["winter_share"]) == (2, 1, 0.0)
    assert (attribution["creator_count"], attribution["captures_without_creator"]) == (1, 1)
    assert [shown(ended, name)["dagster/row_count"] for name in REPORTS] == [1, 225, 2]


def test_tables_have_a_row_for_each_province_source_and_year(ended: dg.ExecuteInProcessResult) -> None:
    provinces = [record.data for record in shown(ended, "coverage")["by_province"].records]
    assert provinces[-1]["newest"] == "2024-06-01" and len(provinces) == 13
    assert [record.data["year"] for record in shown(ended, "diversity")["by_year"].records] == [2024]
    missing = {r.data["source"]: r.data["empty"] for r in shown(ended, "attribution")["contribute"].records}
    assert {name: count for name, count in missing.items() if count} == {"panoramax": 1, "amsterdam": 1}


def test_both_checks_of_coverage_are_evaluated_and_neither_is_an_error_in_the_sandbox(
    ended: dg.ExecuteInProcessResult,
) -> None:
    checks = {check.check_name: check for check in ended.get_asset_check_evaluations()}
    assert set(checks) == set(CHECKS)
    assert {check.severity.value for check in checks.values()} == {"WARN"}
    assert str(checks["amsterdam_baseline"].description).startswith("1 of 1 land cells of Amsterdam")
