import os
import threading
from math import cos, floor, log, pi, radians, tan
from pathlib import Path

import mapbox_vector_tile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPoint, Point

from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Tally
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.tiles import Tile, TileCache, points_of, tiles_of
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.replay import DATA

DAM = Tile(14, 8414, 5384)
SYNTHETIC = (DATA / "mapillary" / "tile_14_8414_5384.mvt").read_bytes()
EMPTY = mapbox_vector_tile.encode([{"name": "image", "features": []}])

zooms = st.integers(0, 20)
lons = st.floats(-180, 179.999)
lats = st.floats(-85, 85)


def published(lon: float, lat: float, z: int) -> tuple[int, int]:
    """The formula of the OpenStreetMap wiki, "Slippy map tilenames", as it stands there."""
    phi = radians(lat)
    x = floor((lon + 180) / 360 * 2**z)
    y = floor((1 - log(tan(phi) + 1 / cos(phi)) / pi) / 2 * 2**z)
    return x, y


def encoded(*points: tuple[int, int], extent: int = 4096, layer: str = "image") -> bytes:
    features = [{"geometry": Point(place), "properties": {"id": n}} for n, place in enumerate(points)]
    return mapbox_vector_tile.encode(
        [{"name": layer, "features": features}], default_options={"y_coord_down": True, "extents": extent}
    )


def holds(tile: Tile, lon: float, lat: float) -> bool:
    """Whether a position lies in a tile or within rounding of its edges."""
    box = tile.bbox
    return box.west - 1e-9 <= lon <= box.east + 1e-9 and box.south - 1e-9 <= lat <= box.north + 1e-9


@given(lon=lons, lat=lats, z=zooms)
def test_the_tile_of_a_position_is_that_of_the_published_formula(lon: float, lat: float, z: int):
    tile = Tile(z, *published(lon, lat, z))
    assert holds(tile, lon, lat)
    lon, lat = tile.position(0.5, 0.5)
    assert tiles_of(Bbox(lon - 1e-7, lat - 1e-7, lon + 1e-7, lat + 1e-7), z) == [tile]


@pytest.mark.parametrize(
    ("lon", "lat", "z", "tile"),
    [
        (4.8952, 52.3702, 14, DAM),
        (20.6852, 40.1222, 9, Tile(9, 285, 193)),
        (-9.0, 53.2, 10, Tile(10, 486, 332)),
        (12.3, 45.6, 0, Tile(0, 0, 0)),
    ],
)
def test_known_places_are_in_their_tiles(lon: float, lat: float, z: int, tile: Tile):
    assert tile in tiles_of(Bbox(lon - 1e-7, lat - 1e-7, lon + 1e-7, lat + 1e-7), z)
    assert tile.bbox.contains(lon, lat)


@given(lon=lons, lat=lats, z=st.integers(0, 14), sides=st.tuples(*[st.floats(1e-6, 0.05)] * 2), share=st.floats(0, 1))
def test_the_tiles_of_a_box_hold_all_of_it_and_touch_it(
    lon: float, lat: float, z: int, sides: tuple[float, float], share: float
):
    box = Bbox(lon, lat, min(lon + sides[0], 180), lat + sides[1])
    tiles = tiles_of(box, z)
    lon, lat = box.west + share * (box.east - box.west), box.south + share * (box.north - box.south)
    assert any(holds(tile, lon, lat) for tile in tiles)
    assert len(tiles) == len(set(tiles))
    for tile in tiles:
        west, east = max(tile.bbox.west, box.west), min(tile.bbox.east, box.east)
        south, north = max(tile.bbox.south, box.south), min(tile.bbox.north, box.north)
        assert west <= east + 1e-9
        assert south <= north + 1e-9


def test_the_bounds_of_a_known_tile_are_the_known_ones():
    box = Tile(10, 486, 332).bbox
    known = (-9.140625, 53.12040528310657, -8.7890625, 53.33087298301705)
    assert (box.west, box.south, box.east, box.north) == pytest.approx(known, abs=1e-12)


@given(x=st.integers(0, 2**14 - 2), y=st.integers(0, 2**14 - 2))
def test_neighboring_tiles_share_their_edges_exactly(x: int, y: int):
    here, east, south = Tile(14, x, y).bbox, Tile(14, x + 1, y).bbox, Tile(14, x, y + 1).bbox
    assert (here.east, here.south) == (east.west, south.north)


def test_the_netherlands_are_as_many_tiles_as_counted_by_others():
    country = Bbox(3.37, 50.75, 7.21, 53.47)
    assert {z: len(tiles_of(country, z)) for z in (5, 6, 8, 10, 12, 14)} == {
        **{5: 1, 6: 4, 8: 16, 10: 156},
        **{12: 2_295, 14: 35_728},
    }


def test_beyond_the_edges_of_the_map_are_the_last_tiles():
    assert tiles_of(Bbox(-180, -90, 180, 90), 1) == [Tile(1, x, y) for x in (0, 1) for y in (0, 1)]


def test_a_made_tile_gives_its_points_where_they_were_put():
    points = points_of(DAM, SYNTHETIC, "image")
    assert [point.properties["id"] for point in points] == [
        *(1933525276802129, 506983104207715),
        *(1933525276802129, 309999000000001),  # again, and with a junk date; the one in the buffer is left out
    ]
    assert (points[0].lon, points[0].lat) == pytest.approx((4.8951681, 52.3702157), abs=5.4e-6)
    assert points[0].properties["is_pano"] is False
    assert points[1].properties["captured_at"] == 1689763451500


@given(x=st.integers(-300, 4400), y=st.integers(-300, 4400), extent=st.sampled_from([512, 4096, 8192]))
def test_a_point_is_where_its_raster_says_or_left_out_beyond_the_edges(x: int, y: int, extent: int):
    points = points_of(DAM, encoded((x, y), extent=extent), "image")
    if not (0 <= x <= extent and 0 <= y <= extent):
        assert points == []
        return
    lon, lat = points[0].lon, points[0].lat
    side = 2**14 * extent
    assert lon == pytest.approx((DAM.x * extent + x) / side * 360 - 180, abs=1e-10)
    assert (1 - log(tan(radians(lat)) + 1 / cos(radians(lat))) / pi) / 2 * side == pytest.approx(
        DAM.y * extent + y, abs=1e-3
    )


def test_points_that_share_a_feature_are_all_found_and_lines_are_none():
    properties = {"properties": {"id": 1}}
    data = mapbox_vector_tile.encode(
        [
            {
                "name": "image",
                "features": [
                    {"geometry": MultiPoint([(1, 1), (2, 2), (9000, 1)]), **properties},
                    {"geometry": LineString([(1, 1), (2, 2)]), **properties},
                ],
            }
        ],
        default_options={"y_coord_down": True},
    )
    assert len(points_of(DAM, data, "image")) == 2


@pytest.mark.parametrize("data", [b"", EMPTY, encoded((1, 1), layer="overview")])
def test_no_bytes_no_features_and_another_layer_are_no_points(data: bytes):
    assert points_of(DAM, data, "image") == []


@pytest.mark.parametrize("data", [b"<html>", b"{}", b"null", b"\x00" * 9, b"\x1a", SYNTHETIC[:200], SYNTHETIC + b"<"])
def test_bytes_that_are_no_tile_are_a_payload_error_with_the_address(data: bytes):
    with pytest.raises(PayloadError, match="14/8414/5384"):
        points_of(DAM, data, "image")


@settings(max_examples=examples(25, 1200))
@given(data=st.data())
def test_a_damaged_tile_is_read_or_refused_and_nothing_else(data: st.DataObject):
    damaged = bytearray(SYNTHETIC)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        points = points_of(DAM, bytes(damaged), "image")
    except PayloadError:
        return
    assert all(DAM.bbox.west <= point.lon <= DAM.bbox.east for point in points)


TALLY = CrawlReport()  # for tests that count at the host


class Host:
    """Answers with tiles and counts them."""

    def __init__(self, data: bytes = SYNTHETIC) -> None:
        self.data, self.asked = data, list[Tile]()

    def fetch(self, tile: Tile, tally: Tally) -> bytes:
        self.asked.append(tile)
        tally.requests += 1
        return self.data


def test_a_tile_is_fetched_once_and_kept_for_other_processes(tmp_path: Path):
    host = Host()
    for _ in range(2):
        cache = TileCache(host.fetch, folder=tmp_path, ttl_s=60)
        assert cache.get(DAM, TALLY) == cache.get(DAM, TALLY) == SYNTHETIC
    assert host.asked == [DAM]
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == ["14/8414/5384.mvt"]


def test_a_kept_tile_ends(tmp_path: Path):
    host = Host()
    TileCache(host.fetch, folder=tmp_path, ttl_s=60).get(DAM, TALLY)
    path = next(tmp_path.rglob("*.mvt"))
    os.utime(path, (1000, 1000))
    for now, fetched in ((1059.0, 1), (1060.0, 2)):
        TileCache(host.fetch, folder=tmp_path, ttl_s=60, clock=lambda now=now: now).get(DAM, TALLY)
        assert len(host.asked) == fetched
    os.utime(path, (9000, 9000))
    TileCache(host.fetch, folder=tmp_path, ttl_s=60, clock=lambda: 1060.0).get(DAM, TALLY)
    assert len(host.asked) == 3, "kept by a clock that was ahead"


def test_an_empty_tile_is_kept_too(tmp_path: Path):
    host = Host(b"")
    for _ in range(2):
        assert TileCache(host.fetch, folder=tmp_path, ttl_s=60).get(DAM, TALLY) == b""
    assert len(host.asked) == 1


def test_without_a_folder_tiles_are_kept_in_memory_only():
    host = Host()
    cache = TileCache(host.fetch, folder=None, ttl_s=0)
    assert cache.get(DAM, TALLY) == cache.get(DAM, TALLY)
    assert len(host.asked) == 1


def test_a_login_page_is_refused_and_never_kept(tmp_path: Path):
    host = Host(b"<h1>Log in</h1>")
    cache = TileCache(host.fetch, folder=tmp_path, ttl_s=60)
    for _ in range(2):
        with pytest.raises(PayloadError):
            cache.get(DAM, TALLY)
    assert len(host.asked) == 2
    assert list(tmp_path.rglob("*.mvt")) == []


def test_what_fetching_raises_is_not_kept(tmp_path: Path):
    host, fails = Host(), [True]

    def fetch(tile: Tile, tally: Tally) -> bytes:
        if fails.pop() if fails else False:
            raise TransientError("later")
        return host.fetch(tile, tally)

    cache = TileCache(fetch, folder=tmp_path, ttl_s=60)
    with pytest.raises(TransientError):
        cache.get(DAM, TALLY)
    assert cache.get(DAM, TALLY) == SYNTHETIC


def test_a_spoiled_file_is_fetched_again(tmp_path: Path):
    host = Host()
    TileCache(host.fetch, folder=tmp_path, ttl_s=60).get(DAM, TALLY)
    next(tmp_path.rglob("*.mvt")).write_bytes(SYNTHETIC[:100])
    assert TileCache(host.fetch, folder=tmp_path, ttl_s=60).get(DAM, TALLY) == SYNTHETIC
    assert len(host.asked) == 2


def test_one_tile_wanted_by_many_at_once_is_fetched_once_and_another_meanwhile():
    asked: list[Tile] = []
    other, release = Tile(14, 1, 1), threading.Event()

    def fetch(tile: Tile, tally: Tally) -> bytes:
        asked.append(tile)
        assert tile == other or release.wait(120)
        return SYNTHETIC

    cache = TileCache(fetch, folder=None, ttl_s=0)
    threads = [threading.Thread(target=cache.get, args=(DAM, TALLY)) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert cache.get(other, TALLY) == SYNTHETIC  # not behind the slow one
    release.set()
    for thread in threads:
        thread.join(120)
    assert sorted(asked) == [other, DAM]


def test_a_request_is_made_on_behalf_of_whoever_needs_the_tile():
    first, second = CrawlReport(), CrawlReport()
    cache = TileCache(Host().fetch, folder=None, ttl_s=0)
    cache.get(DAM, first)
    cache.get(DAM, second)
    assert (first.requests, second.requests) == (1, 0)
