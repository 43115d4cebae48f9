"""A whole country, metadata only: `python -m geopin_assets_tests.benchmarks.scale [--captures 39e6]`.

Crawls, merges, plans what to embed and what to publish for a quarter, a half and all of so many captures, spread
evenly over all 20,064 cells: nothing is fetched, embedded or sent. Each step is a process of its own and goes through
its cells in runs as large as the graph's. What a step takes for each million captures should stay, and its memory too.
39 million take about 35 GB of disk and an hour and a half; 1 million, the default, two minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from geopin_assets.cells import cell_ids
from geopin_assets.defs.graph import CATALOG, D1, EMBEDDINGS, node
from geopin_assets.defs.resources import Storage
from geopin_assets.embedding.plan import plan_cell
from geopin_assets.embedding.vectors import HELD_SCHEMA
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import build_plan
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets.platform.index_state import desired_rows
from geopin_assets_tests.benchmarks.merge import write_cell
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, print_table

MILLION, PEAK_GB, GROWTH = 1_000_000, 2.5, 1.25
NOW = datetime(2026, 5, 11, tzinfo=UTC)


class Country:
    """An installation in a folder, and its cells."""

    def __init__(self, folder: Path, cells: int) -> None:
        self.folder, self.cells = folder, cell_ids()[:cells]
        self.storage = Storage(overrides={"GEOPIN_DATA": str(folder), "GEOPIN_PROFILE": "sandbox"})

    def runs(self, asset: str) -> Iterator[Sequence[str]]:
        """Cells, as many at a time as a run of the asset takes."""
        size = node(asset).cells_per_run or len(self.cells)
        yield from (self.cells[at : at + size] for at in range(0, len(self.cells), size))


def crawl(country: Country, each: int) -> int:
    """A file a cell, as a crawl leaves it; the captures."""
    raw = country.storage.raw()
    for cell_id in country.cells:
        write_cell(raw, cell_id, each, 1)
    return each * len(country.cells)


def merge(country: Country, each: int) -> int:
    raw, catalog = country.storage.raw(), country.storage.catalog()
    return sum(catalog.merge(cells, raw).cells["captures"].sum() for cells in country.runs(CATALOG))


def plan_embedding(country: Country, each: int) -> int:
    """Images to fetch."""
    catalog, nothing, todo = country.storage.catalog(), pl.DataFrame(schema=HELD_SCHEMA), 0
    for cells in country.runs(EMBEDDINGS):
        failures = catalog.failures(cells)
        for _, captures in catalog.wanted(cells).group_by("cell_id"):
            todo += plan_cell(captures, nothing, nothing, failures, NOW).todo.height
    return todo


def plan_publishing(country: Country, each: int) -> int:
    """Rows to send, against a ledger that knows of nothing yet."""
    target = RowTarget(SqliteStore(country.folder / "rows.sqlite"), TABLES["captures"])
    ledger, rows, at_once = Ledger(country.folder / "ledger.sqlite"), 0, max(1, ROW_CAPTURES_AT_ONCE // each)
    for run in country.runs(D1):
        for at in range(0, len(run), at_once):
            cells = run[at : at + at_once]
            desired = desired_rows(country.storage, cells)
            rows += build_plan(lambda desired=desired: [desired], cells, target, ledger).upsert.height  # type: ignore[misc]
    return rows


STEPS: dict[str, Callable[[Country, int], int]] = {
    "crawl": crawl,
    "merge": merge,
    "embed plan": plan_embedding,
    "publish plan": plan_publishing,
}


def in_process(step: str, folder: Path, cells: int, each: int) -> dict[str, float]:
    """Seconds, CPU seconds and peak GB of a step, and what it counted."""
    command = [sys.executable, "-m", "geopin_assets_tests.benchmarks.scale", "--step", step, str(folder)]
    command += [f"--cells={cells}", f"--captures={each * cells}"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


def here(step: str, folder: Path, cells: int, each: int) -> dict[str, float]:
    """The same in this process."""
    country, started = Country(folder, cells), Cost.now()
    counted = STEPS[step](country, each)
    cost, peak_gb = Cost.now() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_gb": peak_gb, "counted": counted}


def stored(folder: Path) -> tuple[int, float]:
    """Files, and GB of them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files) / 1e9


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print a line for each step and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=lambda text: int(float(text)), default=MILLION)
    parser.add_argument("--cells", type=int, default=len(cell_ids()))
    parser.add_argument("--here", action="store_true", help="all steps in this process: memory is that of all")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        print(
            json.dumps(here(options.step[0], Path(options.step[1]), options.cells, options.captures // options.cells))
        )
        return []
    run, found = here if options.here else in_process, dict[tuple[str, int], dict[str, float]]()
    sizes = [max(1, options.captures // part // options.cells) for part in (4, 2, 1)]
    for each in sizes:
        with tempfile.TemporaryDirectory(prefix="geopin-bench-") as name:
            for step in STEPS:
                found[step, each] = run(step, Path(name), options.cells, each)
                assert found[step, each]["counted"] == each * options.cells, (step, found[step, each])
            files, size_gb = stored(Path(name))
            print(f"{each * options.cells:,} captures: {files:,} files, {size_gb:.2f} GB", flush=True)
    print(f"{options.cells:,} cells, {machine()}")
    rows = [
        (step, f"{each * options.cells:,}", *(f"{took[name]:.2f}" for name in ("s", "cpu_s", "peak_gb")),
         f"{took['cpu_s'] / (each * options.cells) * MILLION:.1f}")
        for (step, each), took in sorted(found.items(), key=lambda item: list(STEPS).index(item[0][0]))
    ]  # fmt: skip
    print_table(("step", "captures", "s", "CPU s", "peak GB", "CPU s a million"), rows)
    return [figure for step in STEPS for figure in figures_of(step, sizes, options.cells, found)]


def figures_of(
    step: str, sizes: Sequence[int], cells: int, found: dict[tuple[str, int], dict[str, float]]
) -> list[Figure]:
    """What a capture takes, beside one of half as many; and all of them."""
    half, whole = (found[step, each]["cpu_s"] for each in sizes[-2:])
    growth = whole / sizes[-1] / max(half / sizes[-2], 1e-9)
    amount = f"{sizes[-1] * cells:,} captures"
    return [
        Figure(f"{step}, each of {amount}, CPU", growth, beside="each of half as many", at_most=GROWTH),
        Figure(f"{step} of {amount}", whole, "s of CPU"),
        Figure(f"{step} of {amount}, memory", found[step, sizes[-1]]["peak_gb"], "GB", at_most=PEAK_GB),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
