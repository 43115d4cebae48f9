"""What merging costs: `python -m geopin_assets_tests.benchmarks.merge [--captures 2000000 --cells 400 --sizes 1 5 10]`.

1. All cells at once into an empty catalog, without and with the file that it writes of each cell, beside the bare
DuckDB query that reads the same files, computes the same row hashes, drops duplicates and stores the rows in a database
file, and beside the same without row hashes: CPU and peak memory, each in its own process.
2. One changed cell (1 % changed, 1 % gone, 1 % new) into catalogs of several sizes: what grows shows.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import orjson
import polars as pl

from geopin_assets.cells import cell_ids
from geopin_assets.files import parquet
from geopin_assets.files.object_store import open_store
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.keys import sort_keys
from geopin_assets.store.places import list_batches
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import RAW_SCHEMA
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import machine, peak_mb, print_table

MILLION = 1_000_000
RATIO, RATIO_OF_MANY, PEAK_GB, CELL_S = 1.5, 1.1, 2.5, 0.3
HASHLESS, BARE, MERGE, WITH_FILES = "bare, no row hashes", "bare", "merge", "merge, with a file of each cell"
AT = datetime(2026, 5, 4, 3, tzinfo=UTC)
_ROW_HASH = """,
       md5(json_array(cell_id, source_capture_id, lon, lat, position_from, position_error_m, epoch_us(captured_at),
                      heading_deg, heading_from, is_pano, sequence_id, creator, license, attribution, page_url,
                      image_version)::varchar) as row_hash"""
_BARE = """
create table captures as
select * exclude (payload) {more}
from read_parquet($files)
qualify row_number() over (partition by source, source_capture_id order by seen_in desc, cell_id) = 1
"""
_GROW = """
insert into captures by name
select * exclude (n) replace (
    capture_id || '-' || n as capture_id, source_capture_id || '-' || n as source_capture_id,
    md5_number_lower(capture_id || '-' || n) as id_key, cell_id || '-' || n as cell_id,
    md5_number_lower(cell_id || '-' || n) % 4294967296 as cell_key, md5(row_hash || n) as row_hash, 0 as batch)
from (from captures, (select range + {held} as n from range({copies})) where cell_id in (select unnest($some)))
"""


def write_cell(raw: RawStore, cell_id: str, captures: int, number: int, changed: int = 0) -> None:
    """A complete crawl: every capture has a long id and links of its own, as from Panoramax; `changed` of them differ
    from the crawl before, as many are gone and as many new."""
    frame = pl.select(n=pl.int_range(changed, captures + changed)).with_columns(
        id=pl.format("{}-{}", pl.lit(cell_id), "n").hash(1).cast(pl.String) + pl.col("n").hash(2).cast(pl.String)
    )
    rows = frame.select(
        capture_id="panoramax:" + pl.col("id"),
        source=pl.lit("panoramax"),
        source_capture_id="id",
        lon=4.8 + pl.col("n").hash(3) / 1.9e19,
        lat=52.3 + pl.col("n").hash(4) / 1.9e19,
        position_from=pl.lit("device"),
        position_error_m=pl.lit(4.0),
        captured_at=pl.lit(AT) + pl.duration(seconds="n"),
        heading_deg=pl.when(pl.col("n") < 2 * changed).then(1.0).otherwise(pl.col("n").hash(5) / 1.9e19 * 360),
        heading_from=pl.lit("device"),
        is_pano=pl.col("n") % 3 == 0,
        sequence_id=(pl.col("n") // 100).hash(6).cast(pl.String),
        creator=pl.format("Anna {}", pl.col("n") // 1000),
        license=pl.lit("CC-BY-SA-4.0"),
        attribution=pl.format("Anna {} - Panoramax, CC-BY-SA-4.0", pl.col("n") // 1000),
        page_url="https://panoramax.example/#" + pl.col("id"),
        image_url="https://panoramax.example/images/" + pl.col("id") + ".jpg",
        image_version=pl.lit("1"),
        payload=pl.lit("{}"),
        cell_id=pl.lit(cell_id),
        seen_in=pl.lit(number),
        seen_at=pl.lit(AT),
    ).select(pl.col(name).cast(dtype) for name, dtype in RAW_SCHEMA.items())
    account = CrawlAccount(
        **{
            "source": "panoramax",
            "cell_id": cell_id,
            "number": number,
            "complete_number": number,
            "captures": captures,
        },
        **{"crawled_at": AT, "complete_at": AT, "requests": 1, "splits": 0, "duplicates": 0, "rejected": {}},
        **{"is_complete": True, "duration_s": 1.0, "data_version": str(number)},
    )
    content = parquet.frame_bytes(rows.sort("capture_id"), {"geopin_crawl": orjson.dumps(asdict(account)).decode()})
    raw.objects.put(raw.key("panoramax", cell_id), content)


def all_at_once(folder: Path, captures: int, cells: int) -> dict[str, tuple[float, float]]:
    """CPU seconds and peak GB of each step."""
    raw = RawStore(open_store(folder / "raw", is_durable=False))
    for cell_id in cell_ids()[:cells]:
        write_cell(raw, cell_id, captures // cells, 1)
    return {what: _in_process(what, folder, cells) for what in (HASHLESS, BARE, MERGE, WITH_FILES)}


def one_cell(folder: Path, sizes: Sequence[int], captures: int) -> list[tuple[int, float, float]]:
    """(captures in the catalog, wall and CPU seconds of merging one changed cell), the best of three."""
    raw, catalog = RawStore(open_store(folder / "cell", is_durable=False)), Catalog(folder / "cell.duckdb")
    some, held, number, found = cell_ids()[:20], 0, 0, []
    for cell_id in some:
        write_cell(raw, cell_id, captures, 1)
    catalog.merge(some, raw)
    for size in sizes:
        copies = max(0, size - held) // (20 * captures)
        with duckdb.connect(str(folder / "cell.duckdb")) as db:
            grown = db.execute(_GROW.format(copies=copies, held=held), {"some": list(some)}).fetchall()
            sort_keys(db)
            list_batches(db)
        held += grown[0][0]
        tries = []
        for cell_id in some[:3]:
            number += 1
            write_cell(raw, cell_id, captures, 1 + number, changed=max(1, captures // 100))
            start_s, cpu_s = time.perf_counter(), _cpu_s()
            report = catalog.merge([cell_id], raw)
            tries.append((time.perf_counter() - start_s, _cpu_s() - cpu_s))
            assert report.cells["captures"].to_list() == [captures]
            write_cell(raw, cell_id, captures, 1 + number)
        found.append((catalog.query("select count(*) as n from captures")["n"].item(), *min(tries)))
    return found


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _in_process(what: str, folder: Path, cells: int) -> tuple[float, float]:
    """CPU seconds and peak GB of one step, less what starting takes."""
    said = subprocess.run(
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--step", what, str(folder), str(cells)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    cpu_s, peak = said.stdout.split()[-2:]
    return float(cpu_s), float(peak)


def _step(what: str, folder: Path, cells: int) -> None:
    wanted, cpu_s = cell_ids()[:cells], _cpu_s()
    database = folder / f"{what}.duckdb"
    if what in (HASHLESS, BARE):
        files = [str(path) for path in sorted((folder / "raw" / "panoramax").glob("*.parquet"))]
        with duckdb.connect(str(database)) as db:
            db.execute(_BARE.format(more=_ROW_HASH if what == BARE else ""), {"files": files})
    else:
        cells_too = CellFiles(open_store(folder / "captures")) if what == WITH_FILES else None
        Catalog(database, cells=cells_too).merge(wanted, RawStore(open_store(folder / "raw")))
    sys.stdout.write(f"{_cpu_s() - cpu_s} {peak_mb() / 1000}\n")
    database.unlink()


def main(arguments: Sequence[str] | None = None) -> list[Figure]:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=2 * MILLION)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1, 5, 10], help="of catalogs, million captures")
    parser.add_argument("--each", type=int, default=5000, help="captures of a cell there")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        _step(given.step[0], Path(given.step[1]), int(given.step[2]))
        return []
    with TemporaryDirectory() as name:
        costs = all_at_once(Path(name), given.captures, given.cells)
    print(f"{given.captures:,} captures in {given.cells} files, {machine()}")
    times = {what: cpu_s / costs[BARE][0] for what, (cpu_s, _) in costs.items()}
    shown = [(what, f"{cpu_s:.1f}", f"{times[what]:.2f}", f"{gb:.2f}") for what, (cpu_s, gb) in costs.items()]
    print_table(("", "CPU s", "times bare", "peak GB"), shown)
    hashing_s = costs[BARE][0] - costs[HASHLESS][0]
    without = (costs[MERGE][0] - hashing_s) / costs[HASHLESS][0]
    most = RATIO if given.captures < 10 * MILLION else RATIO_OF_MANY
    merging = f"merging {given.captures:,} captures in {given.cells:,} files"
    figures = [
        Figure(f"{merging}, CPU", times[MERGE], beside="bare DuckDB", at_most=most),
        Figure(f"{merging}, less row hashes, CPU", without, beside="bare DuckDB without them"),
        Figure(f"{merging}, with a file of each cell, CPU", times[WITH_FILES], beside="bare DuckDB, which writes none"),
        Figure(f"memory of {merging}", costs[WITH_FILES][1], "GB", at_most=PEAK_GB),
    ]
    with TemporaryDirectory() as name:
        for captures, wall_s, cpu_s in one_cell(Path(name), [int(size * MILLION) for size in given.sizes], given.each):
            print(
                f"one changed cell of {given.each:,} among {captures:>10,}: {wall_s:.2f} s, CPU {cpu_s:.2f} ({CELL_S})"
            )
            figures.append(
                Figure(f"one changed cell of {given.each:,} among {captures:,}", cpu_s, "s of CPU", at_most=CELL_S)
            )
    return figures


if __name__ == "__main__":
    main()
