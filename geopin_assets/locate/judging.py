"""Which references the other sources contradict: taken elsewhere, turned around, or showing something else.

A published capture is asked of the other sources as a photo is (`evaluation.py`). Each is told for or against where it
says that it was taken, and two that contradict each other are judged by who else confirms them: the one with fewer
witnesses is blamed, one against one makes both doubtful. How sure a contradiction must be is decided by what chance
brings: of photos whose place was hidden some are found elsewhere too, and of all doubts at most CHANCE may be such.
Here: that judgment. Not here: asking, the list of doubts (`outliers.py`), or showing it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log1p

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.locate.confidence import Calibration
from geopin_assets.locate.evaluation import Answer, Neighbor, Seen, degrees_between
from geopin_assets.locate.outliers import SCHEMA, Doubt
from geopin_assets.locate.terms import OTHER_PLACE_M, SAME_PLACE_M
from geopin_assets.locate.witnesses import Match

CHANCE = 0.1
"""Of the captures doubted for a reason, so many may be contradicted by chance."""
TURNED_DEG, SAME_WAY_DEG = 90.0, 60.0
SPREADS = 3.0
"""So far below what is usual of two views of one sight, in standard deviations (by the median): they are not."""
UNDECIDED = 0.5
"""Trust of a capture where one contradicts one; of what is blamed it is lower."""
_FEWEST_TO_KNOW = 20


@dataclass(frozen=True, slots=True)
class Case:
    """What the others say of one capture."""

    asked: Answer
    answer: Answer
    """As it is given."""
    sure: float
    supports: frozenset[str]
    """Sources that find it where it says, looking the way it says."""
    own_from: float
    """How alike the photos of a drive are: what is less alike is another one's."""

    @property
    def is_own_with_it(self) -> bool:
        """Whether the rest of its drive is where it says, looking that way."""
        return self.asked.own is not None and _is_with(self.asked.own, OTHER_PLACE_M)

    def own_is_with(self, match: Match) -> bool:
        """Whether the rest of its drive is where this match is, looking the same way, and not where it says."""
        if self.asked.own is None or self.is_own_with_it or self.asked.own.row["score"] < self.own_from:
            return False
        own = self.asked.own.row
        off_deg = degrees_between(own["heading_deg"], match["heading_deg"])
        apart_m = distance_m(own["lon"], own["lat"], match["lon"], match["lat"])
        return apart_m <= OTHER_PLACE_M and (off_deg is None or off_deg <= SAME_WAY_DEG)

    @property
    def claims(self) -> Doubt | None:
        """What the answer says is wrong with it."""
        off_deg = degrees_between(self.answer.question.row["heading_deg"], self.answer.best["heading_deg"])
        if self.answer.error_m > OTHER_PLACE_M:
            return Doubt.MOVED
        if self.answer.error_m <= SAME_PLACE_M and (off_deg or 0) > TURNED_DEG:
            return Doubt.TURNED
        return None


def judge(answers: Sequence[Answer], calibration: Calibration, now: datetime) -> pl.DataFrame:
    """The doubtful among the captures that were asked, least trusted first, with the columns of SCHEMA."""
    likeness, own_from = _Likeness(answers), _own_from(answers)
    cases = {
        answer.question.row["capture_id"]: _case(answer, calibration, likeness.few, own_from) for answer in answers
    }
    rows = {row["capture_id"]: row for row in (*_unlike(cases, likeness, now), *_contradicted(cases, calibration, now))}
    return pl.DataFrame([*rows.values()], schema=SCHEMA).sort("trust", "capture_id")


def _contradicted(cases: Mapping[str, Case], calibration: Calibration, now: datetime) -> Iterator[dict[str, object]]:
    """Those that are found at another place, or at theirs looking the other way."""
    chance = _by_chance([case.asked for case in cases.values()], calibration)
    for reason in (Doubt.MOVED, Doubt.TURNED):
        claims = [case for case in cases.values() if case.claims is reason]
        sure = surest(np.array([case.sure for case in claims]), chance)
        for case in claims:
            best, own = case.answer.best, case.own_is_with(case.answer.best)
            theirs = frozenset(case.answer.terms.agreeing) | _supports(cases, best)
            trust = _trust(case, theirs, best, own)
            if (case.sure >= sure or own) and trust is not None:
                yield _row(case, reason, trust, best, theirs, now)


def _unlike(cases: Mapping[str, Case], likeness: "_Likeness", now: datetime) -> Iterator[dict[str, object]]:
    """Those that look like nothing that others show from there in their direction, or only like what is behind them."""
    for case in cases.values():
        same = [each for each in case.asked.question.beside if each.shows_the_same]
        behind = [each for each in case.asked.question.beside if each.off_deg > TURNED_DEG]
        turned = [each for each in behind if likeness.is_like(case.asked, each)]
        others = turned or same or (behind if likeness.is_strange(case.asked) else [])
        if not others or not likeness.is_unlike(case.asked, same):
            continue
        against = others[0].row
        theirs = frozenset(each.row["source"] for each in (*same, *others))
        theirs = theirs.union(*(_supports(cases, each.row) for each in (*same, *others)))
        trust = _trust(case, theirs, against, bool(turned) and case.own_is_with(against))
        if trust is not None:
            yield _row(case, Doubt.TURNED if turned else Doubt.UNLIKE, trust, against, theirs, now)


def _supports(cases: Mapping[str, Case], match: Match) -> frozenset[str]:
    """Sources that confirm a capture, as far as they were asked."""
    case = cases.get(match["capture_id"])
    return case.supports if case else frozenset()


def surest(claims: NDArray[np.float64], chance: NDArray[np.float64]) -> float:
    """The lowest confidence from which at most CHANCE of the claims are brought by chance, judged by confidences
    that nothing but chance gave."""
    for sure in np.sort(claims):
        share = (1 + (chance >= sure).sum()) / (1 + len(chance))
        if share * len(claims) <= CHANCE * (claims >= sure).sum():
            return float(sure)
    return float("inf")


def _case(answer: Answer, calibration: Calibration, few: float, own_from: float) -> Case:
    given = (calibration.reorders and answer.by_points) or answer
    seen = [each for each in answer.seen if each.inliers is None or log1p(each.inliers) >= few]
    supports = {each.row["source"] for each in seen if _is_with(each, SAME_PLACE_M)}
    return Case(answer, given, calibration.confidence(given.terms), frozenset(supports), own_from)


def _own_from(answers: Sequence[Answer]) -> float:
    own = [answer.own.row["score"] for answer in answers if answer.own and _is_with(answer.own, OTHER_PLACE_M)]
    return _limits(own, [answer.nowhere.terms.cosine for answer in answers if answer.nowhere])[1]


def _is_with(seen: Seen, within_m: float) -> bool:
    return seen.error_m <= within_m and (seen.off_deg is None or seen.off_deg <= SAME_WAY_DEG)


def _by_chance(answers: Sequence[Answer], calibration: Calibration) -> NDArray[np.float64]:
    """Confidence of answers elsewhere for captures that were taken where they say."""
    hidden = [answer.nowhere for answer in answers if answer.is_confirmed and answer.nowhere]
    given = [(calibration.reorders and each.by_points) or each for each in hidden]
    return calibration.confidences_of([each.terms for each in given])


def _trust(case: Case, theirs: frozenset[str], against: Match, is_own_against: bool) -> float | None:
    """Of a contradicted capture; None where more confirms it than what contradicts it.

    `theirs`: sources that confirm what is `against` it. The two that contradict each other are no witnesses; the rest
    of its own drive is half of one.
    """
    two = {case.asked.question.source, against["source"]}
    mine, more = len(case.supports - two) + case.is_own_with_it / 2, len(theirs - two) + is_own_against / 2
    return None if mine > more else 0.5 ** (1 + more - mine)


class _Likeness:
    """What is like what, by matching points where they were counted, else by the likeness of whole images.

    Unlike is what is far below what pairs of one sight have, and no more than half of those of other places; strange
    what has fewer points with anything than photos have with places that they do not show.
    """

    few: float
    """Logarithm of the points below which two views do not show the same."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        elsewhere = [answer.nowhere for answer in answers if answer.is_confirmed and answer.nowhere]
        pairs = [(answer, each) for answer in answers for each in answer.question.beside if each.shows_the_same]
        wrong = [_log(each.terms.inliers) for each in elsewhere]
        self.few, self._many = _limits([_points(*pair) for pair in pairs], wrong)
        self._faint, self._clear = _limits([each.cosine for _, each in pairs], [e.terms.cosine for e in elsewhere])
        counted = [each for each in wrong if each is not None]
        self._strange = min(self.few, _usual(counted)) if len(counted) >= _FEWEST_TO_KNOW else -np.inf

    def is_unlike(self, answer: Answer, all_of: Sequence[Neighbor]) -> bool:
        return not self._above(answer, all_of, self.few, self._faint)

    def is_like(self, answer: Answer, one: Neighbor) -> bool:
        return self._above(answer, [one], self._many, self._clear)

    def is_strange(self, answer: Answer) -> bool:
        return bool(answer.points) and log1p(max(answer.points.values())) < self._strange

    @staticmethod
    def _above(answer: Answer, of: Sequence[Neighbor], points: float, cosine: float) -> bool:
        counted = [(_points(answer, each), each.cosine) for each in of]
        return any(likeness >= cosine if count is None else count >= points for count, likeness in counted)


def _points(answer: Answer, neighbor: Neighbor) -> float | None:
    return _log(answer.points.get(neighbor.row["capture_id"]))


def _log(points: int | None) -> float | None:
    """Their spread is in proportion."""
    return None if points is None else log1p(points)


def _limits(same: Sequence[float | None], elsewhere: Sequence[float | None]) -> tuple[float, float]:
    """Below which two views do not show the same, and from which on they do: robust, as some of `same` are wrong."""
    right, wrong = ([each for each in some if each is not None] for some in (same, elsewhere))
    if min(len(right), len(wrong)) < _FEWEST_TO_KNOW:
        return -np.inf, np.inf
    usual = _usual(right)
    return min(usual, float(np.median(wrong))), max(usual, float(np.quantile(wrong, 0.99)))


def _usual(values: Sequence[float]) -> float:
    """What nearly all are above: SPREADS below the median, by the median too."""
    middle = np.median(values)
    return float(middle - SPREADS * 1.4826 * np.median(np.abs(np.array(values) - middle)))


_OF_MINE = ("source", "lon", "lat", "heading_deg", "page_url", "attribution", "thumbnail_url")


def _row(
    case: Case, reason: Doubt, trust: float, other: Match, theirs: frozenset[str], now: datetime
) -> dict[str, object]:
    mine = case.asked.question.row
    return {
        "capture_id": mine["capture_id"], "reason": reason.value, "trust": trust,
        **{name: mine[name] for name in _OF_MINE},
        "says": other["capture_id"], "said_lon": other["lon"], "said_lat": other["lat"],
        "said_heading_deg": other["heading_deg"], "says_page_url": other["page_url"],
        "says_thumbnail_url": other["thumbnail_url"], "says_attribution": other["attribution"],
        "off_m": distance_m(mine["lon"], mine["lat"], other["lon"], other["lat"]),
        "off_deg": degrees_between(mine["heading_deg"], other["heading_deg"]),
        "witnesses": len(theirs | {other["source"]} - {mine["source"]}), "at": now,
    }  # fmt: skip
