"""Which terms a confidence rests on: those that are shown to tell right answers from wrong ones better.

Beside likeness, which is always counted, a term is taken only if with it the area under precision and recall of
answers that the weights have not seen is larger, beyond the 95 % interval of that difference: the one that adds most
first, then what adds to it. Not here: the model of confidence (`confidence.py`), or who asks (`calibrating.py`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.confidence import FEATURES_OF, fit_weights
from geopin_assets.locate.resampling import folds, interval


class Gain(NamedTuple):
    """By how much a term raises the area, beyond the terms that were taken before it."""

    area: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        return self.low > 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The terms to count, and what each that differs among the answers adds."""

    terms: tuple[str, ...]
    gains: dict[str, Gain]


@dataclass(frozen=True, slots=True)
class _Known:
    """Answers whose truth is known: features, float64 [N, F], and the group of each."""

    x: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    groups: Sequence[str]

    def confidence(self, counted: Collection[str]) -> NDArray[np.float64]:
        """Of each answer by weights that have not seen its group; nan where those could not be fitted."""
        confidence = np.full(len(self.x), np.nan)
        for known, held in folds(self.groups):
            if 0 < self.is_right[known].sum() < len(known):
                weights = fit_weights(self.x[known], self.is_right[known], counted)
                confidence[held] = weights.probability(self.x[held])
        return confidence

    def gain(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> Gain:
        """By the area; paired, over resampled groups."""
        there = np.flatnonzero(np.isfinite(before + after))
        if not len(there):
            return Gain(0.0, 0.0, 0.0)
        is_right, orders = self.is_right[there], [np.argsort(-each[there], kind="stable") for each in (before, after)]

        def grown(n: NDArray[np.intp]) -> float:
            counts = np.bincount(n, minlength=len(there))
            less, more = (_area(is_right[order], counts[order]) for order in orders)
            return more - less

        return Gain(grown(np.arange(len(there))), *interval([self.groups[int(n)] for n in there], grown))


def choose(x: NDArray[np.float64], is_right: NDArray[np.bool_], groups: Sequence[str]) -> Chosen:
    """The terms that answers with these features, float64 [N, F], show to help; likeness first."""
    known, counted, gains = _Known(x, is_right, groups), ["likeness"], dict[str, Gain]()
    before = known.confidence(counted)
    left = [term for term, at in FEATURES_OF.items() if term not in counted and x[:, at[0] : at[-1] + 1].any()]
    while left:
        after = {term: known.confidence([*counted, term]) for term in left}
        gains |= {term: known.gain(before, after[term]) for term in left}
        best = max((term for term in left if gains[term].is_shown), key=lambda term: gains[term].area, default=None)
        if best is None:
            break
        before = after[best]
        counted.append(best)
        left.remove(best)
    return Chosen(tuple(counted), gains)


def area(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Average precision: the mean precision at each right answer, surest first."""
    return _area(is_right[np.argsort(-confidence, kind="stable")], np.ones(len(is_right), np.intp))


def _area(is_right: NDArray[np.bool_], counts: NDArray[np.intp]) -> float:
    """The same of answers, surest first, each of which is there so many times."""
    right = is_right * counts
    precision = np.cumsum(right) / np.maximum(np.cumsum(counts), 1)
    return float(right @ precision) / max(int(right.sum()), 1)
