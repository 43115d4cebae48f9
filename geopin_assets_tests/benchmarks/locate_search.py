"""Searching an index for one photo: `python -m geopin_assets_tests.benchmarks.locate_search`.

What `geopin locate` waits for, beside one pass of numpy over the same vectors in memory, which finds the truth. Large
indexes are divided into lists by their weekly compaction: how many of the ten nearest are found is shown, too.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.limits import VECTORS_PER_UPSERT
from geopin_assets.index.protocol import vector_schema
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import machine, print_table

DIM = 512
TOP = 100


LOOKS_ALIKE = 8
"""Captures of one place, whose vectors differ by noise; places look like their towns, and those like one of a few."""


_AT_ONCE = 50_000


def vectors(count: int, numbers: NDArray[np.intp], seed: int) -> NDArray[np.float32]:
    """Unit vectors, float32 [n, DIM], of these of `count` captures of places, which are the same whatever the seed."""
    places, noise = np.random.default_rng(0), np.random.default_rng(seed)
    towns = places.standard_normal((300, DIM), dtype=np.float32)
    size = -(-count // LOOKS_ALIKE)
    of = towns[places.integers(len(towns), size=size)] + places.standard_normal((size, DIM), dtype=np.float32)
    drawn = of[numbers // LOOKS_ALIKE]
    for first in range(0, len(drawn), _AT_ONCE):
        part = drawn[first : first + _AT_ONCE]
        part += 0.8 * noise.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return drawn


def filled(folder: Path, stored: NDArray[np.float32]) -> LanceIndex:
    """An index that holds these vectors, written as a publish writes them."""
    index = LanceIndex(folder, "locate-search", DIM)
    index.create()
    for first in range(0, len(stored), VECTORS_PER_UPSERT):
        part = stored[first : first + VECTORS_PER_UPSERT]
        rows = {
            "vector_id": [f"s:{first + n}/00" for n in range(len(part))],
            "embedding": part,
            "source": ["s"] * len(part),
            "cell_block": ["r09c05"] * len(part),
            "captured_year": [2024] * len(part),
        }
        index.upsert(pl.DataFrame(rows, schema=vector_schema(DIM)))
    index.compact()
    return index


def scan(stored: NDArray[np.float32], asked: NDArray[np.float32]) -> list[str]:
    """The nearest by one pass over memory, best first."""
    scores = stored @ asked
    nearest = np.argpartition(-scores, TOP)[:TOP] if len(scores) > TOP else np.arange(len(scores))
    return [f"s:{n}/00" for n in nearest[np.argsort(-scores[nearest])]]


def timed(search: Callable[[NDArray[np.float32]], list[str]], asked: NDArray[np.float32]) -> tuple[list[float], float]:
    """Seconds of each search, and CPU seconds of all."""
    took, cpu = [], time.process_time()
    for each in asked:
        started = time.perf_counter()
        search(each)
        took.append(time.perf_counter() - started)
    return took, time.process_time() - cpu


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=40)
    chosen = parser.parse_args(arguments)
    stored = vectors(chosen.count, np.arange(chosen.count), 1)
    asked = vectors(chosen.count, np.arange(0, chosen.count, max(1, chosen.count // chosen.queries)), 2)
    with tempfile.TemporaryDirectory(prefix="geopin-bench-") as folder:
        index = filled(Path(folder), stored)
        index.query(asked[0], TOP)  # opens the files
        found, cpu_s = timed(lambda each: index.query(each, TOP)["vector_id"].to_list(), asked)
        bare, bare_cpu_s = timed(lambda each: scan(stored, each), asked)
        same = [
            len(set(index.query(each, TOP)["vector_id"].to_list()[:10]) & set(scan(stored, each)[:10]))
            for each in asked[:10]
        ]
    print(machine())
    rows = [
        [
            name,
            f"{1000 * statistics.median(took):.0f}",
            f"{1000 * np.quantile(took, 0.95):.0f}",
            f"{cpu / len(asked):.3f}",
        ]
        for name, took, cpu in (("index", found, cpu_s), ("numpy scan", bare, bare_cpu_s))
    ]
    print_table(["search", "p50 ms", "p95 ms", "CPU s each"], rows)
    print(
        f"{chosen.count:,} vectors: {statistics.median(found) / statistics.median(bare):.2f} x the scan's time,"
        f" {cpu_s / bare_cpu_s:.2f} x its CPU; of the ten nearest {statistics.mean(same):.1f} are the same"
    )
    ratio = statistics.median(found) / statistics.median(bare)
    return [Figure(f"searching {chosen.count:,} vectors, p50", ratio, beside="a scan with numpy", at_most=1.2)]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
