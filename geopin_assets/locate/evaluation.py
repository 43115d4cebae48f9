"""How good answers are: photos whose place is known, asked of the index without their own source.

Here: asking (leave one source out), and the figures of the answers. A reference within 25 m makes a question solvable;
those without one count too, since people ask about places that are not covered. Figures are of answers by a
calibration that has not seen them: questions are divided into folds by creator and block of cells, so that no drive is
on both sides. Not here: the model of confidence (`confidence.py`), what is kept and shown (`defs/`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.index.protocol import Readable, Searchable
from geopin_assets.locate.confidence import Calibration, fit
from geopin_assets.locate.search import reordered, search
from geopin_assets.locate.terms import SAME_PLACE_M, Terms, covering, gather
from geopin_assets.locate.witnesses import Match

FOLDS = 5
_BINS = 15
_TENTHS = 10
_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """A published capture as a photo: its own unit vectors, float32 [V, dim], and the truth."""

    row: Match
    group: str
    """Questions of one drive, or of one creator in one block, share it."""
    views: NDArray[np.float32]
    here: float | None = None
    """How alike it is to what other sources show there in its direction; None where fewer than two do."""

    @property
    def source(self) -> str:
        return str(self.row["source"])

    @property
    def is_solvable(self) -> bool:
        """Whether another source shows the place."""
        return bool(covering(self.row))

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

    @property
    def error_m(self) -> float:
        return self.errors_m[0]

    @property
    def others(self) -> list[str]:
        """The other sources that show the place of the question."""
        return covering(self.question.row)


Compare = Callable[[Question, Sequence[Match]], Mapping[str, int]]
"""Counts the points that match a question's image, by capture id."""


def ask(
    questions: Iterable[Question],
    index: Searchable,
    store: Readable,
    compare: Compare | None = None,
    top: int = 10,
    *,
    removed: tuple[str, ...] = (),
) -> Iterator[Answer]:
    """The answers of the other sources; questions to which they have nothing at all are passed over.

    With `compare` the first `top` matches of each are compared with its image. `removed`: as if these sources were not
    indexed at all.
    """
    for question in questions:
        without = (question.source, *removed)
        matches = search(question.views, index, store, where={"source": {"$nin": list(without)}})
        if matches.is_empty():
            continue
        inliers = compare(question, matches.head(top).rows(named=True)) if compare else {}

        def answer(ordered: pl.DataFrame) -> Answer:
            terms = gather(question.views, ordered, index, store, without=without, inliers=inliers)  # noqa: B023
            errors_m = question.errors_m(ordered)  # noqa: B023
            found = tuple(zip(ordered["capture_id"], errors_m, strict=True))
            return Answer(question, ordered.row(0, named=True), terms, errors_m[:10], found)  # noqa: B023

        by_points = answer(reordered(matches, inliers)) if inliers else None
        yield replace(answer(matches), by_points=by_points)


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
    """Of `recall` (`1@25`), `ece`, `inside_radius` and `false_found`."""
    median_error_m: float
    auprc: float
    """Area under precision over recall of `right within 25 m`, ordered by confidence."""
    ece: float
    """Expected calibration error over 15 bins of equal size."""
    brier: float
    inside_radius: float
    """Share of answers whose error is within `radius_m`; 0.68 is right."""
    false_found: float
    """Share of questions that no reference can answer, but that were called found."""
    found: float
    found_right: float
    """Share of answers called found, and how many of them are right within 25 m."""
    risk_at: dict[str, float]
    """Share of wrong answers among the surest 20, 40, 60, 80 and 100 %."""
    agreement_gain: tuple[float, float, float]
    """By how much agreement of sources raises `auprc`, with its interval."""
    agreement_at_equal_cosine: tuple[float, float, float]
    """How much oftener answers are right where another source agrees than where none does, at equal likeness."""
    reordering_gain: tuple[float, float, float] | None
    """By how much the order of matching points raises `1@25`, with its interval; None where none were counted."""


def cross_fitted(answers: list[Answer], model_id: str) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Confidence, radius in meters and status of each answer, by a calibration fitted on the other folds."""
    confidence, radius = np.zeros(len(answers)), np.zeros(len(answers))
    status = [""] * len(answers)
    fold = np.array([crc32(answer.question.group.encode()) % FOLDS for answer in answers])
    for number in range(FOLDS):
        known = [answer for answer, its in zip(answers, fold, strict=True) if its != number]
        held = np.flatnonzero(fold == number)
        if not len(held):
            continue
        calibration = calibrate(known, model_id, {})
        confidence[held] = calibration.confidences_of([answers[n].terms for n in held])
        radius[held] = [calibration.radius_m(confidence[n]) for n in held]
        for n in held:
            status[n] = calibration.status(confidence[n])
    return confidence, radius, status


def calibrate(
    answers: list[Answer], model_id: str, provenance: Mapping[str, object], *, use_agreement: bool = True
) -> Calibration:
    """A calibration from these answers. Raises ValueError where they are too few, or all right or wrong.

    Matching points decide the order from then on if that finds more, beyond its interval.
    """
    given = final(answers)
    return fit(
        model_id,
        [answer.terms for answer in given],
        np.array([answer.error_m for answer in given]),
        np.array([answer.question.is_solvable for answer in given]),
        provenance,
        use_agreement=use_agreement,
        reorders=_reorders(answers),
    )


def final(answers: list[Answer]) -> list[Answer]:
    """The answers as they would be given: in the order of matching points if that finds more, beyond its interval."""
    reorders = _reorders(answers)
    return [replace((reorders and answer.by_points) or answer, by_points=None) for answer in answers]


def _reorders(answers: list[Answer]) -> bool:
    gain = reordering_gain(answers)
    return gain is not None and gain[1] > 0


def figures(answers: list[Answer], model_id: str) -> Figures:
    """Raises ValueError where there are too few answers for folds with right and wrong ones in each."""
    by_likeness, by_points = answers, [answer.by_points for answer in answers if answer.by_points]
    answers = final(answers)
    confidence, radius_m, status = cross_fitted(answers, model_id)
    error_m = np.array([answer.error_m for answer in answers])
    is_right, solvable = error_m <= SAME_PLACE_M, np.array([answer.question.is_solvable for answer in answers])
    is_found, is_inside = np.array([each == "found" for each in status]), error_m <= radius_m
    groups = [answer.question.group for answer in answers]
    surest = np.argsort(-confidence, kind="stable")
    told: dict[str, _Figure] = {
        "recall": lambda n: _share(is_right[n][solvable[n]]),
        "ece": lambda n: ece(confidence[n], is_right[n]),
        "inside_radius": lambda n: _share(is_inside[n]),
        "false_found": lambda n: _share(is_found[n][~solvable[n]]),
    }
    everything = np.arange(len(answers))
    return Figures(
        answers=len(answers),
        solvable=int(solvable.sum()),
        recall=_recalls(answers),
        recall_by_likeness=_recalls(by_likeness),
        recall_by_points=_recalls(by_points) if by_points else None,
        intervals={name: interval(groups, figure) for name, figure in told.items()},
        median_error_m=float(np.median(error_m)),
        auprc=auprc(confidence, is_right),
        ece=told["ece"](everything),
        brier=float(((confidence - is_right) ** 2).mean()),
        inside_radius=told["inside_radius"](everything),
        false_found=told["false_found"](everything),
        found=_share(is_found),
        found_right=_share(is_right[is_found]),
        risk_at={f"{p}%": float(1 - is_right[surest[: max(1, len(surest) * p // 100)]].mean()) for p in _SHARES},
        agreement_gain=_agreement_gain(answers, is_right, groups),
        agreement_at_equal_cosine=agreement_at_equal_cosine(answers),
        reordering_gain=reordering_gain(by_likeness),
    )


_SHARES = (20, 40, 60, 80, 100)
_Figure = Callable[[NDArray[np.intp]], float]


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if len(of) else 0.0


def auprc(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Average precision: the mean precision at each right answer, surest first."""
    ordered = is_right[np.argsort(-confidence, kind="stable")]
    if not ordered.any():
        return 0.0
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float(precision[ordered].mean())


def ece(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence from the share of right answers, over bins of equal size."""
    bins = np.array_split(np.argsort(confidence), min(_BINS, len(confidence)))
    return float(sum(len(n) * abs(confidence[n].mean() - is_right[n].mean()) for n in bins) / len(confidence))


def _recalls(answers: list[Answer]) -> dict[str, float]:
    return {f"{k}@{m}": _recall(answers, k, m) for m in (25, 50) for k in (1, 5, 10)}


def _recall(answers: list[Answer], k: int, within_m: float) -> float:
    asked = [answer for answer in answers if answer.question.is_solvable]
    return float(np.mean([min(answer.errors_m[:k]) <= within_m for answer in asked])) if asked else 0.0


def _agreement_gain(
    answers: list[Answer], is_right: NDArray[np.bool_], groups: list[str]
) -> tuple[float, float, float]:
    with_it = calibrate(answers, "", {}).confidences_of([answer.terms for answer in answers])
    without = calibrate(answers, "", {}, use_agreement=False).confidences_of([answer.terms for answer in answers])

    def gain(n: NDArray[np.intp]) -> float:
        return auprc(with_it[n], is_right[n]) - auprc(without[n], is_right[n])

    return gain(np.arange(len(answers))), *interval(groups, gain)


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


def reordering_gain(answers: Sequence[Answer]) -> tuple[float, float, float] | None:
    """Of solvable questions whose matches were compared with their image."""
    compared = [(a, a.by_points) for a in answers if a.by_points and a.question.is_solvable]
    if not compared:
        return None
    won = np.array([float(b.error_m <= SAME_PLACE_M) - float(a.error_m <= SAME_PLACE_M) for a, b in compared])
    return float(won.mean()), *interval([a.question.group for a, _ in compared], lambda n: float(won[n].mean()))


def interval(groups: Sequence[str], figure: _Figure) -> tuple[float, float]:
    """95 % of the figure over resampled groups; the same every time."""
    random = np.random.default_rng(0)
    members: dict[str, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    all_groups = [np.array(numbers) for numbers in members.values()]
    drawn = (random.integers(len(all_groups), size=len(all_groups)) for _ in range(_RESAMPLES))
    figured = [figure(np.concatenate([all_groups[n] for n in chosen])) for chosen in drawn]
    low, high = np.quantile(figured, [0.025, 0.975])
    return float(low), float(high)
