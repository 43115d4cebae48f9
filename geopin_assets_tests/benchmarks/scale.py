"""A whole country, metadata only: `python -m geopin_assets_tests.benchmarks.scale [--captures 1e6 10e6 39e6]`.

Crawls, merges, plans what to embed and what to publish, for each of these sizes, spread evenly over all 20,064 cells:
nothing is fetched, embedded or sent. Each step is a process of its own and goes through its cells in runs as large as
the graph's. What a step takes for each million captures should stay, and its memory too; beside it stands what `geopin
plan` says of it. `--captures 2e5 --cells 100` has as many captures in a cell as a country of 40 million: what `geopin
plan` reckons with.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from geopin_assets.cells import cell_ids
from geopin_assets.cli.scale import CATALOG_BYTES, EMBED_PLAN_S, MERGE_S, PUBLISH_PLAN_S, RAW_BYTES
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
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, peak_mb, print_table

MILLION, PEAK_GB, GROWTH, AS_PLANNED = 1_000_000, 2.5, 1.25, 1.3
SIZES = (250_000, 500_000, MILLION)
PLANNED_FROM = 250
"""Captures of a cell; where there are fewer, cells themselves cost more than their captures."""
PLANNED_S = {"merge": MERGE_S, "embed plan": EMBED_PLAN_S, "publish plan": PUBLISH_PLAN_S}
"""CPU of a capture, as `geopin plan` has it."""
PLANNED_BYTES = {"raw": RAW_BYTES, "catalog.duckdb": CATALOG_BYTES}
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
    cost = Cost.now() - started
    return {"s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_gb": peak_mb() / 1000, "counted": counted}


def stored(place: Path) -> tuple[int, int]:
    """Files, and their bytes."""
    files = [path for path in (place.rglob("*") if place.is_dir() else [place]) if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print a line for each step and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=lambda text: int(float(text)), nargs="+", default=SIZES)
    parser.add_argument("--cells", type=int, default=len(cell_ids()))
    parser.add_argument("--here", action="store_true", help="all steps in this process: memory is that of all")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        each = options.captures[0] // options.cells
        print(json.dumps(here(options.step[0], Path(options.step[1]), options.cells, each)))
        return []
    run, found, held = here if options.here else in_process, dict[tuple[str, int], dict[str, float]](), {}
    sizes = sorted(max(1, captures // options.cells) for captures in options.captures)
    for each in sizes:
        with tempfile.TemporaryDirectory(prefix="geopin-bench-") as name:
            for step in STEPS:
                found[step, each] = run(step, Path(name), options.cells, each)
                assert found[step, each]["counted"] == each * options.cells, (step, found[step, each])
                print(f"{each * options.cells:,} captures: {step} {found[step, each]}", file=sys.stderr, flush=True)
            files, size = stored(Path(name))
            held = {what: stored(Path(name) / what)[1] for what in PLANNED_BYTES}
            print(f"{each * options.cells:,} captures: {files:,} files, {size / 1e9:.2f} GB", flush=True)
    print(f"{options.cells:,} cells, {machine()}")
    rows = [
        (step, f"{each * options.cells:,}", *(f"{took[name]:.2f}" for name in ("s", "cpu_s", "peak_gb")),
         f"{took['cpu_s'] / (each * options.cells) * MILLION:.1f}")
        for (step, each), took in sorted(found.items(), key=lambda item: list(STEPS).index(item[0][0]))
    ]  # fmt: skip
    print_table(("step", "captures", "s", "CPU s", "peak GB", "CPU s a million"), rows)
    figures = [figure for step in STEPS for figure in figures_of(step, sizes, options.cells, found)]
    captures = sizes[-1] * options.cells
    for what, size in held.items() if sizes[-1] >= PLANNED_FROM else ():
        times = size / captures / PLANNED_BYTES[what]
        said = f"{what} of {amount(captures, options.cells)}, bytes"
        figures.append(Figure(said, times, beside="geopin plan", at_most=AS_PLANNED))
    return figures


def amount(captures: int, cells: int) -> str:
    return f"{captures:,} captures in {cells:,} cells"


def figures_of(
    step: str, sizes: Sequence[int], cells: int, found: dict[tuple[str, int], dict[str, float]]
) -> list[Figure]:
    """What all captures take, and each of them beside each of fewer, and beside the plan."""
    captures, cpu_s = sizes[-1] * cells, found[step, sizes[-1]]["cpu_s"]
    said = f"{step} of {amount(captures, cells)}"
    figures = [
        Figure(said, cpu_s, "s of CPU"),
        Figure(f"{said}, memory", found[step, sizes[-1]]["peak_gb"], "GB", at_most=PEAK_GB),
    ]
    if len(sizes) > 1:
        growth = cpu_s / sizes[-1] / max(found[step, sizes[-2]]["cpu_s"] / sizes[-2], 1e-9)
        beside = f"each of {sizes[-2] * cells:,}"
        figures.append(Figure(f"{said}, each, CPU", growth, beside=beside, at_most=GROWTH))
    if step in PLANNED_S and sizes[-1] >= PLANNED_FROM:
        times = cpu_s / captures / PLANNED_S[step]
        figures.append(Figure(f"{said}, CPU", times, beside="geopin plan", at_most=AS_PLANNED))
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
