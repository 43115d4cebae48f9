"""Recall is counted as it says, on four invented places: three in a row of 20 m, and one far off."""

import numpy as np
import pytest

from geopin_assets_tests.real.recall import recall

PLACES = {name: (4.9, 52.0 + north_m / 111_195) for name, north_m in [("a", 0), ("b", 5), ("c", 20), ("d", 900)]}
VECTORS = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0.96, 0, 0.28]], np.float32)


def test_an_answer_is_right_within_25_meters() -> None:
    found = recall(VECTORS, PLACES)
    assert found.at_1.tolist() == [False, True, True]  # a looks most like d; d has nothing to find and does not count
    assert found.at_5.all()
    assert found.chance == pytest.approx(2 / 3)


def test_references_close_by_can_be_hidden() -> None:
    found = recall(VECTORS, PLACES, hidden_m=10)
    assert found.at_1.tolist() == [False, False, True]
    assert found.chance == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3)


def test_references_from_elsewhere_are_never_right() -> None:
    found = recall(VECTORS, PLACES, elsewhere=VECTORS[2:3])
    assert found.at_1.tolist() == [False, True, False]
    assert found.chance == pytest.approx(2 / 4)


def test_the_interval_is_wilsons_and_comparisons_are_query_by_query() -> None:
    two_of_three, hidden = recall(VECTORS, PLACES), recall(VECTORS, PLACES, hidden_m=10)
    assert two_of_three.interval == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert (two_of_three.against(hidden), hidden.against(two_of_three)) == ((1, 0), (0, 1))
