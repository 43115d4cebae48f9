"""Likeness, margin and agreement of an answer: sources that show the place speak, the others are silent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from geopin_assets.locate.search import search
from geopin_assets.locate.terms import Terms, gather
from geopin_assets_tests.locate.places import Shown, indexed, look

HERE, THERE = 1, 2


def terms_of(folder: Path, shown: list[Shown], *, without: tuple[str, ...] = ()) -> Terms:
    index, store = indexed(folder, shown)
    views = look(HERE)[None]
    return gather(views, search(views, index, store), index, store, without=without)


def test_a_source_that_finds_the_same_place_agrees(tmp_path: Path) -> None:
    other = datetime(2022, 5, 1, 8, 1, 1, tzinfo=UTC)
    shown = [
        Shown("1", "a", 0, look(HERE)),
        Shown("1", "b", 15, look(HERE, 0.3), captured_at=other),
        Shown("2", "b", 3_000, look(THERE)),
    ]
    terms = terms_of(tmp_path, shown)
    assert (terms.agreeing, terms.disagreeing) == (("b",), ())
    assert terms.cosine > 0.999
    assert terms.margin > 0.3, "the nearest other place is 3 km away and looks different"
    assert "1 of 1 other covering sources agree" in terms.in_words()[-1]


def test_a_source_that_shows_the_place_and_finds_another_disagrees(tmp_path: Path) -> None:
    shown = [
        Shown("1", "a", 0, look(HERE)),
        Shown("1", "b", 20, look(THERE)),
        Shown("2", "b", 3_000, look(HERE, 0.5)),
    ]
    terms = terms_of(tmp_path, shown)
    assert (terms.agreeing, terms.disagreeing) == ((), ("b",))
    assert "b finds another place" in terms.in_words()[-1]


def test_a_source_that_shows_nothing_there_is_silent(tmp_path: Path) -> None:
    terms = terms_of(tmp_path, [Shown("1", "a", 0, look(HERE)), Shown("1", "b", 400, look(HERE, 0.2))])
    assert (terms.agreeing, terms.disagreeing) == ((), ())
    assert terms.in_words()[-1] == "no other source covers this place"


def test_a_copy_at_another_platform_is_no_second_witness(tmp_path: Path) -> None:
    shown = [Shown("1", "a", 0, look(HERE), creator="Anna"), Shown("9", "b", 1, look(HERE), creator="anna")]
    terms = terms_of(tmp_path, shown)
    assert (terms.agreeing, terms.disagreeing) == ((), ())


@pytest.mark.parametrize(
    ("creator", "seconds", "at_m", "noise", "is_witness"),
    [
        (None, 0.0, 3, 0.3, False),  # one shutter, whoever posted it
        (None, 1.0, 3, 0.02, False),  # a second off and nobody named: the photo itself tells
        (None, 7_200.0, 12, 0.02, False),  # a clock in another zone
        (None, 1.0, 3, 0.3, True),  # another photo
        ("Anna", 45.0, 60, 0.3, False),  # one drive
        ("Anna", 86_400.0, 3, 0.3, True),  # another drive of hers
        (None, 1.0, 2_000, 0.02, None),  # the same photo at another place is a contradiction, not a copy
    ],
)
def test_cross_posted_copies_say_nothing_however_platforms_tell_of_them(
    creator: str | None, seconds: float, at_m: float, noise: float, is_witness: bool | None, tmp_path: Path
) -> None:
    taken = datetime(2024, 5, 1, 10, 30, 15, tzinfo=UTC)
    first = Shown("1", "a", 0, look(HERE), creator=creator, captured_at=taken)
    posted = Shown(
        "1", "b", at_m, look(HERE, noise, 1), creator=creator, captured_at=taken + timedelta(seconds=seconds)
    )
    terms = terms_of(tmp_path, [first, posted, Shown("2", "b", 3_000, look(THERE)), Shown("3", "b", 10, look(THERE))])
    assert terms.agreeing == (("b",) if is_witness else ())
    assert (terms.disagreeing == ("b",)) is (is_witness is None or is_witness is False)


@pytest.mark.parametrize(("creator", "later_s", "camera"), [("Anna", 40, 2), (None, 0, 2), (None, 7_200, 1)])
def test_two_sources_that_one_drive_was_posted_at_are_one_witness(
    creator: str | None, later_s: int, camera: int, tmp_path: Path
) -> None:
    """By its creator, its shutter, or its picture; what else the second has may be a witness."""
    taken = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    posted = Shown("1", "b", 10, look(HERE, 0.3, 1), creator=creator, captured_at=taken)
    again = taken + timedelta(seconds=later_s)
    copy = Shown("1", "c", 12, look(HERE, 0.3, camera), creator=creator, captured_at=again)
    shown = [Shown("1", "a", 0, look(HERE)), posted, copy]
    assert terms_of(tmp_path / "one", shown).agreeing == ("b",)
    own = Shown("2", "c", 15, look(HERE, 0.4, 3), captured_at=None)
    assert terms_of(tmp_path / "two", [*shown, own]).agreeing == ("b", "c")


def test_behind_a_copy_a_source_has_a_witness_of_its_own(tmp_path: Path) -> None:
    shown = [
        Shown("1", "a", 0, look(HERE), creator="Anna"),
        Shown("copy", "b", 1, look(HERE), creator="Anna"),
        Shown("own", "b", 18, look(HERE, 0.4), creator="Bert", captured_at=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ]
    assert terms_of(tmp_path, shown).agreeing == ("b",)


def test_sources_that_are_left_out_are_not_asked(tmp_path: Path) -> None:
    shown = [Shown("1", "a", 0, look(HERE)), Shown("1", "b", 10, look(HERE, 0.2), captured_at=None)]
    assert terms_of(tmp_path / "asked", shown).agreeing == ("b",)
    assert terms_of(tmp_path / "not", shown, without=("b",)).agreeing == ()


def test_where_all_matches_are_of_one_place_the_margin_reaches_to_the_last(tmp_path: Path) -> None:
    shown = [Shown(str(n), "a", n, look(HERE, 0.1 * n)) for n in range(5)]
    terms = terms_of(tmp_path, shown)
    assert np.isclose(terms.margin, terms.cosine - float(look(HERE) @ look(HERE, 0.4)), atol=1e-3)
