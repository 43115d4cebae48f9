"""What a cell has, and which expectations it falls short of."""

from datetime import timedelta
from math import ceil

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.cells import cell_facts
from geopin_assets.quality.coverage import (
    COVERAGE_DESCRIPTIONS,
    COVERAGE_SCHEMA,
    GAPS_SCHEMA,
    Baseline,
    Expectations,
    GapReason,
    find_gaps,
    land_cells,
    municipal_baseline,
    not_crawled,
)
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

ENOUGH = ceil(cell_facts(CITY).population * 10 / 1000)


def reasons(found: pl.DataFrame, looked: pl.DataFrame, **expectations: object) -> dict[str, str]:
    gaps = find_gaps(coverage_by_cell(found), looked, Expectations(now=NOW, **expectations))  # type: ignore[arg-type]
    assert gaps.schema == GAPS_SCHEMA
    return dict(gaps.select("reason", "detail").iter_rows())


def test_coverage_counts_captures_and_panoramas_per_cell_and_source() -> None:
    frame = pl.concat(
        [
            captures(source="panoramax", count=2, days_old=3),
            captures(source="panoramax", is_pano=True, days_old=None),
            captures(source="amsterdam", count=4, is_pano=True),
            captures(cell_id=FARM, count=1, days_old=None),
        ]
    )
    coverage = coverage_by_cell(frame)
    assert coverage.schema == COVERAGE_SCHEMA and list(COVERAGE_DESCRIPTIONS) == coverage.columns
    rows = coverage.select("cell_id", "source", "captures", "panos", "newest").rows()
    assert rows == [
        (FARM, "panoramax", 1, 0, None),
        (CITY, "amsterdam", 4, 4, NOW - timedelta(days=10)),
        (CITY, "panoramax", 3, 1, NOW - timedelta(days=3)),
    ]


@given(headings=st.lists(st.one_of(st.none(), st.floats(0, 360, exclude_max=True)), min_size=1, max_size=20))
def test_heading_sectors_are_the_distinct_eighths_of_a_turn_looked_into(headings: list[float | None]) -> None:
    frame = pl.concat([captures(heading_deg=heading) for heading in headings])
    expected = len({int(heading // 45) for heading in headings if heading is not None})
    assert coverage_by_cell(frame)["heading_sectors"].to_list() == [expected]


def test_a_panorama_looks_into_all_eight_sectors() -> None:
    assert coverage_by_cell(captures(is_pano=True, heading_deg=None))["heading_sectors"].to_list() == [8]


def test_a_well_covered_cell_has_no_gap() -> None:
    found = pl.concat([captures(source=source, count=ENOUGH) for source in ("panoramax", "amsterdam")])
    assert reasons(found, crawled("panoramax", "amsterdam")) == {}


def test_a_crawled_cell_without_captures_has_that_one_gap() -> None:
    nothing = pl.DataFrame(schema=CAPTURES)
    assert reasons(nothing, crawled("amsterdam", "kartaview")) == {
        GapReason.NO_CAPTURE: "crawled by 2 source(s), nothing found"
    }


def test_an_empty_cell_says_when_a_crawl_of_it_was_incomplete() -> None:
    looked = pl.concat([crawled("kartaview", is_complete=False), crawled("panoramax")])
    detail = reasons(pl.DataFrame(schema=CAPTURES), looked)[GapReason.NO_CAPTURE]
    assert detail == "crawled by 2 source(s), nothing found; incomplete crawl by kartaview"


def test_a_cell_nobody_crawled_is_not_a_gap_but_counted_as_not_crawled() -> None:
    nobody = pl.DataFrame(schema=CRAWLED)
    assert reasons(pl.DataFrame(schema=CAPTURES), nobody) == {}
    assert not_crawled(nobody).height == land_cells().height == 9_600
    assert not_crawled(crawled("panoramax", "amsterdam")).height == 9_599


@pytest.mark.parametrize("cell_id", [LAKE, "sea-wadden-r125c004", "be-antwerp-r026c034"])
def test_a_cell_without_dutch_land_is_never_a_gap(cell_id: str) -> None:
    assert not cell_facts(cell_id).is_land
    assert reasons(pl.DataFrame(schema=CAPTURES), crawled("panoramax", cell_id=cell_id)) == {}


def test_one_source_is_too_few_only_where_others_looked() -> None:
    found = captures(count=ENOUGH)
    assert reasons(found, crawled("panoramax")) == {}
    assert reasons(found, crawled("panoramax", "kartaview", "flickr")) == {
        GapReason.SINGLE_SOURCE: "only panoramax of 3 that looked"
    }


@pytest.mark.parametrize(("days_old", "is_gap"), [(1, False), (3 * 365, False), (3 * 365 + 2, True), (None, True)])
def test_a_cell_needs_something_recent(days_old: float | None, is_gap: bool) -> None:
    found = reasons(captures(count=ENOUGH, days_old=days_old), crawled("panoramax"))
    assert (GapReason.NOTHING_RECENT in found) is is_gap


def test_the_newest_of_all_sources_counts() -> None:
    old, new = captures(days_old=4000, count=ENOUGH), captures(source="flickr", days_old=1)
    assert reasons(pl.concat([old, new]), crawled("panoramax", "flickr")) == {}
    assert reasons(old, crawled("panoramax")) == {GapReason.NOTHING_RECENT: "newest is of 2015-06-19"}


def test_a_populated_cell_needs_captures_in_proportion() -> None:
    assert reasons(captures(count=ENOUGH), crawled("panoramax")) == {}
    found = reasons(captures(count=ENOUGH - 1), crawled("panoramax"))
    people = cell_facts(CITY).population
    assert found == {
        GapReason.TOO_FEW_FOR_POPULATION: f"{ENOUGH - 1} captures, {ENOUGH} expected for {people} inhabitants"
    }
    assert reasons(captures(cell_id=FARM), crawled("panoramax", cell_id=FARM)) == {}


def test_a_cell_of_amsterdam_needs_a_municipal_panorama_once_the_municipality_was_asked() -> None:
    two = pl.concat([captures(count=ENOUGH), captures(source="kartaview")])
    assert reasons(two, crawled("panoramax", "kartaview")) == {}
    assert set(reasons(two, crawled("panoramax", "kartaview", "amsterdam"))) == {GapReason.NO_MUNICIPAL_PANORAMA}
    elsewhere = crawled("panoramax", "amsterdam", cell_id=FARM)
    assert GapReason.NO_MUNICIPAL_PANORAMA not in reasons(captures(cell_id=FARM), elsewhere)


def test_expectations_can_be_set() -> None:
    found = captures(count=1, days_old=400)
    relaxed = reasons(found, crawled("panoramax"), captures_per_1000_inhabitants=0.01)
    strict = reasons(found, crawled("panoramax"), captures_per_1000_inhabitants=0.01, max_age_years=1)
    assert relaxed == {} and set(strict) == {GapReason.NOTHING_RECENT}
    three = reasons(
        pl.concat([captures(count=ENOUGH), captures(source="flickr")]),
        crawled("panoramax", "flickr", "kartaview"),
        min_sources=3,
    )
    assert three == {GapReason.SINGLE_SOURCE: "2 sources of 3 that looked"}


def test_gaps_come_with_most_inhabitants_first() -> None:
    looked = pl.concat([crawled("panoramax", cell_id=id_) for id_ in (FARM, CITY, "nh-amstelveen-r084c050")])
    gaps = find_gaps(coverage_by_cell(pl.DataFrame(schema=CAPTURES)), looked, Expectations(now=NOW))
    assert gaps["cell_id"].to_list() == [CITY, "nh-amstelveen-r084c050", FARM]
    assert gaps["population"].to_list() == [cell_facts(id_).population for id_ in gaps["cell_id"]]


CELLS = land_cells().filter(pl.col("place") == "amsterdam")["cell_id"].to_list()
SURVEY = "amsterdam"


def baseline(found: list[pl.DataFrame], looked: list[pl.DataFrame]) -> Baseline:
    captures_found = pl.concat([pl.DataFrame(schema=CAPTURES), *found])
    return municipal_baseline(coverage_by_cell(captures_found), pl.concat([pl.DataFrame(schema=CRAWLED), *looked]))


def panoramas(*cell_ids: str) -> list[pl.DataFrame]:
    return [captures(cell_id=id_, source=SURVEY, is_pano=True) for id_ in cell_ids]


def looks(*cell_ids: str, source: str = SURVEY) -> list[pl.DataFrame]:
    return [crawled(source, cell_id=id_) for id_ in cell_ids]


def test_it_is_met_when_every_cell_has_panoramas() -> None:
    found = baseline(panoramas(*CELLS), looks(*CELLS, FARM))
    assert found.is_met and (found.land_cells, found.crawled_cells) == (69, 69)
    assert str(found) == "all 69 land cells of Amsterdam that the source amsterdam has crawled have its panoramas"


def test_cells_without_one_are_named() -> None:
    found = baseline(panoramas(*CELLS[2:]), looks(*CELLS))
    assert not found.is_met and found.without_panorama == (CELLS[0], CELLS[1])
    assert str(found).startswith("2 of 69 land cells of Amsterdam")
    assert str(found).endswith(f"have no panorama of it: {CELLS[0]}, {CELLS[1]}")


def test_only_the_first_ten_are_named_in_words() -> None:
    text = str(baseline([], looks(*CELLS)))
    assert CELLS[9] in text and CELLS[10] not in text and text.endswith("and 59 more")


def test_flat_pictures_and_panoramas_of_others_do_not_count() -> None:
    flat = captures(source=SURVEY, is_pano=False)
    other = captures(source="panoramax", is_pano=True)
    assert baseline([flat, other], looks(CITY)).without_panorama == (CITY,)


def test_only_what_the_municipal_source_crawled_is_judged_and_the_rest_is_said() -> None:
    found = baseline(panoramas(CITY), looks(CITY) + looks(*CELLS, source="panoramax"))
    assert found.is_met and found.crawled_cells == 1
    assert "68 more were not crawled by it yet" in str(found)


def test_it_is_not_met_where_the_municipal_source_looked_nowhere_in_the_city() -> None:
    found = baseline([], looks(FARM) + looks(*CELLS, source="panoramax"))
    assert not found.is_met
    assert str(found) == "not judged: the source amsterdam has crawled none of the 69 land cells of Amsterdam"
