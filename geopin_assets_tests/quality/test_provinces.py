"""One row per province, and a total that is the sum of them."""

from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.cells import ELSEWHERE, PROVINCES, all_cells, cell_facts, place_name
from geopin_assets.quality.coverage import Expectations, find_gaps, province_summary
from geopin_assets_tests.depth import examples
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

ABROAD = "be-antwerp-r026c034"


def summary(found: pl.DataFrame, looked: pl.DataFrame) -> pl.DataFrame:
    coverage = coverage_by_cell(found)
    return province_summary(coverage, looked, find_gaps(coverage, looked, Expectations(now=NOW)))


def row(frame: pl.DataFrame, province: str) -> tuple[object, ...]:
    return frame.row(by_predicate=pl.col("province") == province)[1:]


def test_every_first_word_of_a_cell_id_has_a_name() -> None:
    assert {facts.province for facts in all_cells()} == {*PROVINCES, *ELSEWHERE}
    assert (place_name("s-hertogenbosch"), place_name("wadden")) == ("'s-Hertogenbosch", "Wadden")


def test_a_province_is_counted_in_land_cells_captures_and_people() -> None:
    found = pl.concat([captures(count=5, is_pano=True, days_old=3), captures(source="flickr", count=2)])
    frame = summary(found, pl.concat([crawled("panoramax", "flickr"), crawled("flickr", cell_id=FARM)]))
    assert frame["province"].to_list() == [*sorted(PROVINCES.values()), "Total"]
    newest, people = NOW - timedelta(days=3), cell_facts(CITY).population
    assert row(frame, "North Holland") == (911, 1, 1, 7, 5, 2, newest, 1, people)
    assert row(frame, "Drenthe") == (557, 1, 0, 0, 0, 0, None, 1, cell_facts(FARM).population)
    assert row(frame, "Zeeland") == (483, 0, 0, 0, 0, 0, None, 0, 0)
    assert row(frame, "Total") == (9_600, 2, 1, 7, 5, 2, newest, 2, people + cell_facts(FARM).population)


def test_captures_on_water_and_abroad_count_but_their_cells_do_not() -> None:
    found = pl.concat([captures(cell_id=LAKE, count=2), captures(cell_id=ABROAD, count=3)])
    frame = summary(found, pl.concat([crawled("panoramax", cell_id=id_) for id_ in (LAKE, ABROAD)]))
    assert row(frame, "Flevoland")[:4] == (389, 0, 0, 2)
    assert row(frame, "Belgium")[:4] == (0, 0, 0, 3)
    assert row(frame, "Total")[:4] == (9_600, 0, 0, 5)
    assert "Germany" not in frame["province"]


def test_nothing_crawled_is_twelve_empty_provinces() -> None:
    frame = summary(pl.DataFrame(schema=CAPTURES), pl.DataFrame(schema=CRAWLED))
    assert frame.height == 13 and row(frame, "Total") == (9_600, 0, 0, 0, 0, 0, None, 0, 0)


@settings(max_examples=examples(10, 300))
@given(counts=st.dictionaries(st.sampled_from([CITY, FARM, LAKE, ABROAD]), st.integers(0, 3)))
def test_the_total_is_the_sum_of_the_rows(counts: dict[str, int]) -> None:
    looked = pl.concat([pl.DataFrame(schema=CRAWLED), *(crawled("panoramax", cell_id=id_) for id_ in counts)])
    found = [captures(cell_id=id_, count=count) for id_, count in counts.items()]
    frame = summary(pl.concat([pl.DataFrame(schema=CAPTURES), *found]), looked)
    added = [name for name in frame.columns if name not in ("province", "sources", "newest")]
    rows, total = frame.head(-1), frame.tail(1)
    assert rows.select(pl.col(added).sum()).row(0) == total.select(added).row(0)
