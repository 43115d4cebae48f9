"""A coverage tile of Mapillary (z14) with its layers `image` and `sequence`, encoded as the real ones are.

Here: which shots a tile holds and their wording. Not here: routes (`mapillary.py`).
"""

from collections.abc import Iterable
from math import asinh, floor, pi, radians, tan
from typing import Any

import mapbox_vector_tile
from shapely.geometry import LineString, Point

from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.mapillary_item import captured_at_ms, creator_id, device_position, image_id, sequence_id
from geopin_assets.sandbox.world import Drive, Quirk, Shot
from geopin_assets.sources.tiles import Tile

ZOOM, EXTENT = 14, 4096


def box_of(tile: Tile) -> Box:
    """What a tile covers."""
    box = tile.bbox
    return box.west, box.south, box.east, box.north


def tile_of(tile: Tile, shots: Iterable[Shot]) -> bytes:
    """The tile with those of the shots that lie in it; b"" if none does."""
    placed = [(shot, place) for shot in shots if (place := _pixel(tile, *device_position(shot))) is not None]
    drives: dict[Drive, list[tuple[Shot, tuple[int, int]]]] = {}
    for shot, place in placed:
        drives.setdefault(shot.drive, []).append((shot, place))
    if not placed:
        return b""
    lines = [_sequence(drive, found) for drive, found in drives.items() if len({place for _, place in found}) > 1]
    layers = [
        {"name": "sequence", "features": lines},
        {"name": "image", "features": [_image(shot, place) for shot, place in placed]},
    ]
    return mapbox_vector_tile.encode(layers, default_options={"extents": EXTENT, "y_coord_down": True})


def _pixel(tile: Tile, lon: float, lat: float) -> tuple[int, int] | None:
    side = 2**tile.z
    x = floor(((lon + 180) / 360 * side - tile.x) * EXTENT)
    y = floor(((1 - asinh(tan(radians(lat))) / pi) / 2 * side - tile.y) * EXTENT)
    return (x, y) if 0 <= x < EXTENT and 0 <= y < EXTENT else None


def _image(shot: Shot, place: tuple[int, int]) -> dict[str, Any]:
    creator = creator_id(shot)
    properties = {
        "id": int(image_id(shot)),
        "captured_at": captured_at_ms(shot),
        "compass_angle": None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 2),
        "is_pano": shot.drive.is_pano,
        "sequence_id": sequence_id(shot.drive),
        "creator_id": None if creator is None else int(creator),
    }
    return {"geometry": Point(place), "properties": {k: v for k, v in properties.items() if v is not None}}


def _sequence(drive: Drive, found: list[tuple[Shot, tuple[int, int]]]) -> dict[str, Any]:
    first = found[0][0]
    properties = {
        "id": sequence_id(drive),
        "image_id": int(image_id(first)),
        "captured_at": captured_at_ms(first) or 0,
        "is_pano": drive.is_pano,
    }
    return {"geometry": LineString([place for _, place in found]), "properties": properties}
