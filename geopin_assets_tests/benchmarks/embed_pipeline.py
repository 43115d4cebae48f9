"""All of embedding against the bare model: `python -m geopin_assets_tests.benchmarks.embed_pipeline [ResNet50]`.

Images come over HTTP from a process of their own, are decoded and preprocessed, go through CosPlace on the CPU and
into a Parquet file; the bare model gets preprocessed batches. Weights are random: speed does not depend on them.
Target: 0.95 of the bare model per CPU second. Rounds of both are short and alternate, so that whatever else the machine
does disturbs both; the figure is the median of the rounds' ratios, to be repeated within 3 %: every other round
alone says how far. Decoders live as long as all rounds, as they do in a run of thousands of images
(starting one takes 0.15 s). Then which stage takes how long, and what the work before the model takes on one core.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from statistics import median

from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.model.checkpoints import BACKBONES
from geopin_assets.embedding.model.inference import BATCH_SIZE, TorchEmbedder
from geopin_assets.embedding.views import perspective_views
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.image_host import image_host, street_jpegs
from geopin_assets_tests.benchmarks.tools.measure import (
    Cost,
    alternating,
    machine,
    print_table,
    typical,
    typical_ratio,
)
from geopin_assets_tests.benchmarks.tools.model import bare_model, decoded, end_to_end, random_cosplace
from geopin_assets_tests.embedding.kept_decoders import KeptDecoders
from geopin_assets_tests.embedding.pictures import smooth

IMAGES, ROUNDS = 32, 16
TARGET = 0.95


def measure(
    embedder: TorchEmbedder, jpegs: Sequence[bytes], images: int, batch_size: int, rounds: int
) -> tuple[dict[str, list[Cost]], Mapping[str, float]]:
    """Costs of both in alternating rounds, and the seconds of the stages in the last one."""
    batch = [embedder.preprocess(decoded(jpegs[number % len(jpegs)])) for number in range(batch_size)]
    fetcher, stages = ImageFetcher(addresses=AddressRule(allow_loopback=True)), list[Mapping[str, float]]()
    decoders = KeptDecoders()
    with image_host(jpegs) as host, closing(decoders):
        urls = [f"{host}{number}" for number in range(images)]
        works: dict[str, Callable[[], object]] = {
            "bare model": partial(bare_model, embedder, batch, images),
            "end to end": lambda: stages.append(end_to_end(embedder, fetcher, urls, batch_size, decoders)),
        }
        for work in works.values():
            work()  # warm up
        costs = alternating(works, rounds, decoders.cpu_s)
    return costs, {name: sum(stage[name] for stage in stages[1:]) for name in stages[-1]}


def print_costs(costs: Mapping[str, Sequence[Cost]], images: int) -> float:
    """A line for each; images per CPU second, as a share of the bare model's."""
    rows = []
    for name, rounds in costs.items():
        cost, ratio = typical(rounds), typical_ratio(costs["bare model"], rounds)
        figures = (images / cost.wall_s, ratio.wall_s, cost.cpu_s / images * 1000, ratio.cpu_s)
        rows.append((name, *(f"{figure:.{digits}f}" for figure, digits in zip(figures, (2, 3, 1, 3), strict=True))))
    print_table(("", "img/s by the clock", "ratio", "CPU ms/img", "ratio"), rows)
    ratios = [(bare / whole).cpu_s for bare, whole in zip(*costs.values(), strict=True)]
    halves = [median(ratios[start::2]) for start in (0, 1) if ratios[start::2]]
    print(
        f"throughput {median(ratios):.3f} of the bare model's per CPU second, target {TARGET}; each second round: "
        + ", ".join(f"{half:.3f}" for half in halves)
    )
    return median(ratios)


def print_stages(stages: Mapping[str, float]) -> None:
    """Stages overlap: shares are of their sum, and the longest one is the bottleneck."""
    whole, longest = sum(stages.values()), max(stages, key=stages.__getitem__)
    print_table(
        ("stage", "seconds", "share", ""),
        [
            (name, f"{seconds:.2f}", f"{seconds / whole:.1%}", "the bottleneck" if name == longest else "")
            for name, seconds in sorted(stages.items(), key=lambda stage: -stage[1])
        ],
    )


def print_steps(embedder: TorchEmbedder, jpeg: bytes) -> None:
    """CPU time of each step before the model."""
    steps: dict[str, Callable[[], object]] = {
        "decode 1024x768": partial(decode_image, jpeg),
        "preprocess 1024x768": partial(embedder.preprocess, decoded(jpeg)),
        "12 views of 4000x2000": partial(perspective_views, smooth(4000, 2000)),
    }
    costs = alternating(steps, 9)
    print_table(("step", "CPU ms"), [(name, f"{typical(rounds).cpu_s * 1000:.1f}") for name, rounds in costs.items()])


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print images per second of the bare model and of everything, the ratio, the stages and the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default="ResNet18", choices=BACKBONES)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--batch", type=int, default=BATCH_SIZE["cpu"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    print(f"{options.backbone}-512, {options.images} images 1024x768, batches of {options.batch}, {machine()}")
    embedder, jpegs = random_cosplace(options.backbone), street_jpegs(16)
    costs, stages = measure(embedder, jpegs, options.images, options.batch, options.rounds)
    ratio = print_costs(costs, options.images)
    print_stages(stages)
    print_steps(embedder, jpegs[0])
    return [Figure(f"{options.backbone}, HTTP to Parquet", ratio, beside="the bare model", at_least=TARGET)]


if __name__ == "__main__":
    main(sys.argv[1:])
