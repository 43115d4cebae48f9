"""What grows with the cells that change, and what with all there is: `python -m geopin_assets_tests.benchmarks.growth`.

Catalogs of several sizes (`--sizes 1 5 10`, million captures), in which 1, 10, 100 and 1,000 cells of 50 captures
change: some captures are turned, as many are gone and as many new. Measured are the merge, with the files it writes for
whoever embeds; the plan of publishing their rows against a ledger of everything; what the ledger says of them; a look
of the automation at the layers below, over 20,064 cells. Beside them what counts everything: the report on coverage,
and what integrity asks of the catalog and of the ledger. Linear in what changed, flat in the total is the promise.

Every size is looked at in a process of its own; the memory of a step is the most that the process held during it. The
log of the automation knows cells and no captures, so its looks are those of any size.
"""

import argparse
import json
import logging
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from geopin_assets.cells import cell_ids
from geopin_assets.definitions import defs
from geopin_assets.defs.resources import SearchIndex, Storage
from geopin_assets.index.batching import frames_of
from geopin_assets.index.publish import build_plan
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets.platform.index_state import desired_rows
from geopin_assets.store.keys import sort_keys
from geopin_assets.store.places import list_batches
from geopin_assets_tests.benchmarks.merge import _GROW, MILLION, write_cell
from geopin_assets_tests.benchmarks.quarter import LAYERS, look
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, peak_mb, print_table
from geopin_assets_tests.refresh import Refresh
from geopin_assets_tests.simulated import SimulatedLog

TOUCHED, EACH = (1, 10, 100, 1000), 50
LINEAR, FLAT, CELL_S, PEAK_GB = 1.25, 1.5, 0.3, 2.5
NOW = datetime(2026, 8, 24, tzinfo=UTC)
_FIRST = "drop trigger if exists one_more; drop trigger if exists one_more_claim; drop table if exists counts"
_PAGE = 100_000
_ROUNDS, _ROUND_CELLS = 5, 300
"""A neighbor on the same cores only adds: the round that cost least counts, of as many as make these cells."""


class Place:
    """An installation of so many captures, of which only the first cells have files."""

    def __init__(self, folder: Path, cells: int) -> None:
        variables = {"GEOPIN_DATA": str(folder), "GEOPIN_PROFILE": "sandbox"}
        self.storage, self.search_index = Storage(overrides=variables), SearchIndex(overrides=variables)
        self.cells = cell_ids()[:cells]

    def fill(self) -> None:
        for cell_id in self.cells:
            write_cell(self.storage.raw(), cell_id, EACH, 1)
        self.storage.catalog().merge(self.cells, self.storage.raw())

    def grow(self, held: int, captures: int) -> int:
        """Copies under other names, until there are so many; all of them published, as far as the ledger knows."""
        copies = max(0, captures // (len(self.cells) * EACH) - 1 - held)
        ledger, key = self.search_index.ledger(), self.target.key
        ledger.count(key)  # which makes it
        with (
            duckdb.connect(str(self.storage.settings().catalog_path)) as db,
            closing(sqlite3.connect(self.search_index.settings().ledger_path)) as ours,
        ):
            ((known,),) = db.execute("select max(rowid) from captures").fetchall() if held else [(-1,)]
            db.execute(_GROW.format(copies=copies, held=held), {"some": list(self.cells)})
            sort_keys(db)
            list_batches(db)
            ours.executescript(_FIRST)  # counted when it is opened again
            ours.execute("insert or ignore into stores (store) values (?)", [key])
            ((number,),) = ours.execute("select store_key from stores where store = ?", [key])
            for table, columns, others in (
                ("claims", "cell_id, capture_id", ""),
                ("published", "capture_id", ", 'x', null, null"),
            ):
                found = db.execute(f"select {columns} from captures where rowid > ? order by all", [known])  # noqa: S608
                places = ", ".join("?" * len(columns.split(",")))
                sql = f"insert or ignore into {table} values ({number}, {places}{others})"  # noqa: S608
                for page in iter(lambda: found.fetchmany(_PAGE), []):  # noqa: B023
                    ours.executemany(sql, page)
                ours.commit()
        return held + copies

    @property
    def target(self) -> RowTarget:
        (store,) = self.search_index.stores()
        return RowTarget(store, TABLES["captures"])

    def change(self, cells: Sequence[str], *, changed: int = 5) -> None:
        """Another crawl of them: with that many captures turned, gone and new, or as the first one was."""
        newest = self.storage.catalog().query("select coalesce(max(number), 1) from crawl_cells").item()
        for cell_id in cells:
            write_cell(self.storage.raw(), cell_id, EACH, newest + 1, changed=changed)

    def merge(self, cells: Sequence[str]) -> None:
        report = self.storage.catalog().merge(cells, self.storage.raw())
        assert report.cells.height == report.cells.filter(pl.col("inserted") > 0).height == len(cells)

    def plan(self, cells: Sequence[str]) -> None:
        assert build_plan(frames_of(desired_rows(self.storage, cells)), cells, self.target, self.search_index.ledger())

    def ask_ledger(self, cells: Sequence[str]) -> None:
        assert self.search_index.ledger().claims(self.target.key, cells).height >= len(cells)

    def count_coverage(self) -> None:
        assert self.storage.catalog().coverage().height >= len(self.cells)

    def count_integrity(self) -> None:
        """All that the check asks but the stores and the vectors, which `index_upkeep` measures."""
        catalog, ledger = self.storage.catalog(), self.search_index.ledger()
        assert not catalog.duplicates()
        assert sum(catalog.cell_counts().values()) == catalog.licenses()["captures"].sum() == catalog.size()[0]
        assert catalog.image_failures().is_empty()
        assert sum(ledger.counts(self.target.key).values()) >= ledger.count(self.target.key) > 0

    def steps(self, touched: Sequence[int]) -> Iterator[dict[str, Any]]:
        """What each step takes; of those that count everything nothing is touched. Before the first, what a process
        loads once is loaded."""
        self.change(self.cells)
        self.storage.catalog().merge(self.cells, self.storage.raw())
        self.plan(self.cells[:1])
        self.ask_ledger(self.cells[:1])
        for name, step in (("coverage", self.count_coverage), ("integrity", self.count_integrity)):
            yield {"step": name, "touched": 0} | cost_of(step)
        for count in touched:
            rounds = [self.costs(self.cells[:count]) for _ in range(min(_ROUNDS, max(1, _ROUND_CELLS // count)))]
            for name in rounds[0]:
                least = min((of[name] for of in rounds), key=lambda cost: cost["cpu_s"])
                yield {"step": name, "touched": count} | least

    def costs(self, cells: Sequence[str]) -> dict[str, dict[str, float]]:
        """Of each step after a change of these cells."""
        self.change(cells, changed=0)
        self.storage.catalog().merge(cells, self.storage.raw())
        self.change(cells)
        steps = (("merge", self.merge), ("publish plan", self.plan), ("ledger", self.ask_ledger))
        return {name: cost_of(lambda of=of_cells: of(cells)) for name, of_cells in steps}  # type: ignore[misc]


def cost_of(step: Callable[[], object]) -> dict[str, float]:
    peak_mb(anew=True)
    started = Cost.now()
    step()
    cost = Cost.now() - started
    return {"s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_gb": peak_mb() / 1000}


def ticks(cells: Sequence[str], touched: Sequence[int]) -> Iterator[tuple[int, float]]:
    """The CPU of the dearest look at a layer, after so many cells of a layer above it changed."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    graph, dearest = defs.resolve_asset_graph(), dict.fromkeys(touched, 0.0)
    with TemporaryDirectory() as folder, dg.instance_for_test(temp_dir=folder) as instance:
        refresh = Refresh(SimulatedLog(instance, is_lean=True), NOW, [])
        for key in (dg.AssetKey(layer.split("/")) for layer in LAYERS):
            parents = sorted(graph.get(key).parent_keys)
            for done in (*parents, key):
                refresh.log.run(done, cells, refresh.now)
            cursor, asked = None, set[str]()
            for count in (0, 0, 1, *touched):  # after the first change the status of every cell above is read, once
                refresh.now += timedelta(minutes=10)
                refresh.log.run(key, asked, refresh.now)
                refresh.log.run(parents[0], dict.fromkeys(cells[:count], f"changed at {refresh.now}"), refresh.now)
                cursor, cpu_s, asked = look(refresh, key, cursor)
                if count in dearest:
                    dearest[count] = max(dearest[count], cpu_s)
    logging.disable(logging.NOTSET)
    yield from dearest.items()


def in_a_process(folder: Path, cells: int, touched: Sequence[int]) -> list[dict[str, Any]]:
    """The steps at the size that there is."""
    command = [sys.executable, "-m", "geopin_assets_tests.benchmarks.growth", "--steps", str(folder), str(cells)]
    command += ["--touched", *map(str, touched)]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print a row for each size, step and number of cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1], help="million captures")
    parser.add_argument("--touched", type=int, nargs="*", default=TOUCHED, help="cells that change")
    parser.add_argument("--grid", type=int, default=len(cell_ids()), help="cells that the automation looks at")
    parser.add_argument("--steps", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.steps:
        print(json.dumps(list(Place(Path(given.steps[0]), int(given.steps[1])).steps(given.touched))))
        return []
    found = dict[tuple[str, int, float], dict[str, Any]]()
    with TemporaryDirectory() as name:
        place, held = Place(Path(name), max(given.touched)), 0
        place.fill()
        for size in given.sizes:
            held = place.grow(held, int(size * MILLION))
            for row in in_a_process(Path(name), len(place.cells), given.touched):
                found[row["step"], row["touched"], size] = row
            print(f"{size:g} million captures: done", file=sys.stderr, flush=True)
    looks = dict(ticks(cell_ids()[: given.grid], given.touched))
    print(machine())
    shown = [
        (step, touched or "", f"{size:g}", *(f"{row[what]:.2f}" for what in ("s", "cpu_s", "peak_gb")))
        for (step, touched, size), row in sorted(found.items())
    ]
    shown += [("tick", touched, "any", "", f"{cpu_s:.2f}", "") for touched, cpu_s in looks.items()]
    print_table(("step", "cells", "million captures", "s", "CPU s", "peak GB"), shown)
    return [*figures_of(found, given.sizes, given.touched), *figures_of_looks(looks)]


def figures_of(
    found: dict[tuple[str, int, float], dict[str, Any]], sizes: Sequence[float], touched: Sequence[int]
) -> Iterator[Figure]:
    """What a step takes; how much more for the largest catalog, and for each cell when ten times as many changed."""
    for (step, count, size), row in sorted(found.items()):
        cells = f", {count:,} cells" if count else ""
        bound = CELL_S if (step, count) == ("merge", 1) else None
        yield Figure(f"{step}{cells}, {size:g} M captures", row["cpu_s"], "s of CPU", at_most=bound)
    for size in sizes:
        peak = max(row["peak_gb"] for (_, _, of), row in found.items() if of == size)
        yield Figure(f"memory of any step, {size:g} M captures", peak, "GB", at_most=PEAK_GB)
    for step in ("merge", "publish plan", "ledger"):
        for count in touched if len(sizes) > 1 else ():
            first, last = (found[step, count, size]["cpu_s"] for size in (sizes[0], sizes[-1]))
            among = f"{step} of {count:,} cells among {sizes[-1]:g} M captures"
            yield Figure(among, last / max(first, 1e-9), beside=f"among {sizes[0]:g} M", at_most=FLAT)
        for fewer, more in list(pairwise(touched))[-1:]:
            each = [found[step, count, sizes[-1]]["cpu_s"] / count for count in (fewer, more)]
            cell = f"{step}, a cell of {more:,} among {sizes[-1]:g} M captures"
            yield Figure(cell, each[1] / max(each[0], 1e-9), beside=f"a cell of {fewer:,}", at_most=LINEAR)


def figures_of_looks(looks: dict[int, float]) -> Iterator[Figure]:
    for count, cpu_s in looks.items():
        yield Figure(f"a tick, {count:,} cells changed", cpu_s, "s of CPU", at_most=3.0)


if __name__ == "__main__":
    main(sys.argv[1:])
