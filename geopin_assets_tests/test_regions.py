"""Regions: what people type, which cells it means, and the ranges a backfill is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.cells import all_cells, cell_at, cell_facts, cell_ids
from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import distance_m
from geopin_assets.regions import in_order, ranges, region, to_geojson

some_ids = st.sets(st.sampled_from(cell_ids()), max_size=60)


def test_all_and_land_are_the_whole_grid_and_the_dutch_land() -> None:
    assert region("all") == cell_ids()
    assert region("land") == tuple(f.cell.cell_id for f in all_cells() if f.is_land)


@pytest.mark.parametrize("name", ["nh", "ze", "be", "sea", "nh-amsterdam", "amsterdam", "den haag", "'s-Hertogenbosch"])
def test_a_province_and_a_place_are_one_range(name: str) -> None:
    assert len(ranges(region(name))) == 1


def test_a_place_is_found_by_its_name_in_any_spelling() -> None:
    assert region("amsterdam") == region("Amsterdam") == region("nh-amsterdam")
    assert region("The Hague") == region("den haag") == region("zh-den-haag")
    assert {cell_facts(id_).place for id_ in region("amsterdam")} == {"amsterdam"}


def test_a_province_is_all_of_its_places() -> None:
    assert {cell_facts(id_).province for id_ in region("fl")} == {"fl"}
    assert set(region("almere")) < set(region("fl"))


def test_a_cell_id_and_a_position_are_one_cell() -> None:
    dam = cell_at(4.8936, 52.3731)
    assert dam is not None
    assert region(dam.cell_id) == region("at:52.3731,4.8936") == (dam.cell_id,)


def test_a_cells_own_box_is_that_cell() -> None:
    facts = cell_facts("nh-amsterdam-r090c051")
    box = facts.cell.bbox
    assert region(f"bbox:{box.west},{box.south},{box.east},{box.north}") == (facts.cell.cell_id,)


def test_a_box_outside_the_grid_has_no_cells() -> None:
    assert region("bbox:-10,40,-9,41") == ()


@given(lat=st.floats(51, 53.4), lon=st.floats(3.5, 7.1), radius_km=st.floats(0, 15))
def test_around_holds_the_cell_itself_and_what_is_near_and_nothing_far(
    lat: float, lon: float, radius_km: float
) -> None:
    found = region(f"around:{lat!r},{lon!r},{radius_km!r}")
    assert region(f"at:{lat!r},{lon!r}")[0] in found
    within = [f.cell for f in all_cells() if abs(f.cell.bbox.center[1] - lat) < 0.2]  # 15 km are 0.13 degrees
    middles = {cell.cell_id: distance_m(lon, lat, *cell.bbox.center) / 1000 for cell in within}
    assert {id_ for id_, km in middles.items() if km <= radius_km} <= set(found)
    assert all(middles[id_] <= radius_km + 1.5 for id_ in found)  # half a cell's diagonal


def test_joined_regions_are_a_union_in_partition_order() -> None:
    joined = region(" zh-leiden + amsterdam+nh-amsterdam-r090c051")
    assert joined == region("amsterdam") + region("leiden")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("amsterdm", "no region 'amsterdm'; did you mean amsterdam"),
        ("", "no region ''"),
        ("amsterdam++almere", "no region ''"),
        ("nh-amsterdam-r090c999", "did you mean nh-amsterdam"),
        ("bbox:1,2", "write bbox:W,S,E,N"),
        ("bbox:5,52,4,53", "not a box"),
        ("bbox:a,b,c,d", "expected numbers"),
        ("around:52,5,nan", "not a finite number"),
        ("around:52,5,-1", "write bbox:W,S,E,N"),
        ("at:4.9,52.4", "outside the grid .latitude comes first"),
        ("circle:1,2", "write bbox:W,S,E,N"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_with_what_to_write(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        region(spec)


@given(ids=some_ids, limit=st.one_of(st.none(), st.integers(1, 5)))
def test_ranges_are_contiguous_bounded_and_hold_every_cell_once(ids: set[str], limit: int | None) -> None:
    runs = ranges(ids, limit)
    assert [id_ for run in runs for id_ in run] == list(in_order(ids))
    position = {id_: i for i, id_ in enumerate(cell_ids())}
    assert all(position[run[-1]] - position[run[0]] == len(run) - 1 for run in runs)
    assert all(1 <= len(run) <= (limit or len(ids)) for run in runs)


def test_ranges_are_as_few_as_can_be() -> None:
    assert ranges(cell_ids()) == [cell_ids()]
    assert [len(run) for run in ranges(cell_ids()[:10], 4)] == [4, 4, 2]
    assert ranges(()) == []


def test_a_range_of_no_cells_and_an_unknown_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="limit=0"):
        ranges(cell_ids()[:2], 0)
    with pytest.raises(ConfigurationError, match="no such cell: 'nowhere'"):
        ranges(["nowhere"])


def test_geojson_has_one_closed_square_per_cell_with_its_facts() -> None:
    import shapely

    ids = region("nh-diemen")
    collection = to_geojson(ids)
    assert [f["properties"]["cell_id"] for f in collection["features"]] == list(ids)
    for feature in collection["features"]:
        facts = cell_facts(feature["properties"]["cell_id"])
        square = shapely.geometry.shape(feature["geometry"])
        assert square.exterior.is_ccw and square.bounds == (
            facts.cell.bbox.west,
            facts.cell.bbox.south,
            facts.cell.bbox.east,
            facts.cell.bbox.north,
        )
        assert feature["properties"]["population"] == facts.population
