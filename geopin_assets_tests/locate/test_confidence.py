"""Confidence never falls when more speaks for a place; radius and thresholds hold on answers they have not seen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geopin_assets.locate.confidence import Calibration, fit
from geopin_assets.locate.evaluation import auprc, ece
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
    return fit("test", *world(2_000, seed=1), provenance={"index_version": "v1"})


def test_on_answers_it_has_not_seen_confidence_is_the_share_of_right_ones(calibration: Calibration) -> None:
    terms, error_m, _ = world(4_000, seed=2)
    confidence = calibration.confidences_of(terms)
    assert ece(confidence, error_m <= 25) <= 0.05
    assert auprc(confidence, error_m <= 25) > auprc(np.array([t.cosine for t in terms]), error_m <= 25) + 0.03


def test_of_answers_it_has_not_seen_68_percent_are_inside_their_radius(calibration: Calibration) -> None:
    terms, error_m, _ = world(4_000, seed=3)
    radii = np.array([calibration.radius_m(each) for each in calibration.confidences_of(terms)])
    assert abs((error_m <= radii).mean() - 0.68) <= 0.04


def test_places_that_nobody_shows_are_seldom_called_found(calibration: Calibration) -> None:
    terms, error_m, covered = world(4_000, seed=4)
    status = np.array([calibration.status(each) for each in calibration.confidences_of(terms)])
    assert (status[~covered] == "found").mean() <= 0.03
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
    terms, error_m, covered = world(500, seed=5)
    silent = [replace(each, agreeing=(), disagreeing=(), inliers=None) for each in terms]
    assert fit("test", silent, error_m, covered, {}).plain.each[2:4] == (0.0, 0.0)
    misled = [
        replace(each, agreeing=("b",) * int(error > 25), disagreeing=())
        for each, error in zip(silent, error_m, strict=True)
    ]
    assert fit("test", misled, error_m, covered, {}).plain.each[2] == 0.0


def test_from_answers_that_are_all_right_nothing_can_be_learned() -> None:
    terms, _, covered = world(50, seed=6)
    with pytest.raises(ValueError, match="both kinds are needed"):
        fit("test", terms, np.zeros(50), covered, {})
