"""Mapilio: a tile, its sequence, and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mapbox_vector_tile
import pytest
from shapely import Point

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.mapilio import Mapilio, parse_record
from geopin_assets.sources.tiles import Tile
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DECODED = recorded("mapilio/tile.json")
TILE = Tile(DECODED["z"], DECODED["x"], DECODED["y"])
SEQUENCE = recorded("mapilio/sequence.json")
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.365, 4.9, 52.375))
_PLACES = [TILE.position(x / 4096, y / 4096) for x, y in (point["xy"] for point in DECODED["map_points"])]
RECORD: dict[str, Any] = {
    "lon": _PLACES[0][0],
    "lat": _PLACES[0][1],
    "tile": DECODED["map_points"][0]["properties"],
    "image": SEQUENCE["data"][0],
}
parse = partial(parse_record, bbox=CELL.bbox, now=NOW)


def _expected(number: int, size: int, **fields: Any) -> Capture:
    shared: dict[str, Any] = {"source": "mapilio", "image_version": "", "payload": "{}", "license": "CC-BY-SA-4.0"}
    point, (lon, lat) = DECODED["map_points"][number - 1], _PLACES[number - 1]
    return Capture(
        source_capture_id=str(point["properties"]["id"]),
        lon=pytest.approx(lon, abs=1e-9),
        lat=pytest.approx(lat, abs=1e-9),
        sequence_id="0b1f5c1e-1111-4222-8333-444455556666",
        creator="4321",
        attribution="© Mapilio contributors, CC BY-SA 4.0",
        page_url=f"https://mapilio.com/app?lat={lat:.6f}&lng={lon:.6f}&zoom=17&pId={point['properties']['id']}",
        image_url=f"https://cdn.mapilio.com/im/SAMPLEopaquehash/GS010123_{number:06d}.jpg/{size}",
        **shared,
        **fields,
    )


EXPECTED = [
    _expected(1, 2080, captured_at=datetime(2023, 5, 4, 10, 11, 12, tzinfo=UTC), heading_deg=87.0, is_pano=True),
    _expected(2, 1080, captured_at=datetime(2023, 5, 4, 10, 11, 16, tzinfo=UTC), heading_deg=None, is_pano=False),
]
REJECTED = {"no_image": 1}


def encoded(points: list[dict[str, Any]]) -> bytes:
    """A tile as GeoServer sends it."""
    features = [{"geometry": Point(point["xy"]), "properties": point["properties"]} for point in points]
    return mapbox_vector_tile.encode(
        {"name": "map_points", "features": features}, default_options={"y_coord_down": True, "extents": 4096}
    )


def answer(request: httpx.Request) -> httpx.Response:
    """The tile, the sequence, and nothing elsewhere."""
    params = request.url.params
    if request.url.path == "/api/sequence-detail":
        return httpx.Response(200, json=SEQUENCE)
    if (params["TILECOL"], params["TILEROW"]) == (str(TILE.x), str(TILE.y)):
        return httpx.Response(200, content=encoded(DECODED["map_points"]))
    return httpx.Response(200, content=b"")


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Mapilio:
    return Mapilio(client_of(transport or httpx.MockTransport(answer), "mapilio"), now=lambda: NOW)
