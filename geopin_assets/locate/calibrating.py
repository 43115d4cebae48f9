"""What is learned from answers whose truth is known: which terms count, what decides the order, and a calibration.

Questions are divided into folds by creator and block of cells, so that no drive is on both sides: what is judged, and
what may be called found, comes from calibrations that have not seen the question. Not here: the model of confidence
(`confidence.py`), which terms it counts (`choosing.py`), asking (`evaluation.py`), figures of answers (`figures.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.choosing import Chosen, choose
from geopin_assets.locate.confidence import PLAIN, Calibration, are_enough, bounded, features, fit
from geopin_assets.locate.evaluation import Answer
from geopin_assets.locate.resampling import folds, interval
from geopin_assets.locate.terms import SAME_PLACE_M, Terms


@dataclass(frozen=True, slots=True)
class Learned:
    """What answers show, once for all that is made of them."""

    asked: list[Answer]
    """In the order of likeness."""
    given: list[Answer]
    """As they would be given: in the order of matching points if that finds more, beyond its interval."""
    reordering_gain: tuple[float, float, float] | None
    """By how much the order of matching points finds more, with its interval; None where none were counted."""
    plain: Chosen
    """The terms that these answers show to help."""
    verified: Chosen | None
    """The same with matching points, where enough were counted."""

    @property
    def reorders(self) -> bool:
        return _is_shown(self.reordering_gain)

    @property
    def chosen(self) -> Chosen:
        """With matching points where enough were counted."""
        return self.verified or self.plain


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
        calibration = calibrate(learn([answers[n] for n in known]), model_id, {})
        confidence = calibration.confidences_of([answers[n].terms for n in held])
        judged.confidence[held] = confidence
        judged.radius_m[held] = [calibration.radius_m(each) for each in confidence]
        judged.status[held] = [calibration.status(each) for each in confidence]
        asked = [n for n in held if answers[n].is_confirmed]
        unseen = calibration.confidences_of([_nowhere(answers[n]) for n in asked])
        judged.nowhere[asked] = [calibration.status(each) for each in unseen]
    return judged


def learn(answers: list[Answer]) -> Learned:
    """What these answers show."""
    gain = _reordering_gain(answers)
    given = [_as_given(answer, by_points=_is_shown(gain)) for answer in answers]
    return Learned(answers, given, gain, *_chosen_terms(given))


def calibrate(learned: Learned, model_id: str, provenance: Mapping[str, object]) -> Calibration:
    """A calibration from known answers. Raises ValueError where they are too few, or all right or wrong.

    A term is counted only where that is shown to help, and matching points decide the order only if that finds more,
    beyond its interval. What may be called found is decided by photos of places that are not covered, with confidences
    of calibrations that have not seen them.
    """
    given, plain, verified = learned.given, learned.plain, learned.verified
    about = {**provenance, "gains": {"plain": _told(plain), "verified": verified and _told(verified)}}
    counted = {"plain_terms": plain.terms, "verified_terms": learned.chosen.terms}

    def fitted(known: Sequence[Answer]) -> Calibration:
        errors_m = np.array([answer.error_m for answer in known])
        return fit(model_id, [answer.terms for answer in known], errors_m, about, **counted, reorders=learned.reorders)

    asked, unseen = [], []
    for known, held in folds(_groups(given)):
        nowhere = [_nowhere(given[n]) for n in held if given[n].is_confirmed]
        asked += nowhere
        unseen += [*fitted([given[n] for n in known]).confidences_of(nowhere)] if nowhere else []
    return bounded(fitted(given), asked, np.array(unseen))


def _chosen_terms(given: Sequence[Answer]) -> tuple[Chosen, Chosen | None]:
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


def _as_given(answer: Answer, *, by_points: bool) -> Answer:
    given = (by_points and answer.by_points) or answer
    nowhere = answer.nowhere and _as_given(answer.nowhere, by_points=by_points)
    return replace(given, nowhere=nowhere, by_points=None)


def _is_shown(gain: tuple[float, float, float] | None) -> bool:
    return gain is not None and gain[1] > 0


def _reordering_gain(answers: Sequence[Answer]) -> tuple[float, float, float] | None:
    """Of solvable questions whose matches were compared with their image."""
    compared = [(a, a.by_points) for a in answers if a.by_points and a.question.is_solvable]
    if not compared:
        return None
    won = np.array([float(b.error_m <= SAME_PLACE_M) - float(a.error_m <= SAME_PLACE_M) for a, b in compared])
    return float(won.mean()), *interval([a.question.group for a, _ in compared], lambda n: float(won[n].mean()))
