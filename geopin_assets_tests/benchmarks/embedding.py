"""The embedding pipeline against the bare model, in one run: `python -m geopin_assets_tests.benchmarks.embedding`.

Images come decoded from memory, so that the figure is what reading ahead, preprocessing, batching and
bookkeeping cost on top of the model. Weights are random: speed does not depend on them. Also prints what one
core does of the work before the model. Target: the pipeline reaches 0.9 of the bare model on a CPU.
"""

import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from statistics import median
from typing import TypeVar

import numpy as np
import polars as pl
import torch

from geopin_assets.embedding.cosplace import CosPlace, CosPlaceNetwork
from geopin_assets.embedding.decode import decode_image
from geopin_assets.embedding.failures import FAILURE_SCHEMA
from geopin_assets.embedding.panorama import perspective_views
from geopin_assets.embedding.pipeline import EMBEDDING_SCHEMA, embed_cell
from geopin_assets_tests.embedding.pictures import encoded, smooth

IMAGES, BATCH = (4096, 128) if torch.cuda.is_available() else (24, 8)
ROUNDS = 3
T = TypeVar("T")
DECODED = [smooth(1024, 768, seed) for seed in range(4)]


class FromMemory:
    """Hands out the number of an image where others hand out its bytes."""

    def lanes(self, host: str) -> int:
        return 8

    @asynccontextmanager
    async def session(self):
        async def fetch(url: str) -> bytes:
            return url.rpartition("/")[2].encode()

        yield fetch


def captures(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "capture_id": [f"bench:{i}" for i in range(count)],
            "source": "bench",
            "image_url": [f"memory://images/{i}" for i in range(count)],
            "image_version": "",
            "is_pano": False,
            "heading_deg": 0.0,
        }
    )


def bare(embedder: CosPlace, count: int) -> None:
    """The model alone, on preprocessed batches."""
    batch = [embedder.preprocess(DECODED[i % len(DECODED)]) for i in range(BATCH)]
    for _ in range(0, count, BATCH):
        embedder.embed(batch)


def pipeline(embedder: CosPlace, count: int) -> dict[str, float]:
    """The whole pipeline; returns the seconds of its stages."""
    result = embed_cell(
        captures(count),
        pl.DataFrame(schema=EMBEDDING_SCHEMA),
        pl.DataFrame(schema=FAILURE_SCHEMA),
        embedder=embedder,
        fetcher=FromMemory(),
        now=datetime.now(UTC),
        decode=lambda data, at_least: DECODED[int(data) % len(DECODED)],
        batch_size=BATCH,
    )
    assert result.stats.vectors == count
    return result.stats.seconds


def timed(work: Callable[[CosPlace, int], T], embedder: CosPlace) -> tuple[float, float, T]:
    """(wall seconds, CPU seconds, result) of all images."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(embedder, IMAGES)
    return time.perf_counter() - wall, time.process_time() - cpu, result


def cpu_ms(work, repeat: int = 5) -> float:
    work()
    started = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - started) / repeat * 1000


def main() -> None:
    backbone = sys.argv[1] if len(sys.argv) > 1 else "ResNet18"
    embedder = CosPlace(CosPlaceNetwork(backbone, 512), backbone=backbone, weights_sha256="random")
    embedder.embed([embedder.preprocess(DECODED[0])] * 2)  # warm up
    rounds = [(timed(bare, embedder), timed(pipeline, embedder)) for _ in range(ROUNDS)]  # a busy neighbor hits both
    bare_s, piped_s = (median(one[k][0] for one in rounds) for k in (0, 1))
    cpu = median(one[0][1] / one[1][1] for one in rounds)
    print(f"{backbone}-512, {IMAGES} images 1024x768, batches of {BATCH}, {torch.get_num_threads()} threads")
    print(f"bare model     {IMAGES / bare_s:8.2f} img/s")
    print(f"pipeline       {IMAGES / piped_s:8.2f} img/s")
    print(f"ratio          {bare_s / piped_s:8.3f} by the clock, {cpu:.3f} per CPU second (target 0.9)")
    print("stage seconds  " + "  ".join(f"{name} {value:.2f}" for name, value in rounds[-1][1][2].items()))
    jpeg, panorama = encoded(DECODED[0], quality=88), np.ascontiguousarray(smooth(4000, 2000))
    print(f"decode 1024x768          {cpu_ms(lambda: decode_image(jpeg)):7.1f} ms CPU")
    print(f"preprocess 1024x768      {cpu_ms(lambda: embedder.preprocess(DECODED[0])):7.1f} ms CPU")
    print(f"12 views of 4000x2000    {cpu_ms(lambda: perspective_views(panorama), 3):7.1f} ms CPU")


if __name__ == "__main__":
    main()
