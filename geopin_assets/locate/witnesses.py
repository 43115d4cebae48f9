"""Which matches are witnesses of their own: copies of one drive, posted at several platforms, count once.

Here: whether two matches are the same photo, or photos of one drive at one moment. Not here: what witnesses say
(`terms.py`). A panorama's views are one match already (`search.py`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from geopin_assets.geo import distance_m

SAME_DRIVE_S = 60.0
"""One creator within a minute drives one car, whatever platforms the photos are at."""
SAME_DRIVE_M = 100.0
SAME_MOMENT_M = 10.0
"""Equal shutter times so close together are one shutter, whoever posted it."""

Match = Mapping[str, Any]
"""A row of `search.MATCH_SCHEMA`."""


def is_copy(one: Match, other: Match) -> bool:
    """Whether two matches are one witness. What is not known (a time, a creator) makes none of them a copy."""
    if one["capture_id"] == other["capture_id"]:
        return True
    apart_s = _apart_s(one, other)
    if apart_s is None:
        return False
    apart_m = distance_m(one["lon"], one["lat"], other["lon"], other["lat"])
    if apart_s <= SAME_DRIVE_S and apart_m <= SAME_DRIVE_M and _creator(one) and _creator(one) == _creator(other):
        return True
    return apart_s == 0 and apart_m <= SAME_MOMENT_M


def _creator(match: Match) -> str:
    """Names differ in case and in the @ or blanks around them from platform to platform."""
    return (match["creator"] or "").strip().lstrip("@").casefold()


def _apart_s(one: Match, other: Match) -> float | None:
    """None where a time is unknown, or a mere date."""
    here, there = _time(one["captured_at"]), _time(other["captured_at"])
    return None if here is None or there is None else abs((here - there).total_seconds())


def _time(text: str | None) -> datetime | None:
    time = datetime.fromisoformat(text) if text else None
    return None if time is None or (time.minute, time.second, time.microsecond) == (0, 0, 0) else time
