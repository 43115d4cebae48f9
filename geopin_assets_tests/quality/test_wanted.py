"""Where imagery would help most: more people, more lacking and more photos not found rank higher, and nothing else."""

import itertools

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.cells import all_cells, cell_facts
from geopin_assets.quality.coverage import Expectations
from geopin_assets.quality.wanted import NOTHING_ASKED, WANTED_SCHEMA, wanted
from geopin_assets_tests.depth import examples
from geopin_assets_tests.quality.factories import CAPTURES, CITY, FARM, LAKE, NOW, captures, coverage_by_cell, crawled

EXPECT = Expectations(now=NOW)
OUTSKIRTS = next(f.cell.cell_id for f in all_cells() if f.is_land and 0 < f.population < cell_facts(CITY).population)
BOTH = pl.concat([crawled("panoramax", "kartaview", cell_id=cell) for cell in (CITY, FARM, OUTSKIRTS)])


def asked(*cells: tuple[str, int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(cells), schema=NOTHING_ASKED.schema, orient="row")


def ranked(found: pl.DataFrame, retrieval: pl.DataFrame = NOTHING_ASKED, looked: pl.DataFrame = BOTH) -> pl.DataFrame:
    frame = wanted(coverage_by_cell(found), looked, retrieval, EXPECT)
    assert frame.schema == WANTED_SCHEMA
    return frame


def lack_of(found: pl.DataFrame) -> float:
    return float(ranked(found).filter(pl.col("cell_id") == CITY)["lack"].sum())


def test_of_two_empty_cells_the_one_with_more_people_comes_first() -> None:
    found = ranked(pl.DataFrame(schema=CAPTURES))
    assert found["cell_id"].to_list() == [CITY, OUTSKIRTS]
    assert found["lack"].to_list() == [1, 1] and found["failed"].to_list() == [1, 1]
    assert found["score"].to_list() == [cell_facts(cell).population for cell in (CITY, OUTSKIRTS)]
    assert cell_facts(FARM).population == 0, "where nobody lives nobody is helped"


def test_a_cell_that_has_everything_is_not_wanted() -> None:
    plenty = [captures(source=source, count=cell_facts(CITY).population // 20) for source in ("panoramax", "kartaview")]
    assert CITY not in ranked(pl.concat(plenty))["cell_id"].to_list()


def test_each_thing_that_lacks_counts() -> None:
    nothing, some = lack_of(pl.DataFrame(schema=CAPTURES)), lack_of(captures(count=50))
    more, other = (
        lack_of(captures(count=400)),
        lack_of(pl.concat([captures(count=25), captures(source="kartaview", count=25)])),
    )
    old = lack_of(captures(count=50, days_old=365 * 7))
    assert nothing == 1 > old > some > max(more, other)


def test_where_photos_are_not_found_more_is_wanted_and_a_few_questions_decide_little() -> None:
    found = captures(count=50)
    missed, placed = asked((CITY, 40, 40), (FARM, 200, 20)), asked((CITY, 40, 0), (FARM, 200, 20))
    often, seldom = (
        ranked(found, each).filter(pl.col("cell_id") == CITY)["failed"].item() for each in (missed, placed)
    )
    assert often > 0.85 and seldom < 0.05
    one = ranked(found, asked((CITY, 1, 1), (FARM, 200, 20))).filter(pl.col("cell_id") == CITY)["failed"].item()
    assert 0.1 < one < 0.3


def test_cells_that_nobody_crawled_or_that_are_water_are_not_judged() -> None:
    assert ranked(pl.DataFrame(schema=CAPTURES), looked=crawled("panoramax", cell_id=LAKE)).is_empty()


@pytest.mark.filterwarnings("error")
@settings(max_examples=examples(8, 500))
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.floats(0, 4000), st.sampled_from(["panoramax", "kartaview"])), max_size=6
    )
)
def test_another_capture_never_raises_the_lack(groups: list[tuple[int, float, str]]) -> None:
    lacks = [1.0]
    frames: list[pl.DataFrame] = [pl.DataFrame(schema=CAPTURES)]
    for count, days_old, source in groups:
        frames.append(captures(source=source, count=count, days_old=days_old))
        lacks.append(lack_of(pl.concat(frames)))
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(lacks))
    assert all(0 <= lack <= 1 for lack in lacks)
