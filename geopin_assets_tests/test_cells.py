"""The frozen grid: complete, ordered, findable, and the same data as its own places."""

import re
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.cells import Place, all_cells, cell, cell_at, cell_facts, cell_ids, place_slug, places
from geopin_assets.data.build_cells import INHABITANTS_PER_KM2, PROVINCES, QUARTERS, short_path, whole_shares
from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import dutch_outline
from geopin_assets.grid import COLUMNS, EAST, NORTH, ROWS, SOUTH, WEST, bounds


def test_every_cell_of_the_grid_is_listed_once() -> None:
    assert sorted((f.row, f.column) for f in all_cells()) == [(r, c) for r in range(ROWS) for c in range(COLUMNS)]
    assert len(set(cell_ids())) == len(cell_ids()) == ROWS * COLUMNS == 20_064
    assert cell_ids() == tuple(f.cell.cell_id for f in all_cells())


def test_a_cell_id_says_province_place_row_and_column() -> None:
    for facts in all_cells():
        assert facts.cell.cell_id == f"{facts.province}-{facts.place}-r{facts.row:03d}c{facts.column:03d}"
        assert re.fullmatch(r"[a-z]{2,3}-[a-z0-9]+(-[a-z0-9]+)*-r\d{3}c\d{3}", facts.cell.cell_id)
        assert facts.cell.bbox == bounds(facts.row, facts.column)


def test_provinces_and_places_are_each_one_contiguous_range_with_abroad_and_sea_last() -> None:
    provinces = [province for province, _ in groupby(f.province for f in all_cells())]
    assert provinces == [*sorted(PROVINCES.values()), "be", "de", "sea"]
    keys = [key for key, _ in groupby((f.province, f.place) for f in all_cells())]
    assert len(keys) == len(set(keys))


def test_within_a_place_cells_are_ordered_by_row_and_column() -> None:
    for _, group in groupby(all_cells(), key=lambda f: (f.province, f.place)):
        positions = [(f.row, f.column) for f in group]
        assert positions == sorted(positions)


def test_9600_cells_touch_dutch_land_and_all_of_them_are_in_a_province() -> None:
    land = [f for f in all_cells() if f.is_land]
    assert len(land) == 9_600
    assert {f.province for f in land} == set(PROVINCES.values())


def test_all_inhabitants_of_the_places_live_on_land_cells() -> None:
    assert sum(f.population for f in all_cells()) == sum(p.population for p in places()) == 18_214_134
    assert all(f.population == 0 for f in all_cells() if not f.is_land)


def test_every_dutch_place_is_in_a_dutch_cell_and_nearly_all_on_land() -> None:
    cells = [cell_at(p.lon, p.lat) for p in places()]
    facts = [cell_facts(c.cell_id) for c in cells if c]
    assert len(facts) == 1_966
    assert all(f.province in PROVINCES.values() for f in facts)
    assert sum(not f.is_land for f in facts) == 0


def test_cells_touching_the_outline_are_in_a_province_and_others_are_not() -> None:
    import shapely

    boxes = [f.cell.bbox for f in all_cells()]
    squares = shapely.box(*np.array([(b.west, b.south, b.east, b.north) for b in boxes]).T)
    dutch = shapely.intersects(dutch_outline(), squares)
    assert all((f.province in PROVINCES.values()) == (d or f.is_land) for f, d in zip(all_cells(), dutch, strict=True))


@pytest.mark.parametrize(
    ("lon", "lat", "place"),
    [
        (4.8936, 52.3731, "nh-amsterdam"),
        (4.9719, 52.3113, "nh-amsterdam"),  # Zuidoost belongs to its city
        (4.3007, 52.0705, "zh-den-haag"),
        (5.3037, 51.6978, "nb-s-hertogenbosch"),
        (5.2647, 52.3508, "fl-almere"),
        (4.4025, 51.2194, "be-antwerp"),
        (6.0839, 50.7753, "de-aachen"),
        (3.6, 53.3, "sea-wadden"),
    ],
)
def test_well_known_positions_are_in_the_place_people_would_look_for(lon: float, lat: float, place: str) -> None:
    found = cell_at(lon, lat)
    assert found is not None and found.cell_id.startswith(f"{place}-r")


@given(lon=st.floats(WEST, EAST, exclude_max=True), lat=st.floats(SOUTH, NORTH, exclude_max=True))
def test_the_cell_at_a_position_contains_it_and_is_found_by_its_id(lon: float, lat: float) -> None:
    found = cell_at(lon, lat)
    assert found is not None and found.bbox.contains(lon, lat)
    assert cell(found.cell_id) == found


def test_there_is_no_cell_outside_the_grid() -> None:
    assert cell_at(4.9, 48.0) is None


def test_a_wrong_cell_id_is_refused_with_similar_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'nh-amsterdam-r090c0511'.*did you mean nh-amsterdam-r090c051"):
        cell("nh-amsterdam-r090c0511")
    with pytest.raises(ConfigurationError, match=r"no such cell: '☃'$"):
        cell_facts("☃")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("'s-Gravenzande", "s-gravenzande"),
        ("Den Haag", "den-haag"),
        ("Liège", "liege"),
        ("Súdwest-Fryslân", "sudwest-fryslan"),
        ("Köln", "koln"),
        ("a...b/c|d,e", "a-b-c-d-e"),
        ("  IJsselstein ", "ijsselstein"),
    ],
)
def test_slugs_are_plain(name: str, slug: str) -> None:
    assert place_slug(name) == slug


@given(total=st.integers(0, 10**6), weights=st.lists(st.floats(0.001, 1e3), min_size=1, max_size=50))
def test_shares_are_whole_and_add_up(total: int, weights: list[float]) -> None:
    shares = whole_shares(total, np.array(weights))
    assert shares.sum() == total and (shares >= 0).all()
    assert (abs(shares - total * np.array(weights) / sum(weights)) <= 1).all()


def test_the_path_goes_to_the_nearest_place_left_and_finishes_each_region() -> None:
    near, far, farther = (Place(str(lon), lon, 52.0, 1, "nh") for lon in (4.0, 5.0, 6.0))
    belgian, zeeland = Place("b", 4.0, 51.0, 1, "be"), Place("z", 3.5, 51.5, 1, "ze")
    assert short_path([belgian, farther, zeeland, far, near]) == [near, far, farther, zeeland, belgian]


def test_a_city_is_spread_over_cells_at_a_dutch_citys_density() -> None:
    amsterdam = sum(f.population for f in all_cells() if f.place == "amsterdam")
    assert amsterdam == pytest.approx(741_636 + 84_811, rel=0.1)  # the city and Zuidoost
    assert max(f.population for f in all_cells()) < 3 * 4 * INHABITANTS_PER_KM2


def test_quarters_are_never_a_place_of_their_own() -> None:
    slugs = {f.place for f in all_cells()}
    assert slugs.isdisjoint(map(place_slug, QUARTERS))
