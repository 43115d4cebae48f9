"""The report: four whole files, a snapshot, and numbers that add up."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.errors import StorageFullError
from geopin_assets.quality.coverage import Expectations, GapReason
from geopin_assets.quality.coverage_report import write_report
from geopin_assets_tests.quality.factories import (
    CAPTURES,
    CITY,
    CRAWLED,
    FARM,
    LAKE,
    NOW,
    captures,
    coverage_by_cell,
    crawled,
)

FOUND = pl.concat([captures(count=5), captures(cell_id=LAKE, count=2, source="flickr")])
LOOKED = pl.concat([crawled("panoramax"), crawled("panoramax", cell_id=FARM), crawled("flickr", cell_id=LAKE)])


def test_a_report_is_four_files_a_snapshot_and_their_numbers(tmp_path: Path) -> None:
    report = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path / "quality", now=NOW)
    assert sorted(path.name for path in (tmp_path / "quality").iterdir()) == [
        "coverage.html",
        "coverage.parquet",
        "coverage.png",
        "gaps.geojson",
        "history",
    ]
    assert [path.name for path in (tmp_path / "quality" / "history").iterdir()] == ["2026-06-01.parquet"]
    assert report.png.read_bytes().startswith(b"\x89PNG")
    assert report.html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert pl.read_parquet(report.parquet)["captures"].to_list() == [2, 5]
    assert (report.land_cells, report.crawled_cells, report.not_crawled_cells) == (9_600, 2, 9_598)
    assert (report.covered_cells, report.gap_cells, report.gap_share) == (1, 2, 1.0)
    assert report.captures_by_source == {"flickr": 2, "panoramax": 5} and report.captures == 7
    assert report.gaps_by_reason == {GapReason.NO_CAPTURE: 1, GapReason.TOO_FEW_FOR_POPULATION: 1}
    assert report.gap_population == report.gaps.filter(pl.col("cell_id").is_in([CITY, FARM]))["population"].sum()


def test_the_next_report_says_what_changed_also_in_the_page(tmp_path: Path) -> None:
    first = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path, now=NOW - timedelta(days=7))
    assert first.trend is None and '"trend":""' in first.html.read_text(encoding="utf-8")
    report = write_report(coverage_by_cell(captures(count=4)), LOOKED, tmp_path, now=NOW)
    assert report.trend is not None and report.trend.captures_by_source == {"flickr": -2, "panoramax": -1}
    assert f'"trend":"{report.trend}"' in report.html.read_text(encoding="utf-8")


def test_a_report_has_its_provinces_and_the_baseline(tmp_path: Path) -> None:
    report = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path, now=NOW)
    assert report.provinces.tail(1)["captures"].item() == report.captures
    assert report.baseline.crawled_cells == 0 and report.coverage_rows == 2


def test_the_gaps_are_squares_with_their_reasons(tmp_path: Path) -> None:
    report = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path, now=NOW)
    features = json.loads(report.geojson.read_text())["features"]
    assert [feature["properties"]["cell_id"] for feature in features] == [FARM, CITY]
    assert features[0]["properties"]["gaps"] == [
        {"reason": "no_capture", "detail": "crawled by 1 source(s), nothing found"}
    ]


def test_nothing_crawled_is_a_report_too(tmp_path: Path) -> None:
    report = write_report(
        coverage_by_cell(pl.DataFrame(schema=CAPTURES)), pl.DataFrame(schema=CRAWLED), tmp_path, now=NOW
    )
    assert (report.captures, report.crawled_cells, report.gap_cells, report.gap_share) == (0, 0, 0, 0.0)
    assert json.loads(report.geojson.read_text())["features"] == []


def test_expectations_are_the_callers(tmp_path: Path) -> None:
    relaxed = Expectations(now=NOW, captures_per_1000_inhabitants=0.1)
    report = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path, now=NOW, expectations=relaxed)
    assert report.gaps_by_reason == {GapReason.NO_CAPTURE: 1}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, writing fails in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_report_that_cannot_be_written_leaves_the_previous_one(tmp_path: Path) -> None:
    before = write_report(coverage_by_cell(FOUND), LOOKED, tmp_path, now=NOW)
    kept = before.geojson.read_bytes()
    files = sorted(tmp_path.rglob("*"))
    with files_of_at_most(1000), pytest.raises(StorageFullError):
        write_report(coverage_by_cell(FOUND), LOOKED.head(1), tmp_path, now=NOW)
    assert before.geojson.read_bytes() == kept and sorted(tmp_path.rglob("*")) == files
