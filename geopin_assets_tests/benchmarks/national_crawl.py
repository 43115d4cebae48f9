"""The whole country's metadata crawl over stand-ins: `python -m geopin_assets_tests.benchmarks.national_crawl --all`.

An invented country, its captures spread as people are, is served on loopback by a process of its own, without
latency. Every source is crawled cell by cell into raw Parquet files, first as plain code, then one source again as
Dagster runs of 250 cells: the difference is what Dagster's bookkeeping costs. Without `--all` a part of the country
is crawled, which is enough for the ratios.
"""

import argparse
import random
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import dagster as dg
import uvicorn

from geopin_assets.cells import all_cells, cell
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.defs.graph import RAW_CELLS
from geopin_assets.defs.running.local_run import crawl_source
from geopin_assets.files.object_store import open_store
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.streets.world import World
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, open_source
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cells
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.instances import shipped_storage
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.sources.invented import VARIABLES, Place, Truth

CAPTURES_PER_SOURCE = 20_000
CELLS = 1000
WITH_DAGSTER = "panoramax"
CRAWLED = [source for source in SOURCES if source.asks_a_server]


@dataclass(frozen=True)
class Crawl:
    """What crawling one source took."""

    source: str
    cells: int
    captures: int
    requests: int
    seconds: float
    failed: int


def country(captures: int, cell_ids: Sequence[str]) -> list[Place]:
    """Positions spread over cells as people are, along streets."""
    rng, wanted = random.Random(3), set(cell_ids)
    populated = [facts for facts in all_cells() if facts.cell.cell_id in wanted and facts.population]
    chosen = rng.choices(populated, [facts.population for facts in populated], k=captures)
    return [_on_a_street(facts.cell.cell_id, rng) for facts in chosen]


def _on_a_street(cell_id: str, rng: random.Random) -> Place:
    box, line = cell(cell_id).bbox, (rng.randrange(20) + 0.5) / 20
    return box.west + line * (box.east - box.west), box.south + rng.random() * (box.north - box.south)


def serve(port: int, places: list[Place]) -> None:
    """Stand-ins of all sources over the same positions, until killed."""
    world = World(tuple(shot for source in CRAWLED for shot in Truth.at(source, places).world.shots))
    app = create_app(world, f"http://127.0.0.1:{port}")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


@contextmanager
def served(places: list[Place]) -> Iterator[int]:
    """The port of a server in a process of its own."""
    port = free_port()
    process = get_context("spawn").Process(target=serve, args=(port, places), daemon=True)
    process.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.join()


def crawl(source: type[Source], settings: Settings, cell_ids: Sequence[str]) -> Crawl:
    """Crawl cells into raw files, as plain code."""
    raw = RawStore(open_store(settings.data_dir / "raw"))
    captures, requests, failed, started = 0, 0, 0, time.perf_counter()
    with open_source(source.name, settings) as crawler:
        for where, outcome in crawl_cells(crawler, map(cell, cell_ids)):
            for _ in store_cell(raw, source.name, where.cell_id, outcome):
                pass
            if isinstance(outcome, CellCrawl):
                captures += len(outcome.captures)
                requests += outcome.report.requests
            else:
                failed += 1
    return Crawl(source.name, len(cell_ids), captures, requests, time.perf_counter() - started, failed)


def crawl_with_dagster(name: str, settings: Settings, cell_ids: Sequence[str], home: Path) -> float:
    """Seconds for the same as Dagster runs."""
    overrides = {
        **VARIABLES,
        "GEOPIN_PROFILE": "sandbox",
        "GEOPIN_DATA": str(settings.data_dir),
        "GEOPIN_SANDBOX_PORT": str(settings.sandbox_port),
    }
    with dg.instance_for_test(shipped_storage(), temp_dir=str(home)) as instance:
        job = build_definitions(overrides=overrides).resolve_implicit_global_asset_job_def()
        started = time.perf_counter()
        result = crawl_source(job, instance, cell_ids, name)
        seconds = time.perf_counter() - started
    if result.cells != len(cell_ids):
        sys.exit(f"{name}: {result.cells} of {len(cell_ids)} cells, {result.failed}")
    return seconds


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print one line a source, then memory and Dagster's share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="all 20,064 cells")
    parser.add_argument("--captures", type=int, default=CAPTURES_PER_SOURCE, help="per source, in the whole country")
    parser.add_argument("--cells", type=int, default=CELLS, help="without --all")
    options = parser.parse_args(arguments)
    cell_ids = [facts.cell.cell_id for facts in all_cells()]
    if not options.all:
        cell_ids = stretches(cell_ids, options.cells)
    places = country(options.captures * len(cell_ids) // len(all_cells()), cell_ids)
    print(f"{len(cell_ids)} cells, {len(places)} captures per source, {datetime.now(UTC):%H:%M} UTC")
    with tempfile.TemporaryDirectory() as folder, served(places) as port:
        plain = [_timed(source, _settings(folder, "plain", port), cell_ids) for source in CRAWLED]
        memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = sum(done.seconds for done in plain)
        cells = sum(done.cells for done in plain)
        print(f"{'together':18} {cells:7} {'':9} {'':9} {seconds:8.0f} s {cells / seconds:8.0f} cells/s")
        print(f"memory of the crawling process at its peak: {memory_mib:.0f} MiB")
        home = Path(folder) / "home"
        home.mkdir()
        with_dagster = crawl_with_dagster(WITH_DAGSTER, _settings(folder, "dagster", port), cell_ids, home)
        without = next(done.seconds for done in plain if done.source == WITH_DAGSTER)
        share = 1 - without / with_dagster
        print(
            f"{WITH_DAGSTER} as Dagster runs: {with_dagster:.0f} s against {without:.0f} s, bookkeeping {share:.0%}, "
            f"{1000 * (with_dagster - without) / len(cell_ids):.0f} ms a cell"
        )
    return [
        Figure(f"{len(cell_ids)} cells of every source, a cell and source", 1000 * seconds / cells, "ms"),
        Figure("memory of the crawling process", memory_mib / 1024, "GB", at_most=1.2),
        Figure("failed cells", sum(done.failed for done in plain), "cells", at_most=0),
    ]


def stretches(cell_ids: Sequence[str], count: int) -> list[str]:
    """So many of them all over the country, in stretches that a run takes: each scattered cell would be a run."""
    each = min(count, RAW_CELLS)
    starts = range(0, len(cell_ids), len(cell_ids) // (count // each))
    return [cell_id for start in starts for cell_id in cell_ids[start : start + each]][:count]


def _timed(source: type[Source], settings: Settings, cell_ids: Sequence[str]) -> Crawl:
    done = crawl(source, settings, cell_ids)
    print(
        f"{done.source:18} {done.cells:7} {done.captures:9} {done.requests:9} {done.seconds:8.0f} s "
        f"{done.cells / done.seconds:8.0f} cells/s{f', {done.failed} FAILED' if done.failed else ''}",
        flush=True,
    )
    return done


def _settings(folder: str, name: str, port: int) -> Settings:
    return Settings(data_dir=Path(folder) / name, sandbox_port=port, variables=VARIABLES)


if __name__ == "__main__":
    main(sys.argv[1:])
