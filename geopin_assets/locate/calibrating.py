"""What is learned from answers whose truth is known: a calibration, and whether matching points decide the order.

Questions are divided into folds by creator and block of cells, so that no drive is on both sides: what is judged, and
what may be called found, comes from calibrations that have not seen the question. Not here: the model of confidence
(`confidence.py`), asking (`evaluation.py`), figures of answers (`figures.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.confidence import Calibration, bounded, fit
from geopin_assets.locate.evaluation import Answer
from geopin_assets.locate.resampling import interval
from geopin_assets.locate.terms import SAME_PLACE_M, Terms

FOLDS = 5


class Judged(NamedTuple):
    """Answers as judged by calibrations that have not seen them."""

    confidence: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    status: NDArray[np.str_]
    nowhere: NDArray[np.str_]
    """Status of `Answer.nowhere`; empty where there is none, or `is_confirmed` is not."""


def cross_fitted(answers: list[Answer], model_id: str) -> Judged:
    """Each answer by a calibration fitted on the other folds."""
    judged = Judged(*np.zeros((2, len(answers))), *np.full((2, len(answers)), "", dtype="<U16"))
    for known, held in _folds(answers):
        calibration = calibrate(known, model_id, {})
        confidence = calibration.confidences_of([answers[n].terms for n in held])
        judged.confidence[held] = confidence
        judged.radius_m[held] = [calibration.radius_m(each) for each in confidence]
        judged.status[held] = [calibration.status(each) for each in confidence]
        asked = [n for n in held if answers[n].is_confirmed]
        unseen = calibration.confidences_of([_nowhere(answers[n]) for n in asked])
        judged.nowhere[asked] = [calibration.status(each) for each in unseen]
    return judged


def _folds(answers: Sequence[Answer]) -> Iterator[tuple[list[Answer], list[int]]]:
    """All but one fold, and the numbers of those in it."""
    fold = [crc32(answer.question.group.encode()) % FOLDS for answer in answers]
    for number in set(fold):
        known = [answer for answer, its in zip(answers, fold, strict=True) if its != number]
        yield known, [n for n, its in enumerate(fold) if its == number]


def calibrate(
    answers: list[Answer], model_id: str, provenance: Mapping[str, object], *, use_agreement: bool = True
) -> Calibration:
    """A calibration from these answers. Raises ValueError where they are too few, or all right or wrong.

    Matching points decide the order from then on if that finds more, beyond its interval. What may be called found is
    decided by photos of places that are not covered, with confidences of calibrations that have not seen them.
    """
    given, reorders = final(answers), _reorders(answers)

    def fitted(known: Sequence[Answer]) -> Calibration:
        errors_m = np.array([answer.error_m for answer in known])
        terms = [answer.terms for answer in known]
        return fit(model_id, terms, errors_m, provenance, use_agreement=use_agreement, reorders=reorders)

    asked, unseen = [], []
    for known, held in _folds(given):
        nowhere = [_nowhere(given[n]) for n in held if given[n].is_confirmed]
        asked += nowhere
        unseen += [*fitted(known).confidences_of(nowhere)] if nowhere else []
    return bounded(fitted(given), asked, np.array(unseen))


def _nowhere(answer: Answer) -> Terms:
    if answer.nowhere is None:
        raise ValueError("of a question that nothing was hidden from")
    return answer.nowhere.terms


def final(answers: list[Answer]) -> list[Answer]:
    """The answers as they would be given: in the order of matching points if that finds more, beyond its interval."""
    by_points = _reorders(answers)
    return [_as_given(answer, by_points=by_points) for answer in answers]


def _as_given(answer: Answer, *, by_points: bool) -> Answer:
    given = (by_points and answer.by_points) or answer
    nowhere = answer.nowhere and _as_given(answer.nowhere, by_points=by_points)
    return replace(given, nowhere=nowhere, by_points=None)


def _reorders(answers: list[Answer]) -> bool:
    gain = reordering_gain(answers)
    return gain is not None and gain[1] > 0


def reordering_gain(answers: Sequence[Answer]) -> tuple[float, float, float] | None:
    """Of solvable questions whose matches were compared with their image."""
    compared = [(a, a.by_points) for a in answers if a.by_points and a.question.is_solvable]
    if not compared:
        return None
    won = np.array([float(b.error_m <= SAME_PLACE_M) - float(a.error_m <= SAME_PLACE_M) for a, b in compared])
    return float(won.mean()), *interval([a.question.group for a, _ in compared], lambda n: float(won[n].mean()))
