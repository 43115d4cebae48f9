"""Which matches are witnesses of their own: copies of one drive, posted at several platforms, count once.

Here: whether two matches are the same photo, or photos of one drive at one moment. Platforms round times, shift them
by a second, or leave creators out: then the photos themselves tell, by vectors that are nearly the same. Not here: what
witnesses say (`terms.py`). A panorama's views are one match already (`search.py`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.index.limits import IDS_PER_GET
from geopin_assets.index.protocol import Searchable

SAME_DRIVE_S = 60.0
"""One creator within a minute drives one car, whatever platforms the photos are at."""
SAME_DRIVE_M = 100.0
SAME_MOMENT_M = 10.0
"""Equal shutter times so close together are one shutter, whoever posted it."""

TWIN = 0.99
"""Cosine of two vectors of one photo, in another size or compression; of two drives past one place at most .98."""

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


def twins(best: Match, matches: Iterable[Match], index: Searchable) -> frozenset[str]:
    """Captures among these, close by, whose vectors are nearly that of the best match.

    Vectors are asked for only where the likeness to the photo leaves that open: two unit vectors are not farther apart
    than their cosines to any third one allow.
    """
    apart = sqrt(2 - 2 * TWIN)
    near = {
        match["vector_id"]: match["capture_id"]
        for match in matches
        if abs(match["score"] - best["score"]) <= apart
        and distance_m(best["lon"], best["lat"], match["lon"], match["lat"]) <= SAME_DRIVE_M
        and not is_copy(best, match)
    }
    asked = list(near)[: IDS_PER_GET - 1]
    if not asked:
        return frozenset()
    stored = index.get([best["vector_id"], *asked])
    vectors = dict(zip(stored["vector_id"], np.array(stored["embedding"].to_list(), np.float64), strict=True))
    mine = vectors.pop(best["vector_id"], None)
    return frozenset(near[id_] for id_, other in vectors.items() if mine is not None and _cosine(mine, other) >= TWIN)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


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
