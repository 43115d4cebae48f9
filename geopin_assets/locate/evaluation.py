"""Photos whose place is known, asked of the index without their own source.

Here: asking (leave one source out). A reference within 25 m makes a question solvable; those without one count too,
since people ask about places that are not covered, and each that can be solved is asked once more as if nothing around
its place were indexed. Not here: what is learned from answers (`calibrating.py`), or told of them (`figures.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.index.protocol import Readable, Searchable
from geopin_assets.locate.search import Circle, reordered, search
from geopin_assets.locate.terms import SAME_PLACE_M, Terms, covering, gather
from geopin_assets.locate.witnesses import TWIN, Match, is_copy, is_near

SAME_WAY_DEG = 30.0
HIDDEN_M = 500.0
"""Where nothing is indexed within that, a place is not covered, nor shown by a capture whose position is off."""


class Neighbor(NamedTuple):
    """A view from the same place, of another source."""

    row: Match
    cosine: float
    off_deg: float
    """Between the directions of the two."""

    @property
    def shows_the_same(self) -> bool:
        return self.off_deg <= SAME_WAY_DEG


@dataclass(frozen=True, slots=True)
class Question:
    """A published capture as a photo: its own unit vectors, float32 [V, dim], and the truth."""

    row: Match
    group: str
    """Questions of one drive, or of one creator in one block, share it."""
    views: NDArray[np.float32]
    beside: "tuple[Neighbor, ...]" = ()
    """What other sources show from there: see `samples.Around`."""

    @property
    def source(self) -> str:
        return str(self.row["source"])

    @property
    def is_solvable(self) -> bool:
        """Whether another source shows the place."""
        return bool(covering(self.row))

    @property
    def around(self) -> Circle:
        """What is hidden where the place shall not be covered."""
        return self.row["lon"], self.row["lat"], HIDDEN_M

    def is_among(self, matches: pl.DataFrame) -> bool:
        """Whether its photo, or its drive at that moment, was posted elsewhere too: that would answer itself."""
        rows = [row for row in matches.rows(named=True) if is_near(self.row, row)]
        return any(row["score"] >= TWIN or is_copy(self.row, row) for row in rows)

    def seen_as(self, embedding: Sequence[float] | None) -> "Question | None":
        """The same question with another vector; None for none."""
        return None if embedding is None else replace(self, views=np.array([embedding], dtype=np.float32))

    def errors_m(self, matches: pl.DataFrame) -> tuple[float, ...]:
        """How far matches are from the truth."""
        places = matches.select("lon", "lat").iter_rows()
        return tuple(distance_m(self.row["lon"], self.row["lat"], *place) for place in places)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for a question. Of the matches, best first, up to ten: how far off they are."""

    question: Question
    best: Match
    terms: Terms
    errors_m: tuple[float, ...]
    found: tuple[tuple[str, float], ...] = ()
    """All matches, best first: capture, and how far off it is."""
    by_points: "Answer | None" = None
    """The answer in the order of matching points, where those were counted."""
    seen: "tuple[Seen, ...]" = ()
    """The best match of each source, by likeness and by points."""
    own: "Seen | None" = None
    """The most alike of its own source, mostly of the same drive: it settles what others leave open."""
    points: Mapping[str, int] = field(default_factory=dict)
    """Matching points of all that were compared, by capture id."""
    nowhere: "Answer | None" = None
    """What would have been answered were nothing indexed within HIDDEN_M: as of a photo of a place that is not
    covered. Of solvable questions."""

    @property
    def error_m(self) -> float:
        return self.errors_m[0]

    @property
    def is_confirmed(self) -> bool:
        """Whether another source shows that the capture was taken where it says, and something lies farther away:
        only then an answer elsewhere (`nowhere`) is known to be wrong."""
        return self.error_m <= SAME_PLACE_M and self.nowhere is not None

    @property
    def others(self) -> list[str]:
        """The other sources that show the place of the question."""
        return covering(self.question.row)


class Seen(NamedTuple):
    """A match as a witness for or against where its question says that it was taken."""

    row: Match
    error_m: float
    off_deg: float | None
    inliers: int | None

    @classmethod
    def of(cls, asked: Match, row: Match, inliers: Mapping[str, int]) -> "Seen":
        error_m = distance_m(asked["lon"], asked["lat"], row["lon"], row["lat"])
        off_deg = degrees_between(asked["heading_deg"], row["heading_deg"])
        return cls(row, error_m, off_deg, inliers.get(row["capture_id"]))


def degrees_between(one: float | None, other: float | None) -> float | None:
    """Angle between two directions, 0 to 180."""
    return None if one is None or other is None else abs((one - other + 180) % 360 - 180)


Compare = Callable[[Question, Sequence[Match]], Mapping[str, int]]
"""Counts the points that match a question's image, by capture id."""


def ask(
    questions: Iterable[Question], index: Searchable, store: Readable, compare: Compare | None = None, top: int = 10
) -> Iterator[Answer]:
    """The answers of the other sources. Questions to which they have nothing at all, or the photo itself, are passed
    over.

    With `compare` the first `top` matches of each are compared with its image.
    """
    for question in questions:
        matches = search(question.views, index, store, where={"source": {"$ne": question.source}})
        if matches.is_empty() or question.is_among(matches):
            continue
        away = matches.clear()
        if question.is_solvable:  # a photo from there would be asked of its own source as well
            away = search(question.views, index, store, hidden=question.around)
        inliers = compare(question, _to_compare(question, matches, away, top)) if compare else {}
        answers = _Answers(question, index, store, inliers, top)
        yield replace(
            answers.of(matches, without=(question.source,)),
            nowhere=answers.of(away, hidden=question.around) if away.height else None,
            seen=_seen(question, matches, inliers),
            own=_own(question, index, store),
            points=inliers,
        )


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers to one question, whose matching points were counted."""

    question: Question
    index: Searchable
    store: Readable
    inliers: Mapping[str, int]
    top: int

    def of(self, found: pl.DataFrame, hidden: Circle | None = None, without: tuple[str, ...] = ()) -> Answer:
        """From these matches, and beside it from the first of them in the order of points: no other may come forward
        by its points, nor would it in an answer."""
        first = found["capture_id"].head(self.top)
        counted = {capture_id: self.inliers[capture_id] for capture_id in first if capture_id in self.inliers}
        by_points = self._one(reordered(found, counted), hidden, without) if counted else None
        return replace(self._one(found, hidden, without), by_points=by_points)

    def _one(self, found: pl.DataFrame, hidden: Circle | None, without: tuple[str, ...]) -> Answer:
        views, inliers = self.question.views, self.inliers
        terms = gather(views, found, self.index, self.store, without=without, hidden=hidden, inliers=inliers)
        errors_m = self.question.errors_m(found)
        all_found = tuple(zip(found["capture_id"], errors_m, strict=True))
        return Answer(self.question, found.row(0, named=True), terms, errors_m[:10], all_found)


def _own(question: Question, index: Searchable, store: Readable) -> Seen | None:
    found = search(question.views, index, store, 2, where={"source": question.source})
    others = [row for row in found.rows(named=True) if row["capture_id"] != question.row["capture_id"]]
    return Seen.of(question.row, others[0], {}) if others else None


def _to_compare(question: Question, matches: pl.DataFrame, away: pl.DataFrame, top: int) -> list[Match]:
    """The first matches, those of other places, and of a suspect what it should look like."""
    first = pl.concat([matches.head(top), away.head(top)]).rows(named=True)
    best = first[0]["capture_id"]
    is_suspect = not any(each.shows_the_same and each.row["capture_id"] == best for each in question.beside)
    beside = [each.row for each in question.beside] if is_suspect else []
    return list({match["capture_id"]: match for match in (*first, *beside)}.values())


def _seen(question: Question, matches: pl.DataFrame, inliers: Mapping[str, int]) -> tuple[Seen, ...]:
    """The best of each source, by likeness and by points."""
    seen = []
    for (_source,), of_source in matches.group_by("source", maintain_order=True):
        rows = of_source.rows(named=True)
        most = max(rows, key=lambda row: inliers.get(row["capture_id"], -1))
        seen += [Seen.of(question.row, row, inliers) for row in {id(row): row for row in (rows[0], most)}.values()]
    return tuple(seen)
