"""Embedding on a GPU: `python -m geopin_assets_tests.benchmarks.embed_gpu`.

For several batch sizes, eager and compiled, in both half precisions: the bare model, and everything from JPEGs in a
folder of own photos to a Parquet file. Beside them stands what all cores of the machine decode, which binds first.
Target: 0.8 of that, or of the bare model where that is slower. Without a GPU nothing is measured; the same path can be
tried with `--device cpu --backbone ResNet18 --precisions fp32 --images 8 --batches 2 4`.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch

from geopin_assets.embedding.fetching import OWN_PHOTOS_SCHEME, ImageFetcher
from geopin_assets.embedding.model.checkpoints import BACKBONES
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.settings import Precision
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.image_host import street_jpegs
from geopin_assets_tests.benchmarks.tools.measure import Cost, cost_of, machine, print_table
from geopin_assets_tests.benchmarks.tools.model import bare_model, decoded, end_to_end, random_cosplace

TARGET = 0.8
COLUMNS = (
    "",
    "batch",
    "bare img/s",
    "end to end img/s",
    "of the bare",
    "of the decode bound",
    "of the lower",
    "bottleneck",
)


@dataclass(frozen=True)
class Photos:
    """JPEGs, few of them different, in a folder."""

    folder: Path
    jpegs: Sequence[bytes]
    count: int

    @classmethod
    @contextmanager
    def written(cls, count: int) -> Iterator["Photos"]:
        jpegs = street_jpegs(16)
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                (Path(folder) / f"{number}.jpg").write_bytes(jpegs[number % len(jpegs)])
            yield cls(Path(folder), jpegs, count)

    def some(self, count: int) -> list[bytes]:
        return [self.jpegs[number % len(self.jpegs)] for number in range(count)]

    def per_second(self, cost: Cost) -> float:
        return self.count / cost.wall_s


def on_all_cores(prepare: Callable[[bytes], object], photos: Photos) -> float:
    """Images per second that the cores prepare when they do nothing else."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return photos.per_second(cost_of(lambda: list(threads.map(prepare, photos.some(photos.count)))))


def row(embedder: TorchEmbedder, photos: Photos, batch_size: int, decode_bound: float) -> list[str]:
    """Figures of one model at one batch size."""
    fetcher = ImageFetcher(own_photos=LocalFolder(photos.folder), per_host=64)
    urls = [f"{OWN_PHOTOS_SCHEME}:{number}.jpg" for number in range(photos.count)]
    batch = [embedder.preprocess(decoded(jpeg)) for jpeg in photos.some(batch_size)]
    bare_model(embedder, batch, 2 * batch_size)  # warm up, compile
    bare = photos.per_second(cost_of(partial(bare_model, embedder, batch, photos.count)))
    started = Cost.now()
    stages = end_to_end(embedder, fetcher, urls, batch_size)
    whole = photos.per_second(Cost.now() - started)
    ratios = (whole / bound for bound in (bare, decode_bound, min(bare, decode_bound)))
    return [f"{bare:.1f}", f"{whole:.1f}", *(f"{ratio:.2f}" for ratio in ratios), max(stages, key=stages.__getitem__)]


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print one line for each way and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="ResNet50", choices=BACKBONES)
    parser.add_argument("--precisions", nargs="+", type=Precision, default=[Precision.FP16, Precision.BF16])
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--eager", action="store_true", help="nothing compiled")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return []
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{options.backbone}-512 on {name}, {options.images} images 1024x768, {machine()}")
    rows: list[list[str]] = []
    with Photos.written(options.images) as photos:
        bound = on_all_cores(decoded, photos)
        preprocess = random_cosplace(options.backbone).preprocess
        prepared = on_all_cores(lambda jpeg: preprocess(decoded(jpeg)), photos)
        print(f"all cores decode {bound:.0f} img/s, decode and resize {prepared:.0f}")
        for precision, is_compiled in product(options.precisions, (False,) if options.eager else (False, True)):
            embedder = random_cosplace(options.backbone, options.device, precision=precision, is_compiled=is_compiled)
            way = f"{precision} {'compiled' if is_compiled else 'eager'}"
            rows += [[way, str(size), *row(embedder, photos, size, bound)] for size in options.batches]
    print_table(COLUMNS, rows)
    best = max(float(figures[-2]) for figures in rows)
    print(f"best {best:.2f} of the lower bound, target {TARGET}")
    return [Figure(f"{options.backbone} on {name}", best, beside="model or decoding alone", at_least=TARGET)]


if __name__ == "__main__":
    main(sys.argv[1:])
