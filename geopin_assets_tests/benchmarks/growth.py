"""What grows with the cells that change, and what with all there is: `python -m geopin_assets_tests.benchmarks.growth`.

Catalogs of several sizes (`--sizes 1 5 10`, million captures), in which 1, 10, 100 and 1,000 cells of 50 captures
change: some captures are turned, as many are gone and as many new. Measured are the merge with the files it writes for
whoever embeds, the plan of publishing their rows against a ledger of everything, and what the ledger says of them;
beside them the coverage report, which counts everything. Linear in what changed, flat in the total is the promise.
"""

import argparse
import resource
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from geopin_assets.cells import cell_ids
from geopin_assets.defs.resources import SearchIndex, Storage
from geopin_assets.index.batching import frames_of
from geopin_assets.index.publish import build_plan
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets.platform.index_state import desired_rows
from geopin_assets.quality.coverage import coverage_by_cell
from geopin_assets.store.counts import COVERAGE_COLUMNS
from geopin_assets_tests.benchmarks.merge import _GROW, MILLION, write_cell

TOUCHED, EACH = (1, 10, 100, 1000), 50


class Place:
    """An installation of so many captures, of which only the first cells have files."""

    def __init__(self, folder: Path, cells: int) -> None:
        variables = {"GEOPIN_DATA": str(folder), "GEOPIN_PROFILE": "sandbox"}
        self.storage, self.search_index = Storage(overrides=variables), SearchIndex(overrides=variables)
        self.cells, self.number, self.held = cell_ids()[:cells], 1, 0
        for cell_id in self.cells:
            write_cell(self.storage.raw(), cell_id, EACH, self.number)
        self.storage.catalog().merge(self.cells, self.storage.raw())

    def grow(self, captures: int) -> None:
        """Copies under other names, until there are so many; all of them published, as far as the ledger knows."""
        path, base = self.storage.settings().catalog_path, len(self.cells) * EACH
        copies = max(0, captures // base - 1 - self.held)
        with duckdb.connect(str(path)) as db:
            db.execute(_GROW.format(copies=copies, held=self.held), {"some": list(self.cells)})
            self.held += copies
            rows = db.execute("select capture_id, cell_id from captures").fetchall()
        ledger, key = self.search_index.ledger(), self.target.key
        ledger.count(key)  # which makes it
        with sqlite3.connect(self.search_index.settings().ledger_path) as db:
            db.execute("insert or ignore into stores (store) values (?)", [key])
            ((number,),) = db.execute("select store_key from stores where store = ?", [key]).fetchall()
            db.executescript("drop trigger if exists one_more; drop trigger if exists one_more_claim;")
            ids = sorted((cell_id, capture_id) for capture_id, cell_id in rows)
            db.executemany(
                "insert or ignore into claims values (?, ?, ?)", ((number, cell_id, id_) for cell_id, id_ in ids)
            )
            db.executemany(
                "insert or ignore into published values (?, ?, 'x', null, null)",
                sorted((number, id_) for _, id_ in ids),
            )

    @property
    def target(self) -> RowTarget:
        (store,) = self.search_index.stores()
        return RowTarget(store, TABLES["captures"])

    def change(self, cells: Sequence[str]) -> None:
        self.number += 1
        for cell_id in cells:
            write_cell(self.storage.raw(), cell_id, EACH, self.number, changed=5)

    def merge(self, cells: Sequence[str]) -> None:
        assert self.storage.catalog().merge(cells, self.storage.raw()).cells.height == len(cells)

    def plan(self, cells: Sequence[str]) -> None:
        assert build_plan(frames_of(desired_rows(self.storage, cells)), cells, self.target, self.search_index.ledger())

    def ask_ledger(self, cells: Sequence[str]) -> None:
        assert self.search_index.ledger().claims(self.target.key, cells).height >= len(cells)


def took_s(step: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    step()
    return time.perf_counter() - start_s


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each size and number of cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1], help="million captures")
    parser.add_argument("--touched", type=int, nargs="*", default=TOUCHED, help="cells that change")
    given = parser.parse_args(arguments)
    print(
        f"{'captures':>12} {'cells':>6} {'merge s':>9} {'plan s':>9} {'ledger s':>9} {'coverage s':>11} {'peak GB':>8}"
    )
    with TemporaryDirectory() as name:
        place = Place(Path(name), max(given.touched))
        for size in given.sizes:
            place.grow(int(size * MILLION))
            catalog = place.storage.catalog()
            coverage_s = took_s(lambda: coverage_by_cell(catalog.all_captures(COVERAGE_COLUMNS)))  # noqa: B023
            for touched in given.touched:
                cells = place.cells[:touched]
                place.change(cells)
                spent = [took_s(lambda: step(cells)) for step in (place.merge, place.plan, place.ask_ledger)]  # noqa: B023
                peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
                shown = " ".join(f"{s:9.3f}" for s in spent)
                print(f"{catalog.size()[0]:12,} {touched:6} {shown} {coverage_s:11.3f} {peak_gb:8.2f}", flush=True)


if __name__ == "__main__":
    main()
