"""Fetching and decoding against img2dataset: `python -m geopin_assets_tests.benchmarks.embed_fetch`.

The same images from the same server, in turn: img2dataset as its command does it by default (fetch, resize, encode
again, write), the same with as many pixels as our model takes, img2dataset with everything after decoding left out,
and what comes before the model here: fetch, decode, resize to pixels; and the same with what img2dataset has no word
for, whether an image shows anything and how good it is. CPU seconds include child processes; what a run of few images
takes is start-up and is subtracted. Target: 2.7 times the images per CPU second of img2dataset for the same pixels,
1.8 times as it is, where it makes 44 % fewer of them (512x384 instead of 683x512). `make bench-embed` installs
img2dataset in an environment of its own, because it wants other versions than we do.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.protocol import CaptureImage, Failure, Image
from geopin_assets.embedding.reading import ReadAhead
from geopin_assets.embedding.repeats import digest
from geopin_assets.embedding.seen import Seen, flat
from geopin_assets.embedding.stages import StageClock
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.image_host import image_host, street_jpegs
from geopin_assets_tests.benchmarks.tools.measure import Cost, alternating, machine, print_table, typical
from geopin_assets_tests.benchmarks.tools.model import random_cosplace

IMAGES, FEW = 1000, 20
ROUNDS = 2
TARGET, TARGET_AS_IT_IS = 2.7, 1.8
PROCESSES, THREADS = 2, 16
IMG2DATASET = Path(__file__).parents[2] / ".geopin/bench/img2dataset/bin/img2dataset"

AS_IT_IS, SAME_PIXELS = "img2dataset as it is", "img2dataset, pixels as for our model"
GEOPIN, JUDGED = "geopin, fetch + decode + resize", "geopin, and judged"
_ENCODED = ("--image_size=512", "--encode_quality=95", "--output_format=webdataset")
_DECODED = ("--skip_reencode=True", "--output_format=dummy", "--extract_exif=False", "--compute_hash=None")
IMG2DATASET_OPTIONS = {
    AS_IT_IS: (*_ENCODED, "--resize_mode=border"),
    SAME_PIXELS: (*_ENCODED, "--resize_mode=keep_ratio"),
    "img2dataset, fetch + decode": (*_DECODED, "--resize_mode=no"),
}


def img2dataset(options: Sequence[str], host: str, images: int) -> None:
    """Run its command over so many images of the host; ends the benchmark when one could not be had."""
    with tempfile.TemporaryDirectory() as folder:
        listed, stored = Path(folder) / "urls.txt", Path(folder) / "out"
        listed.write_text("\n".join(f"{host}{number}" for number in range(images)))
        shards = (f"--number_sample_per_shard={-(-images // PROCESSES)}", f"--output_folder={stored}")
        workers = (f"--processes_count={PROCESSES}", f"--thread_count={THREADS}")
        command = [str(IMG2DATASET), str(listed), *options, *shards, *workers]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        done = sum(pl.read_json(stats)["successes"].sum() for stats in stored.glob("*_stats.json"))
    if done != images:
        sys.exit(f"img2dataset: {done} of {images} images\n{ran.stderr[-2000:]}")


def geopin(preprocess: Callable[[Image], Image], host: str, images: int, *, is_judged: bool = False) -> None:
    """Fetch, decode and resize as `embed_cells` does before the model, as many requests at once as img2dataset."""

    def prepare(_: CaptureImage, data: bytes) -> Image | Failure:
        with decoders.lent() as decoder:
            pixels = decoder.decode(data)
            digest(data)
            seen = pixels if isinstance(pixels, Failure) or not is_judged else flat(pixels)
            return seen if isinstance(seen, Failure) else preprocess(seen.views[0] if isinstance(seen, Seen) else seen)

    fetcher = ImageFetcher(addresses=AddressRule(allow_loopback=True), per_host=PROCESSES * THREADS)
    wanted = [CaptureImage("", str(n), "street", str(n), f"{host}{n}", "1", False, None) for n in range(images)]
    done = 0
    with Decoders() as decoders, ReadAhead(fetcher, prepare, StageClock()) as reader:
        reader.submit(wanted)
        while reader.pending:
            done += not isinstance(reader.next()[1], Failure)
    if done != images:
        sys.exit(f"geopin: {done} of {images} images")


def ways(host: str, *, is_alone: bool) -> dict[str, Callable[[int], None]]:
    """What is measured, each on so many images."""
    ours = partial(geopin, random_cosplace().preprocess, host)
    found: dict[str, Callable[[int], None]] = {GEOPIN: ours, JUDGED: partial(ours, is_judged=True)}
    if IMG2DATASET.exists() and not is_alone:
        found |= {name: partial(img2dataset, options, host) for name, options in IMG2DATASET_OPTIONS.items()}
    return found


def measure(host: str, images: int, rounds: int, *, is_alone: bool) -> dict[str, Cost]:
    """The typical cost of all images, without starting up; options of img2dataset change nothing about that."""
    measured = ways(host, is_alone=is_alone)
    starting = {name: partial(way, FEW) for name, way in measured.items() if name in (GEOPIN, JUDGED, AS_IT_IS)}
    start = {name: typical(costs) for name, costs in alternating(starting, rounds).items()}
    print("  ".join(f"start-up of {name}: {cost.cpu_s:.2f} CPU s" for name, cost in start.items()))
    costs = alternating({name: partial(way, images) for name, way in measured.items()}, rounds)
    return {name: typical(cost) - start[name if name in start else AS_IT_IS] for name, cost in costs.items()}


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print images per CPU second of each, and how many times as many are read here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help=f"more than {FEW}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", action="store_true", help="without img2dataset")
    options = parser.parse_args(arguments)
    print(f"{options.images} images of 134 KB, 1024x768, {machine()}")
    with image_host(street_jpegs(20)) as host:
        costs = measure(host, options.images, options.rounds, is_alone=options.alone)
    images, ours = options.images - FEW, costs[GEOPIN]
    print_table(
        ("", "CPU ms/img", "img per CPU s", "img/s by the clock", "geopin is times as fast, per CPU s"),
        [
            (
                name,
                f"{cost.cpu_s / images * 1000:.2f}",
                f"{images / cost.cpu_s:.0f}",
                f"{images / cost.wall_s:.0f}",
                f"{cost.cpu_s / ours.cpu_s:.2f}",
            )
            for name, cost in costs.items()
        ],
    )
    if AS_IT_IS in costs:
        as_it_is, same_pixels = (costs[way].cpu_s / ours.cpu_s for way in (AS_IT_IS, SAME_PIXELS))
        judged = costs[SAME_PIXELS].cpu_s / costs[JUDGED].cpu_s
        print(f"ratio {same_pixels:.2f} for the same pixels, target {TARGET}; {judged:.2f} judged too")
        print(f"ratio {as_it_is:.2f} to img2dataset as it is, target {TARGET_AS_IT_IS}")
        what = "images a CPU second, fetched to pixels"
        return [
            Figure(what, same_pixels, beside="img2dataset", at_least=TARGET),
            Figure(f"{what}, as it is", as_it_is, beside="img2dataset", at_least=TARGET_AS_IT_IS),
        ]
    print("img2dataset is not installed (`make bench-embed` installs it where it can be had): no ratio")
    return [Figure("an image, fetched to pixels", ours.cpu_s / images * 1000, "ms of CPU")]


if __name__ == "__main__":
    main(sys.argv[1:])
