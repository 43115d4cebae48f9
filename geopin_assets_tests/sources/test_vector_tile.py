"""Vector tiles as another reader reads them, and tiles that want to take more than they may."""

import tracemalloc
from typing import Any

import mapbox_vector_tile
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapbox_vector_tile.Mapbox import vector_tile_pb2

from geopin_assets.sources import vector_tile
from geopin_assets.sources.vector_tile import BrokenTileError, Geometry, check, features
from geopin_assets_tests.growth import MOST, growth

EXTENT = 4096
PROPERTIES = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.text(max_size=20),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=6,
)
CORNERS = st.tuples(st.integers(-5_000, 9_000), st.integers(-5_000, 9_000))


@given(st.lists(st.tuples(st.lists(CORNERS, min_size=1, max_size=5), PROPERTIES), max_size=12))
def test_points_are_those_that_another_reader_finds(drawn: list[tuple[list[tuple[int, int]], dict[str, Any]]]) -> None:
    shapes = [
        {"geometry": f"MULTIPOINT({', '.join(f'{x} {y}' for x, y in corners)})", "properties": properties}
        for corners, properties in drawn
    ]
    layers = [{"name": "other", "features": shapes[:1]}, {"name": "image", "features": shapes}]
    data = mapbox_vector_tile.encode(layers, default_options={"y_coord_down": True, "extents": EXTENT})
    check(data)
    theirs = mapbox_vector_tile.decode(data, default_options={"y_coord_down": True})["image"]["features"]
    ours = list(features(data, "image"))
    assert [feature.properties for feature in ours] == [feature["properties"] for feature in theirs]
    for feature, other in zip(ours, theirs, strict=True):
        corners = other["geometry"]["coordinates"]
        corners = [corners] if other["geometry"]["type"] == "Point" else corners
        assert feature.geometry is Geometry.POINT
        assert [(round(x * EXTENT), round(y * EXTENT)) for x, y in feature.corners] == [(x, y) for x, y in corners]


@pytest.mark.parametrize(
    ("shape", "geometry", "corners"),
    [
        ("LINESTRING(0 0, 10 20, 4096 4096)", Geometry.LINE, 3),
        ("MULTILINESTRING((0 0, 10 20), (5 5, 7 7))", Geometry.LINE, 4),
        ("POLYGON((0 0, 0 100, 100 100, 100 0, 0 0))", Geometry.POLYGON, 4),
    ],
)
def test_lines_and_polygons_have_the_corners_of_all_their_parts(shape: str, geometry: Geometry, corners: int) -> None:
    layer = {"name": "grid", "features": [{"geometry": shape, "properties": {}}]}
    data = mapbox_vector_tile.encode(layer, default_options={"y_coord_down": True})
    (feature,) = features(data, "grid")
    assert feature.geometry is geometry and len(feature.corners) == corners


def test_text_that_is_no_utf_8_stays_text() -> None:
    tile = vector_tile_pb2.tile()
    layer = tile.layers.add(name="image", version=2, keys=["id"])
    layer.values.add(string_value="abcd")
    layer.features.add(type=1, tags=[0, 0], geometry=[9, 0, 0])
    (feature,) = features(tile.SerializeToString().replace(b"abcd", b"\xff\xfed\0"), "image")
    assert feature.properties == {"id": "\ufffd\ufffdd\0"}


def _field(number: int, body: bytes) -> bytes:
    length, size = len(body), b""
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + body


def _layer(body: bytes) -> bytes:
    return _field(3, _field(1, b"image") + body)


SIZE = 2**20
BOMBS = {
    "empty features": _layer(b"\x12\0" * (SIZE // 2)),
    "empty values": _layer(b"\x22\0" * (SIZE // 2)),
    "empty keys": _layer(b"\x1a\0" * (SIZE // 2)),
    "empty layers": b"\x1a\0" * (SIZE // 2),
    "unknown fields": _layer(b"\x38\0" * (SIZE // 2)),
    "one line of all corners": _layer(_field(2, b"\x18\2" + _field(4, b"\x09\0\0" + b"\x0a\1\1" * (SIZE // 3)))),
    "one feature of all tags": _layer(_field(3, b"k") + _field(4, b"\x38\1") + _field(2, _field(2, bytes(2 * SIZE)))),
    "a count of corners that are not there": _layer(_field(2, b"\x18\1" + _field(4, b"\xf9\xff\xff\xff\x7f\0\0"))),
    "a number without end": _layer(b"\x38" + b"\x80" * 100),
    "a web page": b"<!DOCTYPE html><html>log in</html>",
    "JSON": b'{"error": "log in"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_tile_that_wants_too_much_is_refused_in_bounds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a byte of cost takes of memory: 25 at most, 0.6 GB for the largest tile."""
    cost = SIZE // 4
    monkeypatch.setattr(vector_tile, "MAX_COST", cost)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenTileError):
            for _ in features(BOMBS[name], "image"):
                pass
            check(BOMBS[name])  # a tile without the layer says so here
        assert tracemalloc.get_traced_memory()[1] < 25 * cost
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("grain", [b"\x12\x09\x12\2\0\0\x18\1\x22\1\0", b"\x22\2\x38\1", b"\x1a\1k", b"\x12\0"])
def test_reading_takes_time_in_proportion_to_the_tile(grain: bytes) -> None:
    def read(body: bytes) -> None:
        data = _layer(b"\x1a\1k\x22\2\x38\1" + body)
        check(data)
        for _ in features(data, "image"):
            pass

    assert growth(read, grain) < MOST
