"""Captures at a wrong place or turned around are found among many good ones, and counted less."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from geopin_assets.locate.evaluation import Answer, ask, calibrate
from geopin_assets.locate.locator import Locator
from geopin_assets.locate.outliers import judge, keep, read
from geopin_assets_tests.locate.places import Shown, indexed, look, questions

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PLACES = 120
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
    doubts = judge(answers, calibrate(answers, "test", {}), NOW)
    found = {reason: set(rows["capture_id"]) for (reason,), rows in doubts.group_by("reason")}
    assert len(found["moved"] & moved) >= 0.8 * len(moved)
    assert len(found["turned"] & turned) >= 0.8 * len(turned)
    wrong = found["moved"] - moved | found["turned"] - turned
    assert len(wrong) <= 0.2 * (len(moved) + len(turned)), wrong
    assert (doubts.filter(doubts["reason"] == "moved")["off_m"] > 100).all()
    assert doubts["trust"].is_between(0, 1).all()


def test_the_list_keeps_what_was_not_asked_again(
    asked: tuple[list[Answer], set[str], set[str]], tmp_path: Path
) -> None:
    answers, *_ = asked
    doubts = judge(answers, calibrate(answers, "test", {}), NOW)
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
