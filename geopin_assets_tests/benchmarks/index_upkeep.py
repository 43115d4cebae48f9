"""What looking after an index costs at three sizes: `python -m geopin_assets_tests.benchmarks.index_upkeep`.

`--captures 1000000 5000000 10000000` shows what grows, and takes half an hour; beyond READ_AT_MOST nothing is read
whole. One vector and one row per capture, five
hundred captures a cell, published in full. Then what every run of `publish/d1` and every report of `quality/integrity`
does: count what is published, compare wanted, ledger and store, and count the vectors that are not sound. The baseline
is the same answer by reading all of it, as far as it was done before. Target: what a run or a report costs does not
grow with what is stored, but for a count per cell.
"""

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import nan
from pathlib import Path

import numpy as np
import polars as pl

from geopin_assets.embedding.audit import Audit
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.stored_vectors import AUDITS, audit_files
from geopin_assets.embedding.vectors import VectorFiles, vector_rows
from geopin_assets.files.object_store import open_store
from geopin_assets.index import sync
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import publish
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, cost_of, machine, peak_mb, print_table

SIZES = (25_000, 100_000, 400_000)
PER_CELL, DIM, PEAK_GB = 500, 64, 2.5
LISTED_AT_MOST = 10_000
"""In place of 200,000, so that the smallest size is beyond it too."""
READ_AT_MOST = 1_000_000
"""Captures up to which the baseline is measured too: it takes minutes and gigabytes."""
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def ids_of(cells: Sequence[str]) -> pl.DataFrame:
    """What the cells want: id, cell_id."""
    return pl.DataFrame(
        {
            "id": [f"bench:{cell}-{n:03d}/00" for cell in cells for n in range(PER_CELL)],
            "cell_id": [cell for cell in cells for _ in range(PER_CELL)],
        },
        schema={"id": pl.String, "cell_id": pl.String},
    )


def fill(folder: Path, cells: Sequence[str], dim: int) -> tuple[RowTarget, Ledger, VectorFiles]:
    """Rows of vectors of these cells published beside what is there, and vectors stored, as a run leaves them."""
    target, ledger = RowTarget(SqliteStore(folder / "rows.sqlite"), TABLES["vectors"]), Ledger(folder / "ledger.sqlite")
    for at in range(0, len(cells), 100):
        some = cells[at : at + 100]
        rows = ids_of(some).rename({"id": "vector_id"})
        rows = rows.with_columns(capture_id=pl.col("vector_id").str.head(-3), view=0, heading_deg=1.0)
        publish(rows, some, target, ledger, now=NOW)
    files = VectorFiles(open_store(folder / "vectors", is_durable=False), "bench", dim)
    for number, cell in enumerate(cells):
        vectors = np.random.default_rng(number).normal(size=(PER_CELL, dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        images = [
            CaptureImage(cell, f"bench:{cell}-{n:03d}", "s", str(n), "", "1", False, 1.0) for n in range(PER_CELL)
        ]
        stored = files.cell(cell)
        stored.append(vector_rows(images, [0] * PER_CELL, vectors.astype(np.float16), "bench"))
        stored.commit(stored.in_parts(), stored.held())
    return target, ledger, files


def rows_of(folder: Path, before: int, captures: int, dim: int) -> Iterator[tuple[str, int, Cost, float, Cost]]:
    """What is asked, of how many, what it costs, the most memory of it in GB, and what reading everything costs; so
    many are there `before`."""

    def measured(asked: Callable[[], object], everything: Callable[[], object]) -> tuple[int, Cost, float, Cost]:
        peak_mb(anew=True)
        cost = cost_of(asked)
        peak_gb = peak_mb() / 1000
        return captures, cost, peak_gb, cost_of(everything) if captures <= READ_AT_MOST else Cost(nan, nan)

    cells = [f"cell-{n:05d}" for n in range(captures // PER_CELL)]
    target, ledger, files = fill(folder, cells[before // PER_CELL :], dim)
    wanted = sync.Wanted(dict.fromkeys(cells, PER_CELL), ids_of)
    known = audit_files(files, AUDITS.to_frame(), counted_again=0)
    assert ledger.count(target.key) == sum(page.height for page in ledger.published_pages(target.key)) == captures
    assert sync.sampled_sync_report(wanted, ledger, target).is_in_sync
    yield (
        "how much is published",
        *measured(lambda: ledger.count(target.key), lambda: ledger.published(target.key)),
    )
    yield (
        "is it in sync",
        *measured(
            lambda: sync.sampled_sync_report(wanted, ledger, target),
            lambda: sync.sync_report(ids_of(cells), ledger, target),
        ),
    )
    yield (
        "are vectors sound",
        *measured(
            lambda: audit_files(files, known, counted_again=5_000),
            lambda: sum((files.cell(cell).counted() for cell in cells), Audit()),
        ),
    )


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, nargs="+", default=SIZES)
    parser.add_argument("--dim", type=int, default=DIM)
    options = parser.parse_args(arguments)
    sizes = sorted(options.captures)
    print(machine())
    usual, sync.LISTED_AT_MOST = sync.LISTED_AT_MOST, min(LISTED_AT_MOST, sizes[0] // 2)
    try:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for before, captures in pairwise([0, *sizes]):
                rows += list(rows_of(Path(folder), before, captures, options.dim))
    finally:
        sync.LISTED_AT_MOST = usual
    shown = [
        (what, f"{captures:,}", f"{cost.cpu_s:.3f}", f"{peak_gb:.2f}", f"{base.cpu_s:.3f}")
        for what, captures, cost, peak_gb, base in sorted(rows, key=lambda row: row[0])
    ]
    print_table(("", "captures", "CPU s", "peak GB", "CPU s, reading everything"), shown)
    costs = [Figure(f"{what}, {captures:,}", cost.cpu_s, "s of CPU") for what, captures, cost, _, _ in rows]
    peak_gb = max(peak_gb for *_, peak_gb, _ in rows)
    return [*costs, Figure(f"memory of any of these, {sizes[-1]:,}", peak_gb, "GB", at_most=PEAK_GB)]


if __name__ == "__main__":
    main(sys.argv[1:])
