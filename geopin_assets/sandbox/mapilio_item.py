"""The wording of Mapilio's points and images: ids, names, a vector tile, a row of a sequence.

Here: fields and encoding. Not here: routes (`mapilio.py`).
"""

from collections.abc import Mapping
from hashlib import sha256
from math import asinh, pi, radians, tan
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zlib import crc32

import mapbox_vector_tile
from shapely import Point

from geopin_assets.sandbox.world import Drive, Quirk, Shot
from geopin_assets.sources.tiles import Tile

EXTENT = 4096
_UNSET = "1970-01-01 00:00:00"


def image_id(shot: Shot) -> str:
    """A number of 48 bits of the name's hash, so that no two are alike."""
    return str(int.from_bytes(sha256(shot.name.encode()).digest()[:6]))


def sequence_uuid(drive: Drive) -> str:
    """One for each drive."""
    return str(uuid5(NAMESPACE_URL, f"mapilio/{drive.name}"))


def uploaded_hash(drive: Drive) -> str:
    """Opaque, one for each upload."""
    return sha256(f"upload/{drive.name}".encode()).hexdigest()[:40]


def file_name(shot: Shot) -> str:
    """As a camera names its files."""
    return f"GS{crc32(shot.drive.name.encode()) % 1_000_000:06d}_{shot.rank:06d}.jpg"


def detail(id_: str, shot: Shot) -> dict[str, Any]:
    """One image of a sequence."""
    return {
        "id": int(id_),
        "heading": _heading(shot),
        "filename": file_name(shot),
        "uploaded_hash": uploaded_hash(shot.drive),
        "fov": "360" if shot.drive.is_pano else "62",
        "vfov": "180" if shot.drive.is_pano else "48",
        "pitch": "0",
        "capture_time": _capture_time(shot),
        "created_by_id": _creator(shot),
        "resolution": _resolution(shot.drive),
    }


def tile_body(tile: Tile, found: Mapping[str, Shot]) -> bytes:
    """The tile of some shots that lie in it."""
    points = [_point(tile, id_, shot) for id_, shot in found.items()]
    layer = {"name": "map_points", "features": points}
    return mapbox_vector_tile.encode(layer, default_options={"extents": EXTENT, "y_coord_down": True})


def _point(tile: Tile, id_: str, shot: Shot) -> dict[str, Any]:
    captured_at = _capture_time(shot)
    properties = {
        "id": int(id_),
        "sequence_uuid": sequence_uuid(shot.drive),
        "capture_time": captured_at and f"{captured_at.replace(' ', 'T')}Z",
        "created_by_id": _creator(shot),
        "heading": _heading(shot),
        "resolution": _resolution(shot.drive),
    }
    side = 2**tile.z
    x, y = (shot.lon + 180) / 360 * side, (1 - asinh(tan(radians(shot.lat))) / pi) / 2 * side
    place = Point(round((x - tile.x) * EXTENT), round((y - tile.y) * EXTENT))
    return {"geometry": place, "properties": {k: v for k, v in properties.items() if v is not None}}


def _capture_time(shot: Shot) -> str | None:
    """UTC, without saying so."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    return _UNSET if shot.quirk is Quirk.JUNK_DATE else f"{shot.captured_at:%Y-%m-%d %H:%M:%S}"


def _heading(shot: Shot) -> int | None:
    return None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg) % 360


def _creator(shot: Shot) -> int | None:
    return None if shot.quirk is Quirk.NO_CREATOR else int(shot.drive.creator or "0")


def _resolution(drive: Drive) -> str:
    return "5760x2880" if drive.is_pano else "4000x3000"
