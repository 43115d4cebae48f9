"""Places found in real photos, before and after points: `python -m geopin_assets_tests.benchmarks.real_photos`.

Three questions, each to every model that can be had without the internet, and to published checkpoints that follow by
path: the walk through Lund with references within 10 m hidden, dash-cam frames of one street, and photos cut out of
eight panoramas. References are the others of all of them, and photos of other towns. Intervals are of 2,000 bootstraps
over runs of neighboring photos, and the gain's is paired.

None of the models here was trained on places, and all photos of a question are of one light: this shows what matching
points add to weak features, and says nothing of CosPlace, EigenPlaces or MegaLoc, which it measures if they are given.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.views import perspective_views
from geopin_assets.locate.verify import Features
from geopin_assets_tests.benchmarks.recall import models
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.locate.weights import verifier
from geopin_assets_tests.real.panorama_queries import PANORAMAS, queries
from geopin_assets_tests.real.recall import ELSEWHERE, NEAR_M, decoded, embedded
from geopin_assets_tests.real.walk import ABSENT, meters_between, walk

HIDDEN_M, TOP, RESAMPLES, RUN = 10.0, 10, 2_000, 4
QUERIES_EACH = 8
DASH_CAM = tuple(f"panoramax_geovisio/e{n}.jpg" for n in range(1, 6))
Answers = NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """One question: images, and which references may answer and do so rightly, both [asked, references]."""

    name: str
    images: Sequence[Image]
    is_searched: Answers
    is_right: Answers


class Collection:
    """All references, and the questions to them."""

    def __init__(self) -> None:
        spheres = {file: decoded(file, PANORAMA_AT_LEAST) for file in PANORAMAS}
        flat = [*walk(), *dict.fromkeys((*DASH_CAM, *ELSEWHERE))]
        self.names = [*flat, *(file for file in spheres for _ in range(12))]
        cut = (view for sphere in spheres.values() for view in perspective_views(sphere))
        self.images: list[Image] = [*map(decoded, flat), *cut]
        self.cut = list(queries(spheres, QUERIES_EACH))

    def asked(self) -> Iterator[Asked]:
        """Each question; what is asked is no reference of itself."""
        places, is_self = walk(), lambda name: np.array([other == name for other in self.names])
        away = {name: np.array([meters_between(places, name, other) for other in self.names]) for name in places}
        yield self._of(
            "walk, 10 m hidden",
            list(places),
            lambda name: away[name] > HIDDEN_M,
            lambda name: away[name] <= NEAR_M,
        )
        is_frame = np.array([name in DASH_CAM for name in self.names])
        yield self._of("dash-cam", list(DASH_CAM), lambda name: ~is_self(name), lambda name: is_frame & ~is_self(name))
        is_right = np.array([[name == query.panorama for name in self.names] for query in self.cut])
        yield Asked("cut from panoramas", [each.image for each in self.cut], np.ones_like(is_right), is_right)

    def _of(
        self, title: str, names: Sequence[str], searched: Callable[[str], Answers], right: Callable[[str], Answers]
    ) -> Asked:
        is_searched = np.array([searched(name) for name in names])
        images = [self.images[self.names.index(name)] for name in names]
        return Asked(title, images, is_searched, is_searched & np.array([right(name) for name in names]))


class Points:
    """Matching points of what is asked with references: found once, whatever models ask."""

    def __init__(self, collection: Collection, questions: Sequence[Asked]) -> None:
        self._verifier = verifier()
        self._references = cache(lambda number: self._verifier.features(collection.images[number]))
        self._asked = cache(lambda question, number: self._verifier.features(questions[question].images[number]))
        self.between = cache(self._between)

    def _between(self, question: int, number: int, reference: int) -> int:
        one: Features = self._asked(question, number)
        return self._verifier.inliers(one, self._references(reference))


def answered(asked: Asked, likeness: NDArray[np.float32], points: Callable[[int, int], int]) -> tuple[Answers, Answers]:
    """Whether the first match is right, by likeness and by points among the TOP most alike; of what can be answered."""
    ranked = np.argsort(-np.where(asked.is_searched, likeness, -np.inf), axis=1, kind="stable")[:, :TOP]
    solvable = np.flatnonzero(asked.is_right.any(axis=1))
    first = {n: max(ranked[n], key=lambda reference: points(n, int(reference))) for n in solvable}
    before = np.array([asked.is_right[n, ranked[n, 0]] for n in solvable])
    return before, np.array([asked.is_right[n, first[n]] for n in solvable])


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % of the mean: runs of neighbors are drawn together, as they show nearly the same."""
    random, runs = np.random.default_rng(seed), np.array_split(values, max(2, len(values) // RUN))
    drawn = random.integers(0, len(runs), (RESAMPLES, len(runs)))
    means = [np.concatenate([runs[n] for n in row]).mean() for row in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def text(right: NDArray[np.bool_]) -> str:
    low, high = interval(right.astype(float))
    return f"{right.sum()}/{len(right)} = {right.mean():.2f} [{low:.2f}, {high:.2f}]"


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="*")
    parser.add_argument("--thumbnail", action="store_true", help="that model and the dash-cam frames alone")
    options = parser.parse_args(arguments)
    if not walk():
        print(ABSENT)
        return []
    torch.set_num_threads(1)
    collection = Collection()
    questions = [asked for asked in collection.asked() if not options.thumbnail or asked.name == "dash-cam"]
    points = Points(collection, questions)
    print(f"{len(collection.images)} references; right at once, and by points among the {TOP} most alike")
    print("| model | question | before | after | gain |\n|---|---|---|---|---|")
    figures = list[Figure]()
    embedders: Iterator[Embedder] = chain([Thumbnail()], () if options.thumbnail else models(options.checkpoints))
    for embedder in embedders:
        references = embedded(embedder, collection.images)
        for number, asked in enumerate(questions):
            likeness = embedded(embedder, asked.images) @ references.T
            before, after = answered(asked, likeness, lambda n, r, of=number: points.between(of, n, r))  # type: ignore[misc]
            gain = after.astype(float) - before
            low, high = interval(gain)
            cells = f"{text(before)} | {text(after)} | {gain.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
            print(f"| `{embedder.model.model_id}` | {asked.name} | {cells} |", flush=True)
            times = after.mean() / max(before.mean(), 1e-9)
            what = f"right by points, {asked.name}, {embedder.model.model_id}"
            figures.append(Figure(what, times, beside="by likeness"))
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
