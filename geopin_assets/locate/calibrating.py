"""What is learned from answers whose truth is known: a calibration, and whether matching points decide the order.

Questions are divided into folds by creator and block of cells, so that no drive is on both sides: what is judged, and
what may be called found, comes from calibrations that have not seen the question. Not here: the model of confidence
(`confidence.py`), which terms it counts (`choosing.py`), asking (`evaluation.py`), figures of answers (`figures.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.choosing import Chosen, choose
from geopin_assets.locate.confidence import PLAIN, Calibration, are_enough, bounded, features, fit
from geopin_assets.locate.evaluation import Answer
from geopin_assets.locate.resampling import folds, interval
from geopin_assets.locate.terms import SAME_PLACE_M, Terms


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
    for known, held in folds(_groups(answers)):
        calibration = calibrate([answers[n] for n in known], model_id, {})
        confidence = calibration.confidences_of([answers[n].terms for n in held])
        judged.confidence[held] = confidence
        judged.radius_m[held] = [calibration.radius_m(each) for each in confidence]
        judged.status[held] = [calibration.status(each) for each in confidence]
        asked = [n for n in held if answers[n].is_confirmed]
        unseen = calibration.confidences_of([_nowhere(answers[n]) for n in asked])
        judged.nowhere[asked] = [calibration.status(each) for each in unseen]
    return judged


def calibrate(answers: list[Answer], model_id: str, provenance: Mapping[str, object]) -> Calibration:
    """A calibration from these answers. Raises ValueError where they are too few, or all right or wrong.

    A term is counted only where that is shown to help, and matching points decide the order only if that finds more,
    beyond its interval. What may be called found is decided by photos of places that are not covered, with confidences
    of calibrations that have not seen them.
    """
    given, reorders = final(answers), _reorders(answers)
    plain, verified = chosen_terms(given)
    about = {**provenance, "gains": {"plain": _told(plain), "verified": verified and _told(verified)}}
    counted = {"plain_terms": plain.terms, "verified_terms": (verified or plain).terms}

    def fitted(known: Sequence[Answer]) -> Calibration:
        errors_m = np.array([answer.error_m for answer in known])
        return fit(model_id, [answer.terms for answer in known], errors_m, about, **counted, reorders=reorders)

    asked, unseen = [], []
    for known, held in folds(_groups(given)):
        nowhere = [_nowhere(given[n]) for n in held if given[n].is_confirmed]
        asked += nowhere
        unseen += [*fitted([given[n] for n in known]).confidences_of(nowhere)] if nowhere else []
    return bounded(fitted(given), asked, np.array(unseen))


def chosen_terms(given: Sequence[Answer]) -> tuple[Chosen, Chosen | None]:
    """The terms that these answers show to help, without matching points and with them, where enough were counted."""
    x, groups = features([answer.terms for answer in given]), _groups(given)
    is_right = np.array([answer.error_m <= SAME_PLACE_M for answer in given])
    plain = choose(x[:, :PLAIN], is_right, groups)
    pointed = [n for n, answer in enumerate(given) if answer.terms.inliers is not None]
    if not are_enough(is_right[pointed]):
        return plain, None
    return plain, choose(x[pointed], is_right[pointed], [groups[n] for n in pointed])


def _told(chosen: Chosen) -> dict[str, dict[str, float]]:
    return {term: gain._asdict() for term, gain in chosen.gains.items()}


def _groups(answers: Sequence[Answer]) -> list[str]:
    return [answer.question.group for answer in answers]


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
