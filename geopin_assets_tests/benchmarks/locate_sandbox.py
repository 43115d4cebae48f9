"""Locating in the sandbox's painted streets: `python -m geopin_assets_tests.benchmarks.locate_sandbox`.

Streets as the demo's, but more of them, and up to four sources that drove through each on days of their own; every
capture is asked of the other sources, at first by likeness alone, then with matching points (XFeat, where it is
installed). What only one source shows is covered by none for that question. Some captures are published at a wrong
place, turned around, or show a room: they are judged by the same answers.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Image
from geopin_assets.locate.confidence import Calibration
from geopin_assets.locate.evaluation import Answer, Figures, Question, ask, calibrate, figures
from geopin_assets.locate.outliers import judge
from geopin_assets.locate.verify import Features, Verifier
from geopin_assets.locate.witnesses import Match
from geopin_assets.sandbox.streets.images import draw
from geopin_assets.sandbox.streets.world import MOVED_M, Drive, Quirk, Shot, Street, shots
from geopin_assets_tests.benchmarks.tools.measure import machine, print_table
from geopin_assets_tests.locate.places import Shown, indexed, questions
from geopin_assets_tests.locate.weights import find_weights

SOURCES = ("mapillary", "panoramax", "kartaview", "flickr")
STREETS_APART_M, STEP_M, PLACES = 600.0, 24.0, 5
SHOWN_BY_SOURCE, THE_OTHER_WAY, ONLY_ONE, WRONG = 0.75, 0.15, 0.15, 0.06
NOW = datetime(2026, 11, 29, tzinfo=UTC)
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
    looks = model.embed([model.preprocess(picture) for picture in pictures.values()])
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


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streets", type=int, default=200)
    parser.add_argument("--verify", type=int, default=10, help="matches compared with the photo; 0 for none")
    chosen = parser.parse_args(arguments)
    captures = painted(chosen.streets)
    pictures = drawn(captures)
    shown, weights = seen(captures, pictures), find_weights() if chosen.verify else None
    points = Points(Verifier(weights), pictures) if weights else None
    with tempfile.TemporaryDirectory(prefix="geopin-bench-") as folder:
        index, store = indexed(Path(folder), shown)
        asked = list(questions(shown, [shot.drive.street.name for _, shot in captures.values()]))
        answers = list(ask(asked, index, store, points.of_question if points else None, chosen.verify))
        without = {source: list(ask(asked, index, store, removed=(source,))) for source in SOURCES}
    print(f"{machine()}; {len(captures)} captures of {chosen.streets} streets")
    by_likeness = [replace(a, terms=replace(a.terms, inliers=None), by_points=None) for a in answers]
    told = {"by likeness": figures(by_likeness, "")} | (
        {"with matching points": figures(answers, "")} if points else {}
    )
    _print_figures(told)
    _print_removals(by_likeness, without)
    calibration = calibrate(answers if points else by_likeness, "", {})
    _print_doubts(answers if points else by_likeness, calibration, {id_: shot for id_, (_, shot) in captures.items()})


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
        ["nowhere, called found", *(share(f, f.false_found, "false_found") for f in told.values())],
        ["called found, right of these", *(f"{f.found:.3f}, {f.found_right:.3f}" for f in told.values())],
        ["agreement at equal likeness", *(gain(f.agreement_at_equal_cosine) for f in told.values())],
        ["agreement for the area", *(gain(f.agreement_gain) for f in told.values())],
    ]
    print_table(["", *told], rows)


def _print_removals(everything: Sequence[Answer], without: Mapping[str, Sequence[Answer]]) -> None:
    """Of questions that another source than the removed one shows: right at once with it and without."""
    rows = []
    for source, answers in without.items():
        left = {a.question.row["capture_id"]: a for a in answers if set(a.others) - {source}}
        before = [a for a in everything if a.question.row["capture_id"] in left]
        asked = [a for a in everything if a.question.is_solvable and a.question.source != source]
        shares = [
            float(np.mean([a.error_m <= 25 for a in each])) if each else 0.0 for each in (before, [*left.values()])
        ]
        lost = sum(not set(a.others) - {source} for a in asked) / max(1, len(asked))
        rows.append([source, f"{shares[0]:.3f}", f"{shares[1]:.3f}", f"{lost:.3f}"])
    print_table(["removed", "right before", "right without", "no longer shown by any"], rows)


def _print_doubts(answers: Sequence[Answer], calibration: Calibration, captures: Mapping[str, Shot]) -> None:
    doubts = judge(answers, calibration, NOW)
    rows = []
    for quirk, reason in _SAYS.items():
        asked = [a for a in answers if captures[a.question.row["capture_id"]].quirk is quirk]
        wrong = {a.question.row["capture_id"] for a in asked}
        told = set(doubts.filter(doubts["reason"] == reason)["capture_id"])
        found = f"{len(told & wrong)} of {len(wrong)}"
        right = sum(captures[id_].quirk is not None for id_ in told)
        rows.append([reason, found, f"{right} of {len(told)}"])
    rows.append(["any", f"{_wrong(doubts['capture_id'], captures)} of {_wrong(captures, captures)}",
                 f"{_wrong(doubts['capture_id'], captures)} of {doubts.height}"])  # fmt: skip
    print_table(["doubtful", "injected, found", "told, wrong indeed"], rows)


def _wrong(ids: object, captures: Mapping[str, Shot]) -> int:
    return sum(captures[id_].quirk is not None for id_ in ids)  # type: ignore[attr-defined]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
