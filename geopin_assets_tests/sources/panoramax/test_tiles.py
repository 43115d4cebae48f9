from pathlib import Path

import mapbox_vector_tile
import pytest

from geopin_assets.errors import PayloadError
from geopin_assets.grid import Bbox, bounds
from geopin_assets.sources.panoramax.tiles import (
    SQUARE_DEG,
    Patch,
    Way,
    choose_way,
    expected_pictures,
    parse_grid,
    parse_pictures,
    requests_by_search,
)
from geopin_assets.sources.tiles import Tile

DATA = Path(__file__).parents[2] / "data" / "panoramax"
GRID, DETAIL = Tile(6, 32, 21), Tile(15, 16829, 10768)
CELL = bounds(90, 51)
EVERYTHING = {"tiles": 16, "limit": 1000, "ids_per_request": 1000}


def layer(name, *features):
    layers = [{"name": name, "features": [{"geometry": wkt, "properties": props} for wkt, props in features]}]
    return mapbox_vector_tile.encode(layers, default_options={"y_coord_down": True, "extents": 4096})


def patch(west, south, pictures, side=SQUARE_DEG):
    box = Bbox(west, south, west + side, south + side)
    return Patch(box, Bbox(west - side, south - side, west + 2 * side, south + 2 * side), pictures)


@pytest.mark.parametrize(
    ("pictures", "requests"),
    [(1, 1), (999, 1), (1000, 5), (3999, 5), (4000, 21), (15_999, 21), (16_000, 85), (400_000, 1365)],
)
def test_dividing_takes_at_least_the_requests_of_pictures_spread_evenly(pictures, requests):
    assert requests_by_search(pictures, 1000) == requests


@pytest.mark.parametrize(
    ("pictures", "way"),
    [
        (None, Way.SEARCH),
        (0, Way.NOTHING),
        (1, Way.SEARCH),
        (999, Way.SEARCH),
        (3999, Way.SEARCH),
        (4000, Way.SEARCH),  # 21 by search, 21 by tiles
        (16_000, Way.TILES),  # 85 by search, 33 by tiles
        (400_000, Way.TILES),
    ],
)
def test_the_way_with_fewer_requests_is_chosen(pictures, way):
    assert choose_way(pictures, **EVERYTHING) is way


def test_a_smaller_limit_makes_tiles_worth_it_earlier():
    assert choose_way(100, tiles=16, limit=1000, ids_per_request=1000) is Way.SEARCH
    assert choose_way(100, tiles=16, limit=5, ids_per_request=1000) is Way.TILES
    assert choose_way(100, tiles=80, limit=5, ids_per_request=1000) is Way.TILES
    assert choose_way(100, tiles=90, limit=5, ids_per_request=1000) is Way.SEARCH


def test_pictures_are_expected_by_the_share_of_a_patch_that_a_box_covers():
    whole = patch(4.85, 52.3, 1000)
    assert expected_pictures(whole.box, [whole]) == pytest.approx(1000)
    assert expected_pictures(Bbox(4.85, 52.3, 4.9, 52.35), [whole]) == pytest.approx(250)
    assert expected_pictures(Bbox(4.85, 52.3, 4.9, 52.35), [whole, patch(4.85, 52.3, 100)]) == pytest.approx(275)


def test_nothing_is_expected_only_a_whole_patch_away_from_any():
    near, far = patch(CELL.east + 0.09, CELL.south, 5), patch(CELL.east + 0.11, CELL.south, 5)
    assert expected_pictures(CELL, [near]) == 1
    assert expected_pictures(CELL, [far]) == 0
    assert expected_pictures(CELL, []) == 0
    assert expected_pictures(CELL, [patch(CELL.west, CELL.south, 0)]) == 1  # a sequence, of unknown length


def test_the_recorded_grid_of_an_instance_counts_in_squares_around_points():
    patches = parse_grid(GRID, (DATA / "grid_6_32_21.mvt").read_bytes())
    counted = {(round(p.box.center[0], 1), round(p.box.center[1], 1)): p.pictures for p in patches if p.pictures}
    assert counted == {(4.8, 52.3): 1200, (4.9, 52.4): 45, (5.0, 52.3): 1}
    assert all(p.box.east - p.box.west == pytest.approx(SQUARE_DEG, abs=1e-5) for p in patches if p.pictures)
    assert len(patches) > len(counted)  # sequences, drawn before the night in which they are counted


def test_hexagons_of_the_catalog_are_read_whatever_their_size():
    hexagon = "POLYGON ((2000 2000, 2100 1950, 2200 2000, 2200 2100, 2100 2150, 2000 2100, 2000 2000))"
    (found,) = parse_grid(GRID, layer("grid", (hexagon, {"nb_pictures": 77})))
    assert found.pictures == 77
    west, north = GRID.position(2000 / 4096, 1950 / 4096)
    east, south = GRID.position(2200 / 4096, 2150 / 4096)
    assert (found.box.west, found.box.north) == pytest.approx((west, north), abs=1e-5)
    assert (found.box.east, found.box.south) == pytest.approx((east, south), abs=1e-5)
    assert found.around.west == pytest.approx(west - (east - west), abs=1e-4)


def test_a_cell_of_the_grid_without_pictures_is_none_and_one_without_a_count_is_some():
    counts = [{"nb_pictures": 0}, {"nb_pictures": "many"}, {}]
    features = [(f"POINT ({n} 10)", properties) for n, properties in enumerate(counts)]
    assert [p.pictures for p in parse_grid(GRID, layer("grid", *features))] == [1, 1]


def test_an_empty_tile_and_one_without_the_layer_show_nothing():
    assert parse_grid(GRID, b"") == parse_grid(GRID, layer("other", ("POINT (1 1)", {}))) == []
    assert parse_pictures(DETAIL, b"") == []


@pytest.mark.parametrize("data", [b"<html>", b'{"features": []}', b"\xff" * 40])
def test_bytes_that_are_no_tile_are_no_empty_tile(data):
    with pytest.raises(PayloadError):
        parse_grid(GRID, data)
    with pytest.raises(PayloadError):
        parse_pictures(DETAIL, data)


def test_the_recorded_tile_shows_every_picture_with_its_sequence():
    pictures = parse_pictures(DETAIL, (DATA / "tile_15_16829_10768.mvt").read_bytes())
    assert len({picture.id for picture in pictures}) == 25
    one = next(p for p in pictures if p.id == "3794de13-ccfd-4b73-8a0f-5b2f35ac73ae")
    assert one.collections == {"190cdf96-d547-47fd-afdf-47f71efb7714"}
    assert (one.lon, one.lat) == pytest.approx((4.89423, 52.37314), abs=2e-4)


def test_a_picture_rounded_onto_the_edge_of_its_only_tile_is_kept():
    """It lies in this tile, and its neighbor is cut without a margin: nobody else has it."""
    edge = layer("pictures", ("POINT (4096 12)", {"id": "a"}), ("POINT (12 4096)", {"id": "b"}))
    assert {picture.id for picture in parse_pictures(DETAIL, edge)} == {"a", "b"}


@pytest.mark.parametrize("sequences", ["", "no json", '"x"', "[1, 2]", "{}", None, 5])
def test_pictures_with_odd_properties_are_read_as_far_as_they_go(sequences):
    properties = {"id": "x"} | ({} if sequences is None else {"sequences": sequences})
    features = [("POINT (1 1)", properties), ("POINT (1 1)", {}), ("LINESTRING (1 1, 2 2)", {"id": "y"})]
    (found,) = parse_pictures(DETAIL, layer("pictures", *features))
    assert (found.id, found.collections) == ("x", frozenset())
