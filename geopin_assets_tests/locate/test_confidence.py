"""Confidence never falls when more speaks for a place; radius and thresholds hold on answers they have not seen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geopin_assets.locate.choosing import area, choose
from geopin_assets.locate.confidence import (
    FALSE_FOUND,
    FEATURES_OF,
    NEVER,
    Calibration,
    at_most,
    bounded,
    features,
    fit,
    fit_found,
)
from geopin_assets.locate.figures import ece
from geopin_assets.locate.terms import Terms


def world(count: int, seed: int) -> tuple[list[Terms], NDArray[np.float64], NDArray[np.bool_]]:
    """Answers of which better terms are oftener right: terms, errors in meters, whether the place is covered."""
    random = np.random.default_rng(seed)
    covered = random.random(count) < 0.8
    cosine = random.uniform(0.4, 1.0, count)
    margin = random.uniform(0, 0.3, count)
    logit = 12 * (cosine - 0.7) + 15 * (margin - 0.1)
    right = (random.random(count) < 1 / (1 + np.exp(-logit))) & covered
    agreeing = random.binomial(2, np.where(right, 0.7, 0.15))
    inliers = np.where(right, random.integers(30, 300, count), random.integers(0, 60, count))
    error_m = np.where(right, random.uniform(1, 20, count), random.uniform(100, 20_000, count))
    names = ("b", "c")
    terms = [
        Terms(float(c), float(m), names[:a], names[a:], int(i) if n % 2 else None)
        for n, (c, m, a, i) in enumerate(zip(cosine, margin, agreeing, inliers, strict=True))
    ]
    return terms, error_m, covered


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    terms, error_m, covered = world(2_000, seed=1)
    fitted = fit("test", terms, error_m, provenance={"index_version": "v1"})
    nowhere = [each for each, is_covered in zip(terms, covered, strict=True) if not is_covered]
    return bounded(fitted, nowhere, fitted.confidences_of(nowhere))


def test_on_answers_it_has_not_seen_confidence_is_the_share_of_right_ones(calibration: Calibration) -> None:
    terms, error_m, _ = world(4_000, seed=2)
    confidence = calibration.confidences_of(terms)
    assert ece(confidence, error_m <= 25) <= 0.05
    assert area(confidence, error_m <= 25) > area(np.array([t.cosine for t in terms]), error_m <= 25) + 0.03


def test_of_answers_it_has_not_seen_68_percent_are_inside_their_radius(calibration: Calibration) -> None:
    terms, error_m, _ = world(4_000, seed=3)
    radii = np.array([calibration.radius_m(each) for each in calibration.confidences_of(terms)])
    assert abs((error_m <= radii).mean() - 0.68) <= 0.04


def test_places_that_nobody_shows_are_seldom_called_found(calibration: Calibration) -> None:
    terms, error_m, covered = world(4_000, seed=4)
    status = np.array([calibration.status(each) for each in calibration.confidences_of(terms)])
    assert (status[~covered] == "found").mean() <= 0.02
    assert (status[error_m <= 25] == "found").mean() >= 0.5
    assert (status[error_m <= 25] == "not_covered").mean() <= 0.08


@given(
    cosine=st.floats(-1, 1), margin=st.floats(-2, 2), agreeing=st.integers(0, 4), disagreeing=st.integers(0, 4),
    inliers=st.none() | st.integers(0, 5_000),
)  # fmt: skip
def test_what_speaks_for_a_place_never_makes_it_less_likely(
    calibration: Calibration, cosine: float, margin: float, agreeing: int, disagreeing: int, inliers: int | None
) -> None:
    terms = Terms(cosine, margin, tuple("abcd"[:agreeing]), tuple("efgh"[:disagreeing]), inliers)
    before = calibration.confidence(terms)
    assert 0 <= before <= 1
    assert calibration.confidence(replace(terms, agreeing=(*terms.agreeing, "z"))) >= before
    assert calibration.confidence(replace(terms, disagreeing=(*terms.disagreeing, "z"))) <= before
    assert calibration.confidence(replace(terms, cosine=cosine + 0.1)) >= before
    assert calibration.confidence(replace(terms, margin=margin + 0.1)) >= before
    if inliers is not None:
        assert calibration.confidence(replace(terms, inliers=inliers + 10)) >= before


@given(confidence=st.floats(0, 1), more=st.floats(0, 1))
def test_the_radius_never_grows_with_confidence(calibration: Calibration, confidence: float, more: float) -> None:
    assert calibration.radius_m(min(1.0, confidence + more)) <= calibration.radius_m(confidence) + 1e-6
    assert calibration.radius_m(confidence) > 0


def test_a_term_that_never_differs_weighs_nothing_and_one_that_misleads_neither() -> None:
    terms, error_m, _ = world(500, seed=5)
    silent = [replace(each, agreeing=(), disagreeing=(), inliers=None) for each in terms]
    assert fit("test", silent, error_m, {}).plain.each[2:4] == (0.0, 0.0)
    misled = [
        replace(each, agreeing=("b",) * int(error > 25), disagreeing=())
        for each, error in zip(silent, error_m, strict=True)
    ]
    assert fit("test", misled, error_m, {}).plain.each[2] == 0.0


def test_from_answers_that_are_all_right_nothing_can_be_learned() -> None:
    terms, *_ = world(50, seed=6)
    with pytest.raises(ValueError, match="both kinds are needed"):
        fit("test", terms, np.zeros(50), {})


@pytest.mark.parametrize(("passed", "asked", "expected"), [(0, 149, 0.0199), (0, 100, 0.0295), (5, 200, 0.0517)])
def test_the_bound_is_the_upper_one_of_clopper_and_pearson(passed: int, asked: int, expected: float) -> None:
    assert at_most(passed, asked) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("asked", [0, 20, 148, 149, 400, 3_000])
def test_found_starts_where_the_share_of_all_photos_from_nowhere_is_known_to_be_small(asked: int) -> None:
    confidence = np.linspace(0.4, 0.99, asked)
    start = fit_found(confidence)
    assert (start == NEVER) is (asked < 149)
    if start < NEVER:
        passed = int((confidence >= start).sum())
        assert at_most(passed, asked) <= FALSE_FOUND < at_most(passed + 1, asked)


def test_answers_with_points_stay_within_the_bound_by_themselves(calibration: Calibration) -> None:
    """However many without points dilute them."""
    plain, pointed = Terms(0.5, 0.1), Terms(0.5, 0.1, inliers=9)
    confidence = np.concatenate([np.full(3_000, 0.1), np.linspace(0.6, 0.9, 200)])
    told = bounded(calibration, [plain] * 3_000 + [pointed] * 200, confidence)
    assert at_most(int((confidence[3_000:] >= told.found_from).sum()), 200) <= FALSE_FOUND
    assert told.provenance["nowhere"] == 3_200


GROUPS = [f"drive {n // 10}" for n in range(1_000)]


def test_terms_are_counted_that_are_shown_to_help_and_no_others() -> None:
    terms, error_m, _ = world(1_000, seed=7)
    random = np.random.default_rng(8)
    by_chance = [replace(each, margin=float(m)) for each, m in zip(terms, random.uniform(0, 0.3, 1_000), strict=True)]
    chosen = choose(features(by_chance), error_m <= 25, GROUPS)
    assert {"likeness", "agreement"} <= set(chosen.terms)
    assert "margin" not in chosen.terms
    assert not chosen.gains["margin"].is_shown
    assert all(chosen.gains[term].is_shown for term in chosen.terms[1:])


def test_a_term_that_only_repeats_another_adds_nothing() -> None:
    terms, error_m, _ = world(1_000, seed=9)
    same = [replace(each, margin=each.cosine, agreeing=(), disagreeing=(), inliers=None) for each in terms]
    assert choose(features(same), error_m <= 25, GROUPS).terms == ("likeness",)


@pytest.mark.parametrize("groups", [["one drive"] * 200, [f"drive {n}" for n in range(200)]])
def test_few_or_foreign_answers_show_nothing_by_accident(groups: list[str]) -> None:
    """One drive leaves nothing unseen; and answers that are right by chance are not told apart by any term."""
    terms, _, _ = world(200, seed=10)
    is_right = np.random.default_rng(11).random(200) < 0.5
    assert choose(features(terms), is_right, groups).terms == ("likeness",)


def test_what_is_not_counted_changes_no_confidence() -> None:
    terms, error_m, _ = world(500, seed=12)
    fitted = fit("test", terms, error_m, {}, plain_terms=["likeness"], verified_terms=["likeness", "points"])
    plain, pointed = Terms(0.7, 0.1), Terms(0.7, 0.1, inliers=50)
    assert fitted.counted(plain) == {"likeness"}
    assert fitted.counted(pointed) == {"likeness", "points"}
    for each in (plain, pointed):
        assert fitted.confidence(replace(each, margin=0.3, agreeing=("b", "c"))) == fitted.confidence(each)
    assert "1 of 1 other covering sources agree (not counted)" in replace(plain, agreeing=("b",)).in_words({"likeness"})


def test_every_feature_belongs_to_one_term() -> None:
    assert sorted(n for at in FEATURES_OF.values() for n in at) == list(range(features([Terms(1.0, 0.0)]).shape[1]))
