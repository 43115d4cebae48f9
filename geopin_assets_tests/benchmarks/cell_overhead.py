"""What Dagster costs per cell of a range run: `python -m geopin_assets_tests.benchmarks.cell_overhead`.

The same 250 cells of a source that answers at once are crawled and stored twice: as one range run of a raw asset,
with an instance in SQLite, and by a bare loop. The difference is bookkeeping: two events and their rows for each
cell, and the start of the run. A real cell takes a second or more, by politeness alone. The target is 40 ms.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median

import dagster as dg

from geopin_assets.capture import Capture
from geopin_assets.cells import cell, cell_ids
from geopin_assets.defs.assets.raw import build_raw_asset, store_cell
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.graph import RAW_CELLS
from geopin_assets.defs.resources import Sources, Storage
from geopin_assets.defs.running.materialize import Progress
from geopin_assets.grid import Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import panoramax
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.crawl import crawl_cells
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.factories import capture
from geopin_assets_tests.instances import shipped_storage

ROUNDS, TARGET_MS = 3, 40
CAPTURES = 20


class Instant(Source):
    """Shows the same few captures in the middle of every cell, at once."""

    name, title = "instant", "Instant"
    homepage = contribute_url = "https://instant.example"
    license, attribution = "CC0-1.0", "Instant"

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Instant":
        return cls()

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture]:
        lon, lat = cell.bbox.center
        report.requests += 1
        yield from (capture(f"{cell.cell_id}-{n}", source=self.name, lon=lon, lat=lat) for n in range(CAPTURES))


Instant.__module__ = panoramax.__name__  # whose code an asset follows: a source has its module in `sources/`


class Only(Sources):
    """The registry of one source, without a network."""

    def open(self, name: str, **_: object) -> AbstractContextManager[Source]:
        return nullcontext(Instant())


def bare_run(cells: Sequence[str], folder: Path) -> None:
    raw = Storage(overrides={"GEOPIN_DATA": str(folder)}).raw()
    for where, outcome in crawl_cells(Instant(), map(cell, cells)):
        list(store_cell(raw, Instant.name, where.cell_id, outcome))


def dagster_run(cells: Sequence[str], folder: Path) -> None:
    storage = Storage(overrides={"GEOPIN_DATA": str(folder)})
    asset = build_raw_asset(Instant)
    resources = {"sources": Only(), "storage": storage, "progress": Progress()}
    job = dg.Definitions([asset], resources=resources).resolve_implicit_global_asset_job_def()
    with dg.instance_for_test(shipped_storage(), temp_dir=str(folder)) as instance:
        ended = job.execute_in_process(
            instance=instance,
            tags={RANGE_START: cells[0], RANGE_END: cells[-1]},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert ended.success
        assert instance.get_materialized_partitions(asset.key) == set(cells)


def ms_per_cell(run: Callable[[Path], None]) -> tuple[float, float]:
    """Wall and CPU milliseconds per cell of a run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        run(Path(folder))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stored = sum(1 for _ in (Path(folder) / "raw" / Instant.name).glob("*.parquet"))
    return wall / stored * 1000, cpu / stored * 1000


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=RAW_CELLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    cells = cell_ids()[: options.cells]
    bare, whole = partial(bare_run, cells), partial(dagster_run, cells)
    rounds = [(ms_per_cell(bare), ms_per_cell(whole)) for _ in range(options.rounds)]
    rows = {
        "bare loop": [bare for bare, _ in rounds],
        "range run": [run for _, run in rounds],
        "overhead": [(run[0] - bare[0], run[1] - bare[1]) for bare, run in rounds],
    }
    base = median(wall for wall, _ in rows["bare loop"])
    print(f"{len(cells)} cells of {CAPTURES} captures, per cell")
    print(f"{'':14} {'wall ms':>8} {'cpu ms':>8} {'ratio':>6}")
    for name, measured in rows.items():
        wall, cpu = (median(numbers) for numbers in zip(*measured, strict=True))
        print(f"{name:14} {wall:8.1f} {cpu:8.1f} {wall / base:6.1f}")
    return [
        Figure(f"Dagster's part of a cell in a run of {len(cells)}", cpu, "ms of CPU", "a bare loop", at_most=TARGET_MS)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
