"""Memory of what looks at all of an index: `python -m geopin_assets_tests.benchmarks.index_memory`.

An installation with a row and a vector a capture, five hundred captures a cell, published in full into a version that
is being built. Then, each in a process of its own: what the version lacks, letting searches use it, asking every store
what it holds (`geopin reconcile`), and the same after a tenth of its rows was lost. Then whatever else looks at all
there is: the reports, the check of integrity, the search for what is taken down, an export, a copy of the catalog, and
the catalog made anew. What matters is not the peak but that it does not grow; nor what is read again when all was
looked at before, which is shown for the check of integrity.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import nan
from pathlib import Path

import numpy as np

from geopin_assets.cells import cell_ids, pages
from geopin_assets.defs.assets.integrity import _audits, _stores, licenses_check
from geopin_assets.defs.running.takedown import Takedown
from geopin_assets.embedding.protocol import CaptureImage, Model
from geopin_assets.embedding.vectors import HELD_SCHEMA, vector_rows
from geopin_assets.exchange.publish import publish
from geopin_assets.exchange.snapshot import snapshot
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE
from geopin_assets.platform.index_state import lacking, switch_when_complete
from geopin_assets.platform.publishing import Publisher
from geopin_assets.platform.reconcile import Reconciliation, reconcile
from geopin_assets.quality.attribution import write_attribution
from geopin_assets.quality.coverage_report import write_report
from geopin_assets.quality.diversity import write_diversity
from geopin_assets.sources import SOURCES
from geopin_assets.store import snapshot as catalog_copy
from geopin_assets.store.catalog import Catalog
from geopin_assets_tests.benchmarks.merge import write_cell
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, peak_mb, print_table
from geopin_assets_tests.platform import Installation

SIZES = (250_000, 500_000, 1_000_000)
"""Captures: batches of a merge and pages of cells are full from the first on, heaps of ids from the second."""
PER_CELL, DIM = 500, 64
MODEL = Model("bench", DIM, is_place_recognition=False)
TIMES = 1.3
"""How much more memory the largest size may take than the smallest."""
MOST_MB = 2_500
COPIES = ("export", "copying the catalog")
"""DuckDB keeps what it copies until that fills the gigabyte it may take, which needs some million captures."""


SHOWN = ("MB before", "peak MB", "CPU s", "MB read")


def installation(folder: Path) -> Installation:
    return Installation(folder, {"GEOPIN_PROFILE": "sandbox", "GEOPIN_INDEX": "embedded"})


def fill(folder: Path, captures: int) -> None:
    """Crawled, merged, embedded, and published into a second version; the first one is empty and serves."""
    place, cells = installation(folder), cell_ids()[: captures // PER_CELL]
    raw, catalog, files = place.storage.raw(), place.storage.catalog(), place.storage.vectors(MODEL)
    for cell_id in cells:
        write_cell(raw, cell_id, PER_CELL, 1)
    catalog.merge(cells, raw)
    for number, cell_id in enumerate(cells):
        vectors = np.random.default_rng(number).normal(size=(PER_CELL, DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        images = [CaptureImage(*row) for row in catalog.wanted([cell_id], _IMAGE).iter_rows()]
        stored = files.cell(cell_id)
        stored.append(vector_rows(images, [0] * PER_CELL, vectors.astype(np.float16), MODEL.model_id))
        stored.commit(stored.in_parts(), HELD_SCHEMA.to_frame())
    place.search_index.publishing(MODEL)
    version = place.search_index.rebuild(MODEL)
    publisher = Publisher.begin(place.storage, place.search_index, MODEL)
    for some in pages(cells, dict.fromkeys(cells, PER_CELL), ROW_CAPTURES_AT_ONCE):
        publisher.rows(some)
        publisher.vectors(some, version)


_IMAGE = [
    "cell_id",
    "capture_id",
    "source",
    "source_capture_id",
    "image_url",
    "image_version",
    "is_pano",
    "heading_deg",
]


def what_it_lacks(place: Installation) -> None:
    version = place.search_index.versions().building(MODEL.model_id)
    assert version and lacking(place.storage, place.search_index, version, MODEL).is_nothing


def letting_searches_use_it(place: Installation) -> None:
    assert switch_when_complete(place.storage, place.search_index, MODEL)


def reconciling(place: Installation) -> Reconciliation:
    done = reconcile(place.storage, place.search_index, MODEL)
    assert not [part.error for part in done.parts if part.error]
    return done


def reconciling_what_was_lost(place: Installation) -> None:
    (store,) = place.search_index.stores()
    gone = place.storage.catalog().ids()[::10]
    for ids in gone.to_frame().iter_slices(10_000):
        store.delete("captures", ids.to_series().to_list())
    assert sum(part.found.counts["lost"] for part in reconciling(place).parts if part.found) == len(gone)


def reporting(place: Installation) -> None:
    """Coverage, diversity and attribution."""
    catalog, now, folder = place.storage.catalog(), datetime.now(UTC), place.storage.settings().data_dir / "reports"
    write_report(catalog.coverage(), catalog.crawls().select("source", "cell_id", "is_complete"), folder, now=now)
    write_diversity(catalog.tally(), folder)
    crawls = catalog.crawls().select("source", "cell_id", "captures")
    write_attribution(catalog.attributions(), crawls, SOURCES, folder, now=now)


def checking_integrity(place: Installation) -> None:
    catalog, now = place.storage.catalog(), datetime.now(UTC)
    assert not catalog.duplicates() and catalog.image_failures().is_empty() and catalog.licenses().height
    assert licenses_check(catalog.licenses()).passed
    audits = _audits(place.storage, MODEL, now)
    vectors = dict(audits.select("cell_id", "vectors").iter_rows())
    reports = _stores(place.storage, MODEL, place.search_index, vectors, now)
    assert all(report.is_in_sync for report in reports.values()), reports


def looking_for_what_is_taken_down(place: Installation) -> None:
    some = place.storage.catalog().captures(cell_ids()[:1])["capture_id"].to_list()
    found = Takedown(tuple(some), place.storage, place.search_index).traces()
    assert {trace.capture_id for trace in found} == set(some)


def exporting(place: Installation) -> None:
    cells = sorted(place.storage.catalog().cell_counts())
    with snapshot(place.storage, MODEL, cells, "bench") as there:
        publish(there, place.storage.exports(), now=datetime.now(UTC), takedown_days=7)


def copying_the_catalog(place: Installation) -> None:
    catalog_copy.publish(place.storage.catalog(), place.storage.snapshots())


def making_the_catalog_anew(place: Installation) -> None:
    anew = Catalog(place.storage.settings().data_dir / "anew.duckdb")
    anew.merge(sorted(place.storage.catalog().cell_counts()), place.storage.raw())


STEPS: Mapping[str, Callable[[Installation], object]] = {
    "what a version lacks": what_it_lacks,
    "letting searches use it": letting_searches_use_it,
    "reconciling": reconciling,
    "reports": reporting,
    "integrity": checking_integrity,
    "looking for what is taken down": looking_for_what_is_taken_down,
    "export": exporting,
    "copying the catalog": copying_the_catalog,
    "making the catalog anew": making_the_catalog_anew,
    "reconciling after a loss": reconciling_what_was_lost,
}


def step(name: str, folder: Path) -> dict[str, float]:
    """In the process that is measured."""
    place = installation(folder)
    before_mb, started = peak_mb(), Cost.now()
    STEPS[name](place)
    cost, peak = Cost.now() - started, peak_mb()
    figures = {"MB before": before_mb, "peak MB": peak, "CPU s": cost.cpu_s, "s": cost.wall_s, "MB read": nan}
    return figures | ({"MB read": read_again_mb(place)} if name == "integrity" else {})


def read_again_mb(place: Installation) -> float:
    """By a second check, after one cell changed: imports and what is counted once are done by then."""
    cell, raw = cell_ids()[:1], place.storage.raw()
    write_cell(raw, cell[0], PER_CELL, 2)
    place.storage.catalog().merge(cell, raw)
    before = _read_bytes()
    checking_integrity(place)
    return (_read_bytes() - before) / 1e6


def _read_bytes() -> int:
    """What this process asked of files so far, from memory or not."""
    return int(Path("/proc/self/io").read_text().split()[1])


def in_a_process(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "geopin_assets_tests.benchmarks.index_memory", "--step", name, str(folder)]
    figures: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print peak memory and CPU of each step at each size; with `--step`, the figures of one as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=[*STEPS])
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        print(json.dumps(step(options.step[0], Path(options.step[1]))))
        return []
    print(f"{machine()}, {datetime.now(UTC):%Y-%m-%d}")
    rows = []
    for captures in options.captures:
        with tempfile.TemporaryDirectory() as folder:
            started = Cost.now()
            fill(Path(folder), captures)
            print(f"{captures:,} captures made and published: {(Cost.now() - started).cpu_s:.0f} s of CPU", flush=True)
            rows += [(name, captures, in_a_process(name, Path(folder))) for name in options.only]
    shown = [
        (name, f"{captures:,}", *(f"{figures[what]:.0f}" for what in SHOWN))
        for name, captures, figures in sorted(rows, key=lambda row: [*STEPS].index(row[0]))
    ]
    print_table(("", "captures", *SHOWN), shown)
    return [*figures_of(rows)]


def figures_of(rows: Sequence[tuple[str, int, Mapping[str, float]]]) -> Iterator[Figure]:
    peaks = {(name, captures): figures["peak MB"] for name, captures, figures in rows}
    sizes = sorted({captures for _, captures in peaks})
    for name in dict.fromkeys(name for name, _ in peaks):
        yield Figure(f"memory of {name}, {sizes[-1]:,}", peaks[name, sizes[-1]], "MB", at_most=MOST_MB)
        if len(sizes) > 1:
            times, bound = peaks[name, sizes[-1]] / max(peaks[name, sizes[0]], 1e-9), None if name in COPIES else TIMES
            yield Figure(f"memory of {name} growing to {sizes[-1]:,}", times, beside=f"{sizes[0]:,}", at_most=bound)


if __name__ == "__main__":
    main(sys.argv[1:])
