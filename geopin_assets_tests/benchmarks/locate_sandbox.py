"""Locating in the sandbox's painted streets: `python -m geopin_assets_tests.benchmarks.locate_sandbox`.

Streets as the demo's, but more of them, and up to four sources that drove through each on days of their own; every
capture is asked of the other sources, at first by likeness alone, then with matching points (XFeat, where it is
installed). What only one source shows is covered by none for that question; photos of streets that nobody published
are asked too, and judged by a calibration that has not seen any. Some captures are published at a wrong
place, turned around, or show a room: they are judged by the same answers.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Image
from geopin_assets.index.protocol import Readable, Searchable
from geopin_assets.locate.calibrating import Learned, calibrate, cross_fitted, learn
from geopin_assets.locate.confidence import FEATURES_OF, Calibration, at_most
from geopin_assets.locate.evaluation import SAME_WAY_DEG, Answer, Question, ask, degrees_between
from geopin_assets.locate.figures import Figures, figures
from geopin_assets.locate.judging import UNDECIDED, judge
from geopin_assets.locate.search import search
from geopin_assets.locate.terms import SAME_PLACE_M, covering
from geopin_assets.locate.verify import Features, Verifier
from geopin_assets.locate.witnesses import Match
from geopin_assets.sandbox.streets.images import draw
from geopin_assets.sandbox.streets.world import MOVED_M, Drive, Quirk, Shot, Street, shots
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import machine, print_table
from geopin_assets_tests.locate.places import Shown, indexed, questions
from geopin_assets_tests.locate.weights import find_weights

SOURCES = ("mapillary", "panoramax", "kartaview", "flickr")
STREETS_APART_M, STEP_M, PLACES = 600.0, 24.0, 5
SHOWN_BY_SOURCE, THE_OTHER_WAY, ONLY_ONE, WRONG = 0.75, 0.15, 0.15, 0.06
NOW = datetime(2026, 11, 29, tzinfo=UTC)
ECE_MOST, INSIDE_WITHIN, FALSE_FOUND_MOST = 0.05, 0.04, 0.02
"""As `locate/test_confidence.py` asks of an invented world."""
_WRONG = (Quirk.MOVED, Quirk.TURNED, Quirk.INDOOR)
_SAYS = {Quirk.MOVED: "moved", Quirk.TURNED: "turned", Quirk.INDOOR: "unlike"}


def drives(streets: int) -> Iterator[tuple[float, Drive]]:
    """Where each street begins, in meters, and who drove along it."""
    random = np.random.default_rng(14)
    for number in range(streets):
        street = Street(f"Proefstraat {number}", 4.9, 52.37, 90, PLACES * STEP_M, is_canal=number % 5 == 0)
        there = [source for source in SOURCES if random.random() < SHOWN_BY_SOURCE] or [SOURCES[number % 4]]
        if random.random() < ONLY_ONE:
            there = there[:1]
        for source in there:
            is_wrong = random.random(PLACES) < WRONG
            yield (
                number * STREETS_APART_M,
                Drive(
                    source=source,
                    name=f"{number}-{source}",
                    street=street,
                    from_m=-STEP_M * (PLACES // 2) + float(random.normal(0, 2)),
                    step_m=STEP_M,
                    count=PLACES,
                    started_at=NOW
                    - timedelta(days=int(random.integers(30, 3000)), seconds=int(random.integers(1, 9999))),
                    right_m=1.5,
                    turn_deg=180.0 * (random.random() < THE_OTHER_WAY),
                    creator=source,
                    quirks=tuple((int(n) + 1, _WRONG[int(random.integers(3))]) for n in np.flatnonzero(is_wrong)),
                ),
            )


def strangers(count: int) -> dict[str, tuple[float, Shot]]:
    """Photos of streets that nobody published, each of another one: what may be asked about them, none is indexed."""
    random = np.random.default_rng(41)
    photos = {}
    for number in range(count):
        street = Street(f"Onbekende straat {number}", 4.9, 52.37, 90, PLACES * STEP_M, is_canal=number % 5 == 0)
        drive = Drive(
            source="phone",
            name=f"nowhere-{number}",
            street=street,
            from_m=float(random.uniform(-STEP_M, STEP_M)),
            step_m=STEP_M,
            count=1,
            started_at=NOW - timedelta(days=int(random.integers(1, 3000))),
            right_m=float(random.uniform(-2, 2)),
            turn_deg=180.0 * int(random.integers(2)),
        )
        shot = next(shots(drive))
        photos[f"phone:{shot.name}"] = (-STREETS_APART_M * (number + 10), shot)
    return photos


def painted(streets: int) -> dict[str, tuple[float, Shot]]:
    """All captures by id, and where they are published."""
    return {
        f"{shot.drive.source}:{shot.name}": (start_m + shot.along_m + MOVED_M * (shot.quirk is Quirk.MOVED), shot)
        for start_m, drive in drives(streets)
        for shot in shots(drive)
    }


def drawn(captures: Mapping[str, tuple[float, Shot]]) -> dict[str, Image]:
    return {id_: draw(shot) for id_, (_, shot) in captures.items()}


def seen(captures: Mapping[str, tuple[float, Shot]], pictures: Mapping[str, Image]) -> list[Shown]:
    model = Thumbnail()
    looks = model.embed([model.preprocess(pictures[id_]) for id_ in captures])
    return [
        Shown(
            shot.name, shot.drive.source, at_m, look, shot.drive.creator, shot.captured_at, heading_deg=shot.heading_deg
        )
        for (at_m, shot), look in zip(captures.values(), looks, strict=True)
    ]


class Points:
    """Matching points of painted captures; the features of each are found once."""

    def __init__(self, verifier: Verifier, pictures: Mapping[str, Image]) -> None:
        self._verifier, self._pictures = verifier, pictures
        self._found: dict[str, Features] = {}

    def of_question(self, question: Question, matches: Sequence[Match]) -> dict[str, int]:
        asked = self._features(question.row["capture_id"])
        ids = [match["capture_id"] for match in matches]
        return {id_: self._verifier.inliers(asked, self._features(id_)) for id_ in ids}

    def _features(self, capture_id: str) -> Features:
        if capture_id not in self._found:
            self._found[capture_id] = self._verifier.features(self._pictures[capture_id])
        return self._found[capture_id]


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streets", type=int, default=90)
    parser.add_argument("--strangers", type=int, default=300, help="photos of streets that nobody published")
    parser.add_argument("--verify", type=int, default=10, help="matches compared with the photo; 0 for none")
    chosen = parser.parse_args(arguments)
    captures, unknown = painted(chosen.streets), strangers(chosen.strangers)
    pictures = drawn(captures | unknown)
    shown, strange = seen(captures, pictures), seen(unknown, pictures)
    weights = find_weights() if chosen.verify else None
    points = Points(Verifier(weights), pictures) if weights else None
    with tempfile.TemporaryDirectory(prefix="geopin-bench-") as folder:
        index, store = indexed(Path(folder), shown)
        compare = points.of_question if points else None
        answers = list(ask(questions(shown, _streets(captures)), index, store, compare, chosen.verify))
        nowhere = list(ask(questions(strange, _streets(unknown)), index, store, compare, chosen.verify))
        asked = [answer.question for answer in answers]
        without = {source: _without(source, asked, index, store) for source in SOURCES}
    print(f"{machine()}; {len(captures)} captures of {chosen.streets} streets, {len(unknown)} photos of others")
    by_likeness, plainly = list(map(_plain, answers)), list(map(_plain, nowhere))
    columns = {"by likeness": (learn(by_likeness), plainly)}
    if points:
        columns["with matching points"] = (learn(answers), nowhere)
    told = {name: figures(learned, "") for name, (learned, _) in columns.items()}
    _print_figures(told)
    shots_by_id = {id_: shot for id_, (_, shot) in captures.items()}
    _print_nowhere(columns, shots_by_id)
    _print_removals(by_likeness, without)
    best, _ = columns["with matching points" if points else "by likeness"]
    _print_doubts(best.asked, calibrate(best, "", {}), shots_by_id)
    return [figure for name, of in told.items() for figure in _kept(name, of)]


def _kept(name: str, of: Figures) -> list[Figure]:
    """What stays of a column."""
    return [
        Figure(
            f"right at once within 25 m, {name}", of.recall["1@25"] / of.recall["10@25"], beside="among the first 10"
        ),
        Figure(f"calibration error, {name}", of.ece, at_most=ECE_MOST),
        Figure(f"inside radius_m (68 %), {name}", of.inside_radius, at_least=0.68 - INSIDE_WITHIN),
        Figure(f"all around hidden, called found, {name}", of.false_found, at_most=FALSE_FOUND_MOST),
        Figure(f"right of those called found, {name}", of.found_right),
    ]


def _streets(captures: Mapping[str, tuple[float, Shot]]) -> list[str]:
    return [shot.drive.street.name for _, shot in captures.values()]


def _plain(answer: Answer) -> Answer:
    """As if no points had been counted."""
    terms, nowhere = replace(answer.terms, inliers=None), answer.nowhere and _plain(answer.nowhere)
    return replace(answer, terms=terms, by_points=None, nowhere=nowhere, points={})


def _print_nowhere(columns: Mapping[str, tuple[Learned, list[Answer]]], captures: Mapping[str, Shot]) -> None:
    """What is called found though it is nowhere, by who asks: strangers by a calibration that never saw them, and what
    only its own source shows by one that has not seen its street."""
    columns_told: dict[str, list[str]] = {}
    for name, (learned, nowhere) in columns.items():
        calibration, given = calibrate(learned, "", {}), learned.given
        status = cross_fitted(given, "").status
        moved = np.array([captures[a.question.row["capture_id"]].quirk is Quirk.MOVED for a in given])
        alone = ~np.array([a.question.is_solvable for a in given])
        is_right = np.array([a.error_m <= SAME_PLACE_M for a in given])
        strange = [(calibration.reorders and a.by_points) or a for a in nowhere]
        told = np.array([calibration.status(each) for each in calibration.confidences_of([a.terms for a in strange])])
        columns_told[name] = [
            f"{calibration.found_from:.2f}",
            f"{_of(told == 'found')}, with 95 % at most {at_most(int((told == 'found').sum()), len(told)):.3f}",
            _of(told == "not_covered"),
            _of(status[alone & ~moved] == "found"),
            _of(status[moved] == "found"),
            _of(status[is_right] == "found"),
            _of(status[is_right] == "not_covered"),
        ]
    rows = zip(_NOWHERE, *columns_told.values(), strict=True)
    print_table(["", *columns_told], [list(row) for row in rows])


_NOWHERE = (
    "found from", "strangers called found", "strangers called not covered", "shown by nobody else, found",
    "published 200 m off, found", "right ones called found", "right ones called not covered",
)  # fmt: skip


def _of(is_so: NDArray[np.bool_]) -> str:
    """A share with its 95 % interval (Wilson)."""
    count, asked = int(is_so.sum()), len(is_so)
    if not asked:
        return "none"
    middle, spread = (
        (count + 1.92) / (asked + 3.84),
        1.96 * sqrt(count * (asked - count) / asked + 0.96) / (asked + 3.84),
    )
    return f"{count} of {asked} = {count / asked:.3f} ({max(0, middle - spread):.3f} to {min(1, middle + spread):.3f})"


def _print_figures(told: Mapping[str, Figures]) -> None:
    def share(f: Figures, value: float, name: str = "") -> str:
        return f"{value:.3f}" + (f" ({f.intervals[name][0]:.3f} to {f.intervals[name][1]:.3f})" if name else "")

    def gain(value: tuple[float, float, float] | None) -> str:
        return "" if value is None else "{:+.3f} ({:+.3f} to {:+.3f})".format(*value)

    rows = [
        ["answers, solvable", *(f"{f.answers}, {f.solvable}" for f in told.values())],
        ["right at once within 25 m", *(share(f, f.recall["1@25"], "recall") for f in told.values())],
        ["among the first 10", *(share(f, f.recall["10@25"]) for f in told.values())],
        ["by the order of points", *(gain(f.reordering_gain) for f in told.values())],
        ["precision over recall (area)", *(share(f, f.auprc) for f in told.values())],
        ["calibration error", *(share(f, f.ece, "ece") for f in told.values())],
        ["inside radius_m (68 %)", *(share(f, f.inside_radius, "inside_radius") for f in told.values())],
        ["all around hidden, called found", *(share(f, f.false_found, "false_found") for f in told.values())],
        ["called found, right of these", *(f"{f.found:.3f}, {f.found_right:.3f}" for f in told.values())],
        ["agreement at equal likeness", *(gain(f.agreement_at_equal_cosine) for f in told.values())],
        *([f"{term} for the area", *(gain(f.gains.get(term)) for f in told.values())] for term in FEATURES_OF),
    ]
    print_table(["", *told], rows)


def _without(source: str, asked: Sequence[Question], index: Searchable, store: Readable) -> dict[str, bool]:
    """Captures that a third source shows: whether each is placed right at once were this one not indexed."""
    right = {}
    for question in asked:
        if question.source != source and set(covering(question.row)) - {source}:
            where = {"source": {"$nin": [source, question.source]}}
            found = search(question.views, index, store, 1, where=where)
            right[question.row["capture_id"]] = bool(found.height) and question.errors_m(found)[0] <= SAME_PLACE_M
    return right


def _print_removals(everything: Sequence[Answer], without: Mapping[str, Mapping[str, bool]]) -> None:
    """Of questions that another source than the removed one shows: right at once with it and without."""
    rows = []
    for source, right in without.items():
        others = [a for a in everything if a.question.is_solvable and a.question.source != source]
        before = [a.error_m <= SAME_PLACE_M for a in others if a.question.row["capture_id"] in right]
        shares = np.mean(before or [0.0]), np.mean([*right.values()] or [0.0]), 1 - len(right) / max(1, len(others))
        rows.append([source, *(f"{share:.3f}" for share in shares)])
    print_table(["removed", "right before", "right without", "no longer shown by any"], rows)


def _print_doubts(answers: Sequence[Answer], calibration: Calibration, captures: Mapping[str, Shot]) -> None:
    """By kind of error: found of the injected, of those whose sight another source shows, and of what was told those
    that are wrong indeed; `blamed` are those that more speaks against than for."""
    doubts = judge(answers, calibration, NOW)
    asked = {a.question.row["capture_id"] for a in answers}
    blamed = doubts.filter(doubts["trust"] < UNDECIDED)
    rows = []
    for name, quirks, reason in (*((r, (q,), r) for q, r in _SAYS.items()), ("any", _WRONG, None)):
        wrong = [id_ for id_ in asked if captures[id_].quirk in quirks]
        shown = [id_ for id_ in wrong if _is_shown(captures[id_], captures)]
        listed, sure = (each.filter(reason=reason) if reason else each for each in (doubts, blamed))
        found = [np.isin(each, doubts["capture_id"].to_list()) for each in (wrong, shown)]
        right = [
            np.array([captures[id_].quirk is not None for id_ in each["capture_id"]], bool) for each in (listed, sure)
        ]
        rows.append([name, *map(_of, found), *map(_of, right)])
    print_table(
        ["doubtful", "injected, found", "of those that others show", "told, wrong indeed", "blamed, wrong"], rows
    )


def _is_shown(shot: Shot, captures: Mapping[str, Shot]) -> bool:
    """Whether another source shows where it was taken in truth, looking the same way."""
    return any(
        other.drive.street == shot.drive.street
        and other.drive.source != shot.drive.source
        and other.quirk is not Quirk.INDOOR
        and abs(other.along_m - shot.along_m) <= SAME_PLACE_M
        and (degrees_between(other.shows_deg, shot.shows_deg) or 0) <= SAME_WAY_DEG
        for other in captures.values()
    )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
