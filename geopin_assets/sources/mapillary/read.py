"""Understanding Mapillary's records: an image of the Graph API, a point of a coverage tile, a signed link.

Here: pure parsing. Not here: asking (`ask.py`, `tiles.py`) or which boxes are asked.

A capture has two positions: the device's, and one computed from the pictures (structure from motion) with a
heading of its own. The computed ones are better and preferred (unless a setting prefers the device's), as long as
they are within EDGE_DEG of the device's: one that is further off is a reconstruction in the wrong place. So the
position of a capture is never further than EDGE_DEG from either, whichever of them a search or a tile goes by.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from geopin_assets.capture import Capture, HeadingFrom, PositionFrom, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.sources import fields
from geopin_assets.sources.tiles import Point

NAME = "mapillary"
LICENSE = "CC-BY-SA-4.0"
EDGE_DEG = 0.0005  # 56 m north, 34 m east: more than satellites err, less than reconstructions do when they fail
LINKS = ("thumb_1024_url", "thumb_2048_url", "thumb_original_url")
"""Fields with a link to the picture, the smallest first."""
NO_LINK = f"{NAME}:"
"""Begins the image address of a capture that was found in a tile: its link is asked for when it is needed."""

_LINKED = ("mesh", "sfm_cluster")  # like pictures, behind signed links that end
_PANO_CAMERAS = ("equirectangular", "spherical")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_OE = 12  # hexadecimal digits; seconds need 8


@fields.rejecting
def parse_image(record: Any, bbox: Bbox, now: datetime, prefers_computed: bool = True) -> Capture | Rejected:
    """Understand one image as the Graph API describes it; any wrong shape becomes a Rejected."""
    record = fields.mapping(record)
    payload = fields.payload({k: v for k, v in record.items() if not (k in _LINKED or k.startswith("thumb_"))})
    return _parse(record, link_of(record), payload, bbox, now, prefers_computed)


@fields.rejecting
def parse_point(point: Point, username: str | None, bbox: Bbox, now: datetime) -> Capture | Rejected:
    """Understand one point of a tile. Tiles have neither links nor names: `username` is of its `creator_id`."""
    found = point.properties
    record = {key: found.get(key) for key in ("id", "captured_at", "compass_angle", "is_pano")}
    record["sequence"] = found.get("sequence_id")
    record["creator"] = {"username": username}
    record["geometry"] = {"type": "Point", "coordinates": [point.lon, point.lat]}
    return _parse(record, f"{NO_LINK}{found.get('id')}", fields.payload(found), bbox, now)


def _parse(
    record: Mapping[str, Any],
    link: str | None,
    payload: str,
    bbox: Bbox,
    now: datetime,
    prefers_computed: bool = True,
) -> Capture | Rejected:
    id_ = image_id(record)
    name = id_ or fields.text(str(record.get("id"))) or ""
    place, position_from = _placed(record, prefers_computed)
    heading_deg, heading_from = _directed(record, prefers_computed)
    if not record:
        return Rejected(Reason.MALFORMED)
    if id_ is None:
        return Rejected(Reason.BAD_ID, name)
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, name)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, name)
    if link is None:
        return Rejected(Reason.NO_IMAGE, name)
    creator = fields.text(fields.mapping(record.get("creator")).get("username"))
    return Capture(
        source=NAME,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        position_from=position_from,
        captured_at=fields.plausible(_instant(record.get("captured_at")), now),
        heading_deg=heading_deg,
        heading_from=heading_from,
        is_pano=is_pano(record),
        sequence_id=fields.source_id(record.get("sequence")),
        creator=creator,
        license=LICENSE,
        attribution=f"Photo {f'by {creator} ' if creator else ''}on Mapillary, CC BY-SA 4.0",
        page_url=f"https://www.mapillary.com/app/?pKey={id_}&focus=photo",
        image_url=link,
        image_version="",
        payload=payload,
    )


def image_id(record: Any) -> str | None:
    """The id of an image, a text of digits in the Graph API and an integer in tiles, as text."""
    id_ = fields.source_id(fields.mapping(record).get("id"))
    return id_ if id_ is not None and id_.isascii() and id_.isdecimal() else None


def record_key(record: Any) -> str:
    """What makes a record the same when it is returned twice: its id, else its whole content."""
    return image_id(record) or f"~{fields.payload({'record': record})}"


def place_of(record: Any, prefers_computed: bool = True) -> tuple[float, float] | None:
    """(lon, lat) of an image, see the module; None without a usable position."""
    return _placed(record, prefers_computed)[0]


def _placed(record: Any, prefers_computed: bool) -> tuple[tuple[float, float] | None, PositionFrom]:
    device, computed = _point(record, "geometry"), _point(record, "computed_geometry")
    if computed and (device is None or (prefers_computed and _is_believed(device, computed))):
        return computed, PositionFrom.COMPUTED
    return device, PositionFrom.DEVICE


def is_pano(record: Mapping[str, Any]) -> bool:
    """Whether an image covers 360 degrees; newer uploads say so in `camera_type` only."""
    return record.get("is_pano") is True or record.get("camera_type") in _PANO_CAMERAS


def link_of(record: Mapping[str, Any]) -> str | None:
    """The address of the picture to embed: 1024 px wide, but of a panorama the original, as 2048 would be too few."""
    preferred = reversed(LINKS) if is_pano(record) else LINKS
    return next(filter(None, (fields.web_url(record.get(name)) for name in preferred)), None)


def link_ends_at_s(link: str) -> float | None:
    """Until when a signed link works, seconds since the epoch: hexadecimal in its `oe`. None if it does not say."""
    try:
        stated = parse_qs(urlsplit(link).query).get("oe", [""])[0]
        return float(int(stated, 16)) if stated.isalnum() and len(stated) <= _LONGEST_OE else None
    except ValueError:
        return None


def _directed(record: Mapping[str, Any], prefers_computed: bool) -> tuple[float | None, HeadingFrom | None]:
    device, computed = _point(record, "geometry"), _point(record, "computed_geometry")
    angles = {HeadingFrom.DEVICE: _angle(record.get("compass_angle"))}
    if computed is None or _is_believed(device, computed):
        angles[HeadingFrom.COMPUTED] = _angle(record.get("computed_compass_angle"))
    stated = [(angle, source) for source, angle in angles.items() if angle is not None]
    return (stated[-1] if prefers_computed else stated[0]) if stated else (None, None)


def _angle(value: Any) -> float | None:
    """Degrees; values outside [0, 360] stand for an unknown direction (-1)."""
    angle = fields.number(value)
    return fields.heading_deg(angle) if angle is not None and 0 <= angle <= 360 else None


def _is_believed(device: tuple[float, float] | None, computed: tuple[float, float]) -> bool:
    return device is None or all(abs(a - b) <= EDGE_DEG for a, b in zip(device, computed, strict=True))


def _point(record: Any, name: str) -> tuple[float, float] | None:
    return fields.point(fields.mapping(record).get(name))


def _instant(value: Any) -> datetime | None:
    """A time from milliseconds since the epoch."""
    milliseconds = fields.number(value)
    try:
        return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
