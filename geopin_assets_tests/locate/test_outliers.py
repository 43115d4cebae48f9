"""Captures at a wrong place or turned around are found among many good ones, and counted less."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopin_assets.locate.calibrating import calibrate, learn
from geopin_assets.locate.evaluation import Answer, Question, ask
from geopin_assets.locate.judging import UNDECIDED, judge, surest
from geopin_assets.locate.locator import Locator
from geopin_assets.locate.outliers import keep, read
from geopin_assets.locate.witnesses import Match
from geopin_assets_tests.depth import examples
from geopin_assets_tests.locate.places import Shown, indexed, look, questions

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PLACES = examples(50, 120)
APART_M = 120.0


def world() -> list[Shown]:
    """Places along a street, each shown by three sources; every tenth place of c is uncovered by the others."""
    random = np.random.default_rng(3)
    shown = []
    for place in range(PLACES):
        for number, source in enumerate(("a", "b", "c")):
            if source != "c" and place % 10 == 9:
                continue
            taken = NOW - timedelta(days=int(random.integers(1, 2000)), seconds=int(random.integers(1, 3000)))
            where = place * APART_M + float(random.uniform(-5, 5))
            shown.append(Shown(str(place), source, where, look(place, 0.35, 100 * place + number), captured_at=taken))
    return shown


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Answer], set[str], set[str]]:
    """Answers about every capture of c, and which of those were moved by 200 m, and which turned around."""
    shown = world()
    moved = {f"c:{place}" for place in range(3, PLACES, 20)}
    turned = {f"c:{place}" for place in range(5, PLACES, 20)}
    wrong = [
        replace(
            each,
            at_m=each.at_m + 200 * (each.capture_id in moved),
            heading_deg=90.0 + 180 * (each.capture_id in turned),
        )
        for each in shown
    ]
    index, store = indexed(tmp_path_factory.mktemp("outliers"), wrong)
    asked = (question for question in questions(wrong) if question.source == "c")
    return list(ask(asked, index, store)), moved, turned


def test_what_was_moved_or_turned_is_found_and_little_else(asked: tuple[list[Answer], set[str], set[str]]) -> None:
    answers, moved, turned = asked
    calibration = calibrate(learn(answers), "test", {})
    doubts = judge(answers, calibration, NOW)
    gains = calibration.provenance["gains"]["plain"]
    shown = {term for term, gain in gains.items() if gain["low"] > 0}
    assert calibration.plain.counted <= {"likeness", *shown} and calibration.verified is None
    found = {reason: set(rows["capture_id"]) for (reason,), rows in doubts.group_by("reason")}
    assert len(found["moved"] & moved) >= 0.8 * len(moved)
    assert len(found["turned"] & turned) >= 0.8 * len(turned)
    wrong = found["moved"] - moved | found["turned"] - turned
    assert len(wrong) <= 0.2 * (len(moved) + len(turned)), wrong
    assert (doubts.filter(doubts["reason"] == "moved")["off_m"] > 100).all()
    assert doubts["trust"].is_between(0, 1).all()


def test_a_room_and_a_turned_photo_are_told_by_points_with_what_lies_beside(tmp_path: Path) -> None:
    """A room has few with anything, and each photo that is turned around has many with what is behind it."""
    random = np.random.default_rng(4)
    rooms, turned = {"c:8", "c:18", "c:28"}, {"b:11", "b:21"}
    shown = [each for each in world() if int(each.name) < examples(30, 36)]
    shown = [replace(each, heading_deg=270.0 if each.capture_id in turned else 90.0) for each in shown]
    shown = [replace(each, looks=look(900 + n)) if each.capture_id in rooms else each for n, each in enumerate(shown)]

    def compare(question: Question, matches: Sequence[Match]) -> dict[str, int]:
        def points(other: str) -> int:
            pair = {question.row["capture_id"], other}
            is_same = len({id_.partition(":")[2] for id_ in pair}) == 1
            low, high = (150, 400) if is_same else (20, 90)
            return int(random.integers(3, 12) if pair & rooms else random.integers(low, high))

        return {match["capture_id"]: points(match["capture_id"]) for match in matches}

    index, store = indexed(tmp_path, shown)
    answers = list(ask(questions(shown), index, store, compare, 5))
    doubts = judge(answers, calibrate(learn(answers), "test", {}), NOW)
    blamed = doubts.filter(doubts["trust"] < UNDECIDED)
    assert set(blamed.filter(blamed["reason"] == "unlike")["capture_id"]) == rooms
    assert set(blamed.filter(blamed["reason"] == "turned")["capture_id"]) == turned


@pytest.mark.parametrize(
    ("of_the_copy", "is_asked"),
    [
        ({"creator": "Anna", "captured_at": NOW + timedelta(seconds=30)}, False),  # her drive
        ({"looks": look(1, 0.02)}, False),  # the very photo
        ({"looks": look(1, 0.02), "at_m": 5_000.0}, True),  # which says that it is elsewhere
        ({"creator": "Bert", "captured_at": NOW + timedelta(seconds=30)}, True),
    ],
)
def test_a_capture_posted_elsewhere_too_is_not_answered_by_itself(
    of_the_copy: dict[str, Any], is_asked: bool, tmp_path: Path
) -> None:
    photo = Shown("1", "a", 0, look(1), creator="Anna", captured_at=NOW.replace(second=1))
    copy = replace(Shown("1", "b", 8, look(1, 0.3), captured_at=None), **of_the_copy)
    other = Shown("2", "b", 900, look(2), captured_at=None)
    index, store = indexed(tmp_path, [photo, copy, other])
    asked = (question for question in questions([photo, copy, other]) if question.source == "a")
    assert bool(list(ask(asked, index, store))) is is_asked


@pytest.mark.parametrize(
    ("claims", "chance", "expected"),
    [
        ([0.9] * 20, [0.1] * 400, 0.9),  # what chance never brings
        ([0.5] * 20, [0.5] * 400, float("inf")),  # what chance brings as well
        ([0.2] * 80 + [0.9] * 20, [0.2] * 400, 0.9),
        ([0.9] * 20, [], float("inf")),  # nothing is known of chance
        ([], [0.1] * 400, float("inf")),
    ],
)
def test_claims_count_from_where_chance_brings_few_of_them(
    claims: list[float], chance: list[float], expected: float
) -> None:
    assert surest(np.array(claims), np.array(chance)) == expected


def test_the_list_keeps_what_was_not_asked_again(
    asked: tuple[list[Answer], set[str], set[str]], tmp_path: Path
) -> None:
    answers, *_ = asked
    doubts = judge(answers, calibrate(learn(answers), "test", {}), NOW)
    assert read(tmp_path).is_empty()
    assert keep(tmp_path, doubts, []).equals(doubts)
    mended = doubts["capture_id"][0]
    assert mended not in set(keep(tmp_path, doubts.clear(), [mended])["capture_id"])
    assert read(tmp_path).height == doubts.height - 1


def test_a_doubtful_capture_counts_less_and_says_so(tmp_path: Path) -> None:
    shown = [Shown("wrong", "a", 5_000, look(1, 0.1)), Shown("right", "b", 0, look(1, 0.3), captured_at=None)]
    trusting = Locator(*indexed(tmp_path / "trusted", shown), "test", "v1", None)
    assert trusting.locate(look(1)[None]).matches[0].capture_id == "a:wrong"
    doubtful = [replace(shown[0], trust=0.1), shown[1]]
    weighing = Locator(*indexed(tmp_path / "doubted", doubtful), "test", "v1", None).locate(look(1)[None])
    assert [match.capture_id for match in weighing.matches] == ["b:right", "a:wrong"]
    assert [match.trust for match in weighing.matches] == [1.0, 0.1]
    assert weighing.matches[1].distance_m == pytest.approx(5_000, rel=0.01)
