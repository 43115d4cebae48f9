"""How often a photo of the walk is found by the photos around it, how often a guess would be, and how sure that is.

Here: recall over real photos with any embedder. Not here: which embedders, or what is expected of them.

Each photo in turn is the query and the others are the references; an answer is right within 25 m, as in the literature
on place recognition. All photos are of one walk in one light, which is easier than a map that is years old, and 29
photos that overlap say less than 29 independent ones: the intervals are too narrow rather than too wide.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from geopin_assets.embedding.decoding import FLAT_AT_LEAST, decode_image
from geopin_assets.embedding.protocol import Embedder, Failure, Image
from geopin_assets.geo import distance_m
from geopin_assets_tests.real.walk import PHOTOS, Place

NEAR_M = 25.0
ELSEWHERE = (
    *(f"amsterdam_panorama/pano_0000_006658_{face}.jpg" for face in "flrb"),
    *("mapillary_tools/DSC00001_w2048.jpg", "panoramax_geovisio/b1_w2048.jpg", "panoramax_geovisio/b2_w2048.jpg"),
    *("panoramax_geovisio/c1_w2048.jpg", "panoramax_geovisio/invalid_exif.jpg"),
    *(f"panoramax_geovisio/e{n}.jpg" for n in range(1, 6)),
)
"""Flat photos of other places, large enough for a model."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Recall:
    """What became of every query that has a right answer."""

    at_1: NDArray[np.bool_]
    """Whether the best match is right, query by query."""
    at_5: NDArray[np.bool_]
    """Whether one of the five best is."""
    chance: float
    """Recall@1 of one who guesses among all references."""

    @property
    def rate(self) -> float:
        return float(self.at_1.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Recall@1 within 95 % (Wilson's score interval)."""
        z2 = 1.96**2 / len(self.at_1)
        middle, half = self.rate + z2 / 2, sqrt(z2 * (self.rate * (1 - self.rate) + z2 / 4))
        return (middle - half) / (1 + z2), (middle + half) / (1 + z2)

    def against(self, other: "Recall") -> tuple[int, int]:
        """(queries that only this one answers right, queries that only the other does)."""
        return int((self.at_1 & ~other.at_1).sum()), int((other.at_1 & ~self.at_1).sum())


def decoded(file: str, at_least: tuple[int, int] = FLAT_AT_LEAST) -> Image:
    """A photo of the collection as the embedding pipeline decodes it."""
    image = decode_image((PHOTOS / file).read_bytes(), at_least=at_least)
    assert not isinstance(image, Failure), (file, image)
    return image


@contextmanager
def _one_thread() -> Iterator[None]:
    """On two busy cores torch's team of two takes .84 CPU seconds a photo (EfficientNet-Lite0), one thread .18."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def embedded(
    embedder: Embedder, images: Iterable[Image], preprocess: Callable[[Image], Image] | None = None
) -> Vectors:
    """Unit vectors of decoded images, one by one, as they may be of any shape. `preprocess` replaces the embedder's."""
    preprocess = preprocess or embedder.preprocess
    return np.concatenate([embedder.embed([preprocess(image)]) for image in images])


def recall(
    vectors: Vectors, places: Mapping[str, Place], *, hidden_m: float = 0.0, elsewhere: Vectors | None = None
) -> Recall:
    """Row i of `vectors` was taken at the i-th place. References within `hidden_m` of a query are not searched.

    `elsewhere`: references that are right for no query.
    """
    positions = list(places.values())
    away_m = np.array([[distance_m(*a, *b) for b in positions] for a in positions])
    is_searched = (away_m >= hidden_m) & ~np.eye(len(positions), dtype=bool)
    is_right = is_searched & (away_m < NEAR_M)
    cosines = np.where(is_searched, vectors @ vectors.T, -np.inf)
    if elsewhere is not None:
        cosines = np.hstack([cosines, vectors @ elsewhere.T])
        is_right = np.pad(is_right, ((0, 0), (0, len(elsewhere))))
    return judged(cosines, is_right)


def judged(cosines: NDArray[np.float32], is_right: NDArray[np.bool_]) -> Recall:
    """Of [queries, references]; minus infinity is not searched. Queries without a right answer do not count."""
    counted = is_right.any(axis=1)
    cosines, is_right = cosines[counted], is_right[counted]
    found: NDArray[np.bool_] = np.take_along_axis(is_right, np.argsort(-cosines, axis=1, kind="stable"), axis=1)
    chance = is_right.sum(axis=1) / np.isfinite(cosines).sum(axis=1)
    return Recall(at_1=found[:, 0], at_5=found[:, :5].max(axis=1), chance=float(chance.mean()))
