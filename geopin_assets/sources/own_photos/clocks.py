"""When a photo was taken: what its clocks say, in order of trust.

Here: times in all forms that occur, with the offsets that go with them. Not here: which tags and properties hold them
(`exif.py`), or whether a time can be true (`fields.plausible`).

A time that states no offset is Dutch local time. One with an offset that nobody understands is no time: the next clock
counts.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from geopin_assets.sources import fields

_DATE = r"\s*+(\d{4})[-:/._ ]{0,2}+(\d{1,2}+)[-:/._ ]{0,2}+(\d{1,2}+)"
_STAMP = re.compile(
    _DATE + r"[T:_ ]{0,2}+(\d{1,2}+)(?::\s?+|[._])?+(\d{1,2}+)(?:(?::\s?+|[._])?+(\d{1,2}+))?+(?:[.,_]\d++)?+"
    r"\s*+(?:([AP])\.?M\b\.?)?+(.{0,60})",
    re.IGNORECASE | re.DOTALL,
)
_DAY = re.compile(_DATE + r"\b.{0,60}", re.DOTALL)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?(?::?\d\d)?", re.ASCII)
"""`+02:00`, `+0200`, `+2:00`, `+02`, `UTC+2`."""
_WEST, _EAST = timedelta(hours=-12), timedelta(hours=14)
_AGREE = timedelta(minutes=10)
"""A fix may be older than the photo; zones differ by more."""
_WRONG_DATE = (timedelta(days=1), timedelta(days=-1))
"""Some phones put the local date beside the time in UTC."""
_ROLLOVER = timedelta(weeks=1024)
"""After so many weeks receivers begin anew to count them."""


def instant(stamp: Any, offsets: Iterable[Any] = ()) -> datetime | None:
    """A UTC time from a text with date and time; the offset in it, else the first of these that can be read."""
    found = _STAMP.fullmatch(fields.text(stamp) or "")
    if found is None:
        return None
    *day, hour, minute, second, half, rest = found.groups()
    try:
        zone = _zone([rest] if rest else offsets)
        time = _midnight(*day) + _since_midnight(_hour(int(hour), half), minute, second or 0)
        return time.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _midnight(year: str, month: str, day: str) -> datetime:
    return datetime(int(year), int(month), int(day), tzinfo=UTC)


def _hour(hour: float, half: str | None) -> float:
    if half:
        return hour % 12 + (12 if half in "Pp" else 0)
    return 0 if hour == 24 else hour  # of the same day: what some phones write for the first hour


def _since_midnight(hour: Any, minute: Any, second: Any) -> timedelta:
    h, m, s = float(hour), float(minute), float(second)
    if not (0 <= h < 24 and 0 <= m < 60 and 0 <= s <= 60):
        raise ValueError("no time of day")
    return timedelta(hours=h, minutes=m, seconds=s)


def _zone(offsets: Iterable[Any]) -> tzinfo:
    """Of the first offset that can be read; Dutch local time where none is stated. Raises ValueError if none can be."""
    stated = [text for offset in offsets if (text := _offset_text(offset)).strip(" :")]
    zones = [zone for zone in map(_read_zone, stated) if zone]
    if stated and not zones:
        raise ValueError("an offset that nobody understands")
    return zones[0] if zones else fields.DUTCH_TIME


def _offset_text(offset: Any) -> str:
    if isinstance(offset, tuple):  # of the original, then of the last change
        offset = offset[0] if offset else None
    return f"{offset:+d}:00" if isinstance(offset, int) else fields.text(offset) or ""


def _read_zone(text: str) -> tzinfo | None:
    plain = text.upper().replace("\N{MINUS SIGN}", "-").replace(" ", "").partition("[")[0]
    if plain in ("Z", "UTC", "GMT"):
        return UTC
    if (found := _OFFSET.fullmatch(plain)) is None or int(found[3] or 0) >= 60:
        return None
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0)) * (1 if found[1] == "+" else -1)
    return timezone(ahead) if _WEST <= ahead <= _EAST else None


def satellite_time(date: Any, parts: Sequence[float]) -> datetime | None:
    """The GPS clock: UTC by itself. Without a date it is one that phones and drones copy from their own.

    Midnight to the second is what receivers say that know no time.
    """
    found = _DAY.fullmatch(fields.text(date) or "")
    if not found or len(parts) != 3 or not any(parts):
        return None
    try:
        return _midnight(*found.groups()) + _since_midnight(_hour(parts[0], None), *parts[1:])
    except (ValueError, OverflowError):
        return None


def in_order(
    original: datetime | None, satellites: datetime | None, others: Iterable[datetime | None]
) -> list[datetime]:
    """Clocks in order of trust: where the satellites contradict the camera, they are right."""
    if original and satellites:
        if abs(original - satellites - _ROLLOVER) <= timedelta(days=1):
            satellites += _ROLLOVER
        ahead = original - satellites
        if any(abs(ahead - wrong) <= _AGREE for wrong in (timedelta(0), *_WRONG_DATE)):
            satellites = None
    return [clock for clock in (satellites, original, *others) if clock]
