"""Seasons, years and directions per place, counted exactly."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.quality.coverage import land_cells
from geopin_assets.quality.diversity import (
    PLACE_SCHEMA,
    SEASONS,
    by_place,
    by_place_and_year,
    by_province,
    by_year,
    write_diversity,
)
from geopin_assets_tests.depth import examples
from geopin_assets_tests.quality.factories import CAPTURES, CITY, FARM, tally

LAKE_OF_LELYSTAD = "fl-lelystad-r097c065"
ABROAD = "be-antwerp-r026c034"


def taken(
    year: int | None, month: int = 6, *, cell_id: str = CITY, heading_deg: float | None = None, is_pano: bool = False
) -> pl.DataFrame:
    captured_at = None if year is None else datetime(year, month, 1, tzinfo=UTC)
    return pl.DataFrame([(cell_id, "flickr", captured_at, heading_deg, is_pano)], schema=CAPTURES, orient="row")


def place(found: pl.DataFrame, name: str = "Amsterdam") -> dict[str, object]:
    return by_place(tally(found)).row(by_predicate=pl.col("place") == name, named=True)


@pytest.mark.parametrize(
    ("month", "season"),
    [
        *((month, "winter") for month in (12, 1, 2)),
        *((month, "spring") for month in (3, 4, 5)),
        *((month, "summer") for month in (6, 7, 8)),
        *((month, "autumn") for month in (9, 10, 11)),
    ],
)
def test_a_month_belongs_to_its_meteorological_season(month: int, season: str) -> None:
    found = place(taken(2024, month))
    assert {name: found[name] for name in SEASONS} == {name: int(name == season) for name in SEASONS}


def test_a_place_is_all_its_cells_and_counts_what_it_shows() -> None:
    found = place(
        pl.concat(
            [
                taken(2019, 1, heading_deg=10),
                taken(2019, 7, heading_deg=350, cell_id="nh-amsterdam-r089c051"),
                taken(2024, 7, heading_deg=44.9),
                taken(None),
                taken(2024, 7, cell_id=FARM, heading_deg=180),
            ]
        )
    )
    people = land_cells().filter(pl.col("place") == "amsterdam")["population"].sum()
    assert found == {
        **{"province": "North Holland", "place": "Amsterdam", "population": people, "captures": 4, "dated": 3},
        **{"winter": 1, "spring": 0, "summer": 2, "autumn": 0, "seasons": 2},
        **{"years": 2, "first_year": 2019, "last_year": 2024, "directed": 3, "heading_sectors": 2},
    }


def test_a_panorama_looks_everywhere() -> None:
    found = place(pl.concat([taken(2024, is_pano=True), taken(2024, heading_deg=90)]))
    assert (found["heading_sectors"], found["directed"]) == (8, 2)


@settings(max_examples=examples(10, 300))
@given(headings=st.lists(st.one_of(st.none(), st.floats(0, 360, exclude_max=True)), min_size=1, max_size=12))
def test_heading_sectors_are_the_distinct_eighths_of_a_turn(headings: list[float | None]) -> None:
    found = place(pl.concat([taken(2024, heading_deg=heading) for heading in headings]))
    known = [int(heading // 45) for heading in headings if heading is not None]
    assert (found["heading_sectors"], found["directed"]) == (len(set(known)), len(known))


def test_every_dutch_place_has_a_row_even_without_captures() -> None:
    frame = by_place(tally(pl.DataFrame(schema=CAPTURES)))
    assert frame.schema == PLACE_SCHEMA and frame.height == land_cells().select("province", "place").n_unique()
    assert frame["captures"].sum() == 0 and frame["first_year"].null_count() == frame.height
    assert frame["population"].sum() == land_cells()["population"].sum()


def test_a_province_counts_all_of_its_places_and_how_many_are_complete() -> None:
    everything = [taken(2024, month, heading_deg=45.0 * i) for i, month in enumerate((1, 4, 7, 10, 1, 4, 7, 10))]
    half = [taken(2020, month, cell_id="nh-amstelveen-r084c050") for month in (1, 4, 7, 10)]
    counted = tally(pl.concat([*everything, *half]))
    found = by_province(counted, by_place(counted)).row(by_predicate=pl.col("province") == "North Holland", named=True)
    assert (found["captures"], found["seasons"], found["years"], found["heading_sectors"]) == (12, 4, 2, 8)
    assert (found["covered_places"], found["all_seasons_share"], found["all_headings_share"]) == (2, 1.0, 0.5)


def test_years_are_counted_per_place_and_over_all_places() -> None:
    found = pl.concat([taken(2020), taken(2020, 1), taken(2021), taken(2020, cell_id=FARM), taken(None)])
    years = by_place_and_year(tally(found))
    assert years.rows() == [
        ("Drenthe", "Assen", 2020, 1),
        ("North Holland", "Amsterdam", 2020, 2),
        ("North Holland", "Amsterdam", 2021, 1),
    ]
    assert by_year(years).rows() == [(2021, 1, 1), (2020, 3, 2)]


def test_captures_abroad_are_no_dutch_place(tmp_path: Path) -> None:
    found = pl.concat([taken(2024, cell_id=ABROAD), taken(2024, cell_id=LAKE_OF_LELYSTAD)])
    assert write_diversity(tally(found), tmp_path).captures == 1
    assert by_place_and_year(tally(found))["place"].to_list() == ["Lelystad"]


def test_the_report_writes_both_files_and_says_what_share_is_missing(tmp_path: Path) -> None:
    found = pl.concat([taken(2024, 1, is_pano=True), taken(2023, 7, cell_id=FARM, heading_deg=5), taken(None)])
    report = write_diversity(tally(found), tmp_path)
    assert (report.captures, report.covered_places, report.all_headings_share) == (3, 2, 0.5)
    assert (report.all_seasons_share, report.winter_share) == (0.0, 0.5)
    assert (report.undated_share, report.undirected_share) == (0.3333, 0.3333)
    assert report.one_sided["place"].to_list() == ["Amsterdam", "Assen"]
    assert pl.read_parquet(report.parquet).equals(report.by_place)
    assert pl.read_parquet(report.years_parquet)["year"].to_list() == [2023, 2024]


def test_nothing_captured_is_a_report_of_zeros(tmp_path: Path) -> None:
    report = write_diversity(tally(pl.DataFrame(schema=CAPTURES)), tmp_path)
    assert (report.captures, report.covered_places, report.undated_share, report.all_seasons_share) == (0, 0, 0.0, 0.0)
    assert report.one_sided.is_empty() and report.by_year.is_empty()
