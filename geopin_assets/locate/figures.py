"""How good answers are, in figures with their intervals.

Figures are of answers by a calibration that has not seen them. Not here: calibrations (`calibrating.py`), what is kept
and shown (`history.py`, `defs/`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.calibrating import Learned, cross_fitted
from geopin_assets.locate.choosing import Gain, area
from geopin_assets.locate.evaluation import Answer
from geopin_assets.locate.location import FOUND, NOT_COVERED
from geopin_assets.locate.resampling import Figure, interval
from geopin_assets.locate.terms import SAME_PLACE_M

_BINS = 15
_TENTHS = 10
_SHARES = (20, 40, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a set of answers. Intervals are 95 %, by resampling groups."""

    answers: int
    solvable: int
    recall: dict[str, float]
    """Of the answers as they would be given: share of solvable questions with a right one among the first 1, 5, 10
    matches, at 25 and 50 m: `1@25`, …"""
    recall_by_likeness: dict[str, float]
    """The same before matching points were counted."""
    recall_by_points: dict[str, float] | None
    """The same in the order of matching points, of the questions whose points were counted."""
    intervals: dict[str, tuple[float, float]]
    """Of `recall` (`1@25`), `ece`, `inside_radius`, `false_found` and `unshown_found`."""
    median_error_m: float
    auprc: float
    """Area under precision over recall of `right within 25 m`, ordered by confidence."""
    ece: float
    """Expected calibration error over 15 bins of equal size."""
    brier: float
    inside_radius: float
    """Share of answers whose error is within `radius_m`; 0.68 is right."""
    nowhere: int
    """Questions whose place another source confirms, asked again with everything within HIDDEN_M hidden."""
    false_found: float
    """Share of these that were called found."""
    nowhere_told: float
    """Share of these that were called not covered."""
    unshown_found: float
    """Share of captures that no other source shows, but that were called found: of covered places where they are
    published at a wrong one."""
    found: float
    found_right: float
    """Share of answers called found, and how many of them are right within 25 m."""
    risk_at: dict[str, float]
    """Share of wrong answers among the surest 20, 40, 60, 80 and 100 %."""
    gains: dict[str, Gain]
    """By how much each term raises `auprc`, beyond likeness and what was taken before it: what is not shown to is not
    counted. With matching points where enough were counted."""
    agreement_at_equal_cosine: tuple[float, float, float]
    """How much oftener answers are right where another source agrees than where none does, at equal likeness."""
    reordering_gain: tuple[float, float, float] | None
    """By how much the order of matching points raises `1@25`, with its interval; None where none were counted."""


def figures(learned: Learned, model_id: str) -> Figures:
    """Raises ValueError where there are too few answers for folds with right and wrong ones in each."""
    answers, by_points = learned.given, [answer.by_points for answer in learned.asked if answer.by_points]
    confidence, radius_m, status, nowhere = cross_fitted(answers, model_id)
    error_m = np.array([answer.error_m for answer in answers])
    is_right, solvable = error_m <= SAME_PLACE_M, np.array([answer.question.is_solvable for answer in answers])
    is_found, is_inside = status == FOUND, error_m <= radius_m
    groups = [answer.question.group for answer in answers]
    surest = np.argsort(-confidence, kind="stable")
    told: dict[str, Figure] = {
        "recall": lambda n: _share(is_right[n][solvable[n]]),
        "ece": lambda n: ece(confidence[n], is_right[n]),
        "inside_radius": lambda n: _share(is_inside[n]),
        "false_found": lambda n: _share(nowhere[n][nowhere[n] != ""] == FOUND),
        "unshown_found": lambda n: _share(is_found[n][~solvable[n]]),
    }
    everything = np.arange(len(answers))
    return Figures(
        answers=len(answers),
        solvable=int(solvable.sum()),
        recall=_recalls(answers),
        recall_by_likeness=_recalls(learned.asked),
        recall_by_points=_recalls(by_points) if by_points else None,
        intervals={name: interval(groups, figure) for name, figure in told.items()},
        median_error_m=float(np.median(error_m)),
        auprc=area(confidence, is_right),
        ece=told["ece"](everything),
        brier=float(((confidence - is_right) ** 2).mean()),
        inside_radius=told["inside_radius"](everything),
        nowhere=int((nowhere != "").sum()),
        false_found=told["false_found"](everything),
        nowhere_told=_share(nowhere[nowhere != ""] == NOT_COVERED),
        unshown_found=told["unshown_found"](everything),
        found=_share(is_found),
        found_right=_share(is_right[is_found]),
        risk_at={f"{p}%": float(1 - is_right[surest[: max(1, len(surest) * p // 100)]].mean()) for p in _SHARES},
        gains=learned.chosen.gains,
        agreement_at_equal_cosine=agreement_at_equal_cosine(answers),
        reordering_gain=learned.reordering_gain,
    )


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if len(of) else 0.0


def ece(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence from the share of right answers, over bins of equal size."""
    bins = np.array_split(np.argsort(confidence), min(_BINS, len(confidence)))
    return float(sum(len(n) * abs(confidence[n].mean() - is_right[n].mean()) for n in bins) / len(confidence))


def _recalls(answers: list[Answer]) -> dict[str, float]:
    return {f"{k}@{m}": _recall(answers, k, m) for m in (25, 50) for k in (1, 5, 10)}


def _recall(answers: list[Answer], k: int, within_m: float) -> float:
    asked = [answer for answer in answers if answer.question.is_solvable]
    return float(np.mean([min(answer.errors_m[:k]) <= within_m for answer in asked])) if asked else 0.0


def agreement_at_equal_cosine(answers: Sequence[Answer]) -> tuple[float, float, float]:
    """Of answers whose place other sources show: the share of right ones where one agrees, less that where none does.

    Compared within tenths of the answers by likeness, each weighed by how many pairs it has to compare.
    """
    asked = [answer for answer in answers if answer.terms.agreeing or answer.terms.disagreeing]
    if len(asked) < _TENTHS:
        return 0.0, 0.0, 0.0
    is_right = np.array([answer.error_m <= SAME_PLACE_M for answer in asked])
    agrees = np.array([bool(answer.terms.agreeing) for answer in asked])
    tenth = np.argsort(np.argsort([answer.terms.cosine for answer in asked])) * _TENTHS // len(asked)

    def gain(n: NDArray[np.intp]) -> float:
        of = [(n[(tenth[n] == t) & agrees[n]], n[(tenth[n] == t) & ~agrees[n]]) for t in range(_TENTHS)]
        pairs = [
            (is_right[yes].mean() - is_right[no].mean(), min(len(yes), len(no))) for yes, no in of if len(yes) * len(no)
        ]
        return float(np.average([g for g, _ in pairs], weights=[w for _, w in pairs])) if pairs else 0.0

    return gain(np.arange(len(asked))), *interval([a.question.group for a in asked], gain)
