"""Every land cell of Amsterdam has municipal panoramas: met, not met, or not known."""

import polars as pl

from geopin_assets.quality.baseline import Baseline, municipal_baseline
from geopin_assets.quality.coverage import coverage_by_cell, land_cells
from geopin_assets_tests.quality.factories import CAPTURES, CITY, CRAWLED, FARM, captures, crawled

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
