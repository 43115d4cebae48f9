"""What speaks for an answer: how alike the best match is, how far ahead of any other place, and which sources agree.

Here: gathering these terms for one image from a searchable index, as numbers and in words. Not here: what they are
worth together (`confidence.py`), points that match (`verify.py`), or copies (`witnesses.py`). A source that shows
nothing near the place says nothing; one that does and finds another place speaks against it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import MappingProxyType

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.index.protocol import Readable, Searchable
from geopin_assets.locate.search import Area, Circle, search
from geopin_assets.locate.witnesses import Copies, Match

SAME_PLACE_M = 25.0
OTHER_PLACE_M = 50.0
_ASKED_OF_A_SOURCE = 5
"""Its nearest matches: the first that is no copy is its witness."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one answer. `margin` is how much more alike the best match is than any that is 50 m away or farther."""

    cosine: float
    margin: float
    agreeing: tuple[str, ...] = ()
    disagreeing: tuple[str, ...] = ()
    inliers: int | None = None
    """Points that match the best match and fit one movement of the camera; None if that was not looked at."""

    def of_another(self, cosine: float) -> "Terms":
        """The same for another place, less alike: nobody was asked about it."""
        return replace(self, cosine=cosine, margin=cosine - self.cosine, agreeing=(), disagreeing=(), inliers=None)

    def in_words(self, counted: Collection[str] | None = None) -> list[str]:
        """Each term as people read it, the strongest first; those that are not `counted` say so (None: all are)."""

        def said(term: str, words: str) -> str:
            return words if counted is None or term in counted else f"{words} (not counted)"

        told = [f"likeness {self.cosine:.3f}, {said('margin', f'{self.margin:+.3f} ahead of the next place')}"]
        if self.inliers is not None:
            told.insert(0, said("points", f"{self.inliers} matching points with the best match"))
        if covering := len(self.agreeing) + len(self.disagreeing):
            find = "finds another place" if len(self.disagreeing) == 1 else "find other places"
            against = f" ({', '.join(self.disagreeing)} {find})" if self.disagreeing else ""
            words = f"{len(self.agreeing)} of {covering} other covering sources agree{against}"
            told.append(said("agreement", words))
        else:
            told.append("no other source covers this place")
        return told


def gather(
    views: NDArray[np.float32],
    matches: pl.DataFrame,
    index: Searchable,
    store: Readable,
    *,
    area: Area | None = None,
    without: Collection[str] = (),
    hidden: Circle | None = None,
    inliers: Mapping[str, int] = MappingProxyType({}),
) -> Terms:
    """The terms of the first of these matches, one at least (see `search`).

    `without`: sources that are not asked. `hidden`: as if nothing in that circle were indexed. `inliers`: matching
    points by capture id, as far as they were counted.
    """
    best = matches.row(0, named=True)
    others = [source for source in covering(best) if source not in without]
    asked = partial(search, views, index, store, _ASKED_OF_A_SOURCE, area=area, hidden=hidden)
    found = {source: asked(where={"source": source}).rows(named=True) for source in others}
    said = _said(best, found, Copies.among([best, *chain.from_iterable(found.values())], index))
    return Terms(
        cosine=best["score"],
        margin=_margin(matches),
        agreeing=tuple(source for source, is_here in said.items() if is_here),
        disagreeing=tuple(source for source, is_here in said.items() if not is_here),
        inliers=inliers.get(best["capture_id"]),
    )


def _said(best: Match, found: Mapping[str, Sequence[Match]], copies: Copies) -> dict[str, bool]:
    """Whether each source by itself finds the place of the best match: its first that is no copy of that, nor of what
    another said before. One that has only copies says nothing."""
    witnesses, said = [best], dict[str, bool]()
    for source, matches in found.items():
        own = (match for match in matches if not any(copies.are(witness, match) for witness in witnesses))
        if witness := next(own, None):
            witnesses.append(witness)
            apart_m = distance_m(best["lon"], best["lat"], witness["lon"], witness["lat"])
            said[source] = apart_m <= SAME_PLACE_M
    return said


def covering(best: Match) -> list[str]:
    """The other sources that show the place of a match."""
    return [source for source in orjson.loads(best["covered_by"] or "[]") if source != best["source"]]


def _margin(matches: pl.DataFrame) -> float:
    """Where all matches are of one place, the last of them: what comes after is less alike than that."""
    elsewhere = matches.filter(pl.col("distance_m") > OTHER_PLACE_M)["score"]
    return float(matches["score"][0] - (elsewhere[0] if len(elsewhere) else matches["score"][-1]))
