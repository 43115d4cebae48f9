"""Which matches are witnesses of their own: copies of one drive, posted at several platforms, count once.

Here: whether two matches are the same photo, or photos of one drive at one moment. Platforms round times, shift them
by a second, or leave creators out: then the photos themselves tell, by vectors that are nearly the same. Not here: what
witnesses say (`terms.py`). A panorama's views are one match already (`search.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
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


@dataclass(frozen=True, slots=True)
class Copies:
    """Which of some matches are one witness: by what is said of them, and by their vectors."""

    vectors: Mapping[str, NDArray[np.float64]]

    @classmethod
    def among(cls, matches: Sequence[Match], index: Searchable) -> "Copies":
        """Vectors are asked for only where the likeness to the photo leaves open whether two are of one: unit vectors
        are not farther apart than their cosines to any third one allow."""
        pairs = (pair for pair in combinations(matches, 2) if not is_copy(*pair) and _may_be_twins(*pair))
        ids = sorted({match["vector_id"] for pair in pairs for match in pair})
        asked = [index.get(ids[first : first + IDS_PER_GET]) for first in range(0, len(ids), IDS_PER_GET)]
        stored = ((id_, vector) for part in asked for id_, vector in part.select("vector_id", "embedding").iter_rows())
        return cls({id_: np.array(vector, np.float64) for id_, vector in stored})

    def are(self, one: Match, other: Match) -> bool:
        """Whether these two, of the same matches, are."""
        if is_copy(one, other):
            return True
        mine, theirs = self.vectors.get(one["vector_id"]), self.vectors.get(other["vector_id"])
        if mine is None or theirs is None or not _may_be_twins(one, other):
            return False
        return _cosine(mine, theirs) >= TWIN


def _may_be_twins(one: Match, other: Match) -> bool:
    return abs(one["score"] - other["score"]) <= sqrt(2 - 2 * TWIN) and is_near(one, other)


def is_near(one: Match, other: Match) -> bool:
    """Whether one drive passes both within moments."""
    return distance_m(one["lon"], one["lat"], other["lon"], other["lat"]) <= SAME_DRIVE_M


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _creator(match: Match) -> str:
    """Names differ in case and in the @ or blanks around them from platform to platform."""
    return (match["creator"] or "").strip().lstrip("@").casefold()


def _apart_s(one: Match, other: Match) -> float | None:
    """None where a time is unknown, or a mere date."""
    here, there = _time(one["captured_at"]), _time(other["captured_at"])
    return None if here is None or there is None else abs((here - there).total_seconds())


def _time(said: datetime | str | None) -> datetime | None:
    time = datetime.fromisoformat(said) if isinstance(said, str) else said
    return None if time is None or (time.minute, time.second, time.microsecond) == (0, 0, 0) else time
