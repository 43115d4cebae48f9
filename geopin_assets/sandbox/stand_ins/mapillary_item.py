"""One image as Mapillary words it: in the Graph API, with its signed links, and in a coverage tile (z14).

Here: pure wording, ids that look like theirs, which shots a tile holds. Not here: routes and errors (`mapillary.py`).

`geometry` is where the device says it was. Two of three images have been reconstructed and have `computed_…`
fields too, within a meter. Fields without a value are absent, as on the real platform.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from math import asinh, floor, pi, radians, tan
from typing import Any

import mapbox_vector_tile
from shapely.geometry import LineString, Point

from geopin_assets.geo import destination
from geopin_assets.sandbox.faults import Box
from geopin_assets.sandbox.streets.world import Drive, Quirk, Shot
from geopin_assets.sources.tiles import Tile

ORIGINAL_WIDTH = 4096
WIDTHS = {"thumb_256_url": 256, "thumb_1024_url": 1024, "thumb_2048_url": 2048, "thumb_original_url": ORIGINAL_WIDTH}
FIELDS = {
    *("id", "captured_at", "compass_angle", "computed_compass_angle", "geometry", "computed_geometry"),
    *("altitude", "computed_altitude", "computed_rotation", "atomic_scale", "camera_parameters", "camera_type"),
    *("exif_orientation", "height", "width", "is_pano", "make", "model", "merge_cc", "mesh", "organization"),
    *("quality_score", "sequence", "sfm_cluster", "creator", *WIDTHS),
}
LINK_DAYS = 30
_DAY_S = 86_400
ZOOM, EXTENT = 14, 4096


def image_id(shot: Shot) -> str:
    """An id of 15 digits."""
    return str(10**14 + int.from_bytes(_digest(f"image {shot.name}", 6)))


def creator_id(shot: Shot) -> str | None:
    """The id of whoever took a shot, None where the platform does not say."""
    if not shot.drive.creator or shot.quirk is Quirk.NO_CREATOR:
        return None
    return str(10**14 + int.from_bytes(_digest(f"creator {shot.drive.creator}", 6)))


def sequence_id(drive: Drive) -> str:
    """An id of 22 characters."""
    return urlsafe_b64encode(_digest(f"sequence {drive.name}", 16)).decode().rstrip("=")


def captured_at_ms(shot: Shot) -> int | None:
    """Milliseconds since the epoch: 0 from a camera whose clock was never set."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    return 0 if shot.quirk is Quirk.JUNK_DATE else round(shot.captured_at.timestamp() * 1000)


def device_position(shot: Shot) -> tuple[float, float]:
    """(lon, lat) that the device noted."""
    return (0.0, 0.0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lon, shot.lat)


def image(shot: Shot, wanted: set[str], base_url: str, now_s: float) -> dict[str, Any]:
    """The `wanted` fields of an image, and its id."""
    everything = {
        "id": image_id(shot),
        "captured_at": captured_at_ms(shot),
        "compass_angle": _compass_angle(shot),
        "geometry": _point(*device_position(shot)),
        "is_pano": shot.drive.is_pano,
        "camera_type": "spherical" if shot.drive.is_pano else "perspective",
        "sequence": sequence_id(shot.drive),
        "creator": _creator(shot),
        "width": ORIGINAL_WIDTH,
        "height": ORIGINAL_WIDTH // 2 if shot.drive.is_pano else ORIGINAL_WIDTH * 3 // 4,
        "exif_orientation": 1,
        **{name: link(shot, width, base_url, now_s) for name, width in WIDTHS.items()},
        **_computed(shot),
    }
    return {key: value for key, value in everything.items() if key in {"id", *wanted} and value is not None}


def link(shot: Shot, width: int, base_url: str, now_s: float) -> str:
    """A signed address: `oe` is when it ends, hexadecimal seconds, the same all day."""
    ends_at = f"{(int(now_s) // _DAY_S + LINK_DAYS) * _DAY_S:08X}"
    oh = signature(image_id(shot), width, ends_at)
    return f"{base_url}/m1/v/t6/{image_id(shot)}?stp=s{width}x{width}&ccb=10-5&oh={oh}&oe={ends_at}&_nc_sid=201bca"


def signature(id_: str, width: int, ends_at: str) -> str:
    """What `oh` must be for a link to be served."""
    return f"00_{_digest(f'link {id_} {width} {ends_at}', 12).hex()}"


def _compass_angle(shot: Shot) -> float | None:
    return None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg, 2)


def _creator(shot: Shot) -> dict[str, str] | None:
    id_ = creator_id(shot)
    return None if id_ is None else {"username": shot.drive.creator, "id": id_}


def _computed(shot: Shot) -> dict[str, Any]:
    if shot.rank % 3 == 0 or shot.quirk is Quirk.NULL_ISLAND:
        return {}
    lon, lat = destination(shot.lon, shot.lat, 137 * shot.rank, 0.8)
    heading = None if shot.quirk is Quirk.NO_HEADING else round((shot.heading_deg + 0.5) % 360, 4)
    return {"computed_geometry": _point(round(lon, 7), round(lat, 7)), "computed_compass_angle": heading}


def _point(lon: float, lat: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lon, lat]}


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()


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
