"""On real photos matching points find the place where a weak model does not, and tell right from wrong.

The walk's references within 10 m are hidden; photos of other towns are asked too. `make test` asks a few of the photos,
`make test-long` all. Few photos of one walk: thresholds stay well below what was measured (docs/locating.md).
"""

import numpy as np
import pytest

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.locate.verify import Features, Verifier
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.locate.weights import verifier as real_verifier
from geopin_assets_tests.real.recall import ELSEWHERE, NEAR_M, decoded, embedded
from geopin_assets_tests.real.walk import ABSENT, meters_between, walk

HIDDEN_M = 10.0
TOP = 10

pytestmark = pytest.mark.skipif(not walk(), reason=ABSENT)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return real_verifier()


@pytest.fixture(scope="module")
def seen(verifier: Verifier) -> dict[str, Features]:
    return {file: verifier.features(decoded(file)) for file in walk()}


def ranked() -> dict[str, list[str]]:
    """Of each photo the others of the walk that may answer, most alike first."""
    places = walk()
    vectors = embedded(Thumbnail(), map(decoded, places))
    likeness = vectors @ vectors.T
    names = list(places)
    return {
        file: [
            names[m]
            for m in np.argsort(-likeness[n])
            if names[m] != file and meters_between(places, file, names[m]) > HIDDEN_M
        ]
        for n, file in enumerate(names)
    }


def test_more_places_are_found_in_the_order_of_matching_points(verifier: Verifier, seen: dict[str, Features]) -> None:
    """All 29: 10 by thumbnails, 23 or more in the order of points."""
    places, asked = walk(), list(ranked().items())[:: 1 if IS_LONG else 3]
    before = after = 0
    for file, others in asked:
        points = {other: verifier.inliers(seen[file], seen[other]) for other in others[:TOP]}
        before += meters_between(places, file, others[0]) <= NEAR_M
        after += meters_between(places, file, max(points, key=points.__getitem__)) <= NEAR_M
    assert after >= 0.65 * len(asked)
    assert after >= before + len(asked) // 5


def test_photos_of_other_towns_have_few_points_in_common_with_the_walk(
    verifier: Verifier, seen: dict[str, Features]
) -> None:
    """Right answers have 75 points (median), wrong ones 13, 85 at most."""
    strangers = [verifier.features(decoded(file)) for file in ELSEWHERE[:: 1 if IS_LONG else 4]]
    counts = [verifier.inliers(stranger, of) for stranger in strangers for of in list(seen.values())[::3]]
    assert np.median(counts) <= 25
    assert max(counts) <= 120
