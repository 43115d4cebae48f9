"""`mapillary_image_description.json`, which mapillary_tools writes beside photos: their places, directions and times.

Here: its items as rows. Not here: which photo a row means (`survey.py`).
"""

from datetime import UTC, datetime
from typing import Any

import orjson

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import values
from geopin_assets.sources.own_photos.stated import Position, Row


def read_description(data: bytes, name: str, *, now: datetime) -> tuple[list[Row], list[Rejected]]:
    """A row of each image, and what of them was left out. Raises PayloadError for anything but a list of objects."""
    try:
        items = orjson.loads(data)
    except ValueError as error:
        raise PayloadError(f"{name} is no JSON: {error}") from error
    if not isinstance(items, list):
        raise PayloadError(f"{name} is no list of images")
    rows, said = [], []
    for number, item in enumerate(items, start=1):
        where, file = f"{name} item {number}", fields.mapping(item).get("filename")
        if fields.mapping(item).get("filetype", "image") != "image":
            continue
        if not isinstance(file, str) or not file:
            said.append(Rejected(Reason.MALFORMED, f"{where}: names no photo"))
            continue
        wrong = _left_out(item, now)
        said += [
            Rejected(reason, f"{where} {key}: {ascii(item.get(key))[:60]} ({ascii(file)[:60]})")
            for key, reason in wrong
        ]
        is_refused = any(reason is Reason.BAD_COORDINATES for _, reason in wrong)
        rows.append(Row(file, where, None if is_refused else _position(item, where, now)))
    return rows, said


def _position(item: dict[str, Any], where: str, now: datetime) -> Position:
    return Position(
        place=fields.position(item.get("MAPLongitude"), item.get("MAPLatitude")),
        heading_deg=_heading_deg(item),
        captured_at=_captured_at(item, now),
        states_heading=_heading_deg(item) is not None,
        states_time=_captured_at(item, now) is not None,
        where=where,
    )


def _left_out(item: dict[str, Any], now: datetime) -> list[tuple[str, Reason]]:
    """Keys that say what is not understood."""
    is_placed = fields.position(item.get("MAPLongitude"), item.get("MAPLatitude")) is not None
    has_place = item.get("MAPLatitude") is not None or item.get("MAPLongitude") is not None
    checks = (
        ("MAPLatitude", has_place and not is_placed, Reason.BAD_COORDINATES),
        ("MAPCompassHeading", _heading_deg(item) is None and bool(item.get("MAPCompassHeading")), Reason.MALFORMED),
        ("MAPCaptureTime", _captured_at(item, now) is None and bool(item.get("MAPCaptureTime")), Reason.MALFORMED),
    )
    return [(key, reason) for key, is_wrong, reason in checks if is_wrong]


def _heading_deg(item: dict[str, Any]) -> float | None:
    found = fields.number(fields.mapping(item.get("MAPCompassHeading")).get("TrueHeading"))
    return None if found is None else values.heading_deg(str(found))


def _captured_at(item: dict[str, Any], now: datetime) -> datetime | None:
    text = item.get("MAPCaptureTime")
    time = values.instant(text, zone=UTC, day_first=None) if isinstance(text, str) else None
    return fields.plausible(time, now)
