"""What an export costs: `python -m geopin_assets_tests.benchmarks.export [--captures 1000000 --each 500 --dim 512]`.

A catalog of so many flat captures and a vector for each, exported in a process of its own, beside a plain copy of the
same files, which is what writing as many bytes takes; again, where nothing has changed; and again after one cell in a
hundred has, when the feed gets its entry. Wall seconds, peak memory of the process, and bytes.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import orjson
import polars as pl

from geopin_assets.cells import all_cells
from geopin_assets.embedding.protocol import Model, embedding_schema
from geopin_assets.embedding.vectors import HELD_SCHEMA
from geopin_assets.exchange.publish import publish
from geopin_assets.exchange.snapshot import snapshot
from geopin_assets.platform.parts import Storage
from geopin_assets.settings import Settings
from geopin_assets_tests.benchmarks.tools.figures import Figure

PEAK_GB, BOUND_FROM = 2.0, 100_000
_FILL = """
insert into captures by name
select 'panoramax:' || id as capture_id, cell_id, 'panoramax' as source, id as source_capture_id,
       west + (n % 97 + 0.5) / 97 * (east - west) as lon, south + (n % 89 + 0.5) / 89 * (north - south) as lat,
       timestamptz '2026-05-04 03:00:00Z' + interval (n) second as captured_at, n * 7.3 % 360 as heading_deg,
       'device' as heading_from, false as is_pano, md5((n // 100)::varchar || cell_id) as sequence_id,
       'Anna ' || n // 1000 as creator, 'CC-BY-SA-4.0' as license,
       'Anna ' || n // 1000 || ' – Panoramax, CC-BY-SA-4.0' as attribution,
       'https://panoramax.example/#' || id as page_url, 'https://panoramax.example/' || id || '.jpg' as image_url,
       '1' as image_version, md5(id) as row_hash, now() as first_seen_at, 1 as seen_in, now() as seen_at,
       md5_number_lower('panoramax:' || id) as id_key, md5_number_lower(cell_id) % 4294967296 as cell_key
from (select *, md5(cell_id || n) as id from cells, range({each}) as r(n))
"""


class Here(Storage):
    """The parts of an installation in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def settings(self) -> Settings:
        return Settings(data_dir=self._folder)


def main(arguments: Sequence[str] | None = None) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=500, help="captures of a cell")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--step", nargs=2)
    asked = parser.parse_args(arguments)
    if asked.step:
        _export(Path(asked.step[0]), int(asked.step[1]), asked.dim)
        return []
    with TemporaryDirectory() as name:
        folder = Path(name)
        cells = _fill(folder, asked.captures, asked.each, asked.dim)
        print(f"{asked.captures:,} captures with {asked.dim} dimensions in {len(cells):,} cells")
        print(f"{'step':<28}{'seconds':>9}{'captures/s':>12}{'peak GB':>9}{'GB':>8}")
        start_s = time.perf_counter()
        shutil.copytree(folder / "embeddings", folder / "copied")
        of_vectors = _bytes(folder / "copied")
        _row("copy of the vectors' files", time.perf_counter() - start_s, asked.captures, 0, of_vectors)
        shutil.rmtree(folder / "copied")
        steps = ("export", "again, unchanged", f"after {max(1, len(cells) // 100)} cells changed")
        figures, most_gb = list[Figure](), PEAK_GB if asked.captures >= BOUND_FROM else None
        for number, step in enumerate(steps):
            if number == 2:
                _change(folder, cells[::100], asked.each, asked.dim)
            said = _in_process(folder, len(cells), asked.dim)
            exported = _bytes(folder / "exports")
            _row(step, said["seconds"], asked.captures, said["peak_gb"], exported)
            figures.append(Figure(f"memory of an export, {step}", said["peak_gb"], "GB", at_most=most_gb))
            figures.append(Figure(f"bytes of an export, {step}", exported / of_vectors, beside="the vectors' files"))
        print(f"entry of the feed: {_bytes(folder / 'exports' / 'feed') / 1e6:.1f} MB, {said['changes']}")
        return figures


def _fill(folder: Path, captures: int, each: int, dim: int) -> list[str]:
    cells = [one.cell for one in all_cells() if one.is_land][: max(1, captures // each)]
    storage = Here(folder)
    storage.catalog().query("select 1")
    storage.catalog().continue_from(storage.takedowns().installation_id(), [])  # as if it had been merged
    boxes = pl.DataFrame(
        [(one.cell_id, one.bbox.west, one.bbox.south, one.bbox.east, one.bbox.north) for one in cells],
        schema=["cell_id", "west", "south", "east", "north"],
        orient="row",
    )
    with duckdb.connect(str(folder / "catalog.duckdb")) as db:
        db.register("cells", boxes.to_arrow())
        db.execute(_FILL.format(each=each))
        ids = pl.DataFrame(db.sql("select cell_id, capture_id, heading_deg from captures order by all").arrow())
    for (cell_id,), rows in ids.partition_by("cell_id", as_dict=True).items():
        _embed(storage, str(cell_id), rows, dim, 1)
    return [one.cell_id for one in cells]


def _embed(storage: Here, cell_id: str, rows: pl.DataFrame, dim: int, seed: int) -> None:
    vectors = np.random.default_rng([seed, len(cell_id)]).normal(size=(rows.height, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = rows.select(
        vector_id=pl.col("capture_id") + "/00",
        capture_id="capture_id",
        source=pl.lit("panoramax"),
        view=pl.lit(0, pl.Int16),
        left_out=pl.lit(0, pl.Int16),
        heading_deg="heading_deg",
        model_id=pl.lit("bench"),
        image_version=pl.lit("1"),
        embedding=pl.Series(vectors.astype(np.float16), dtype=pl.Array(pl.Float16, dim)),
    )
    held = rows.select(
        "capture_id", image_version=pl.lit("1"), views=1, center_deg="heading_deg", left_out=pl.lit(0, pl.Int64)
    ).cast(dict(HELD_SCHEMA))
    cell = storage.vectors(Model("bench", dim, is_place_recognition=True)).cell(cell_id)
    schema = embedding_schema(dim)
    unknown = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    cell.append(frame.with_columns(unknown).select(schema.names()))
    cell.commit(held, held.clear())


def _change(folder: Path, cells: Sequence[str], each: int, dim: int) -> None:
    """Of these cells every tenth capture goes, and every tenth has another creator and another vector."""
    storage = Here(folder)
    with duckdb.connect(str(folder / "catalog.duckdb")) as db:
        chosen = {"cells": list(cells)}
        db.execute("delete from captures where list_contains($cells, cell_id) and id_key % 10 = 0", chosen)
        db.execute(
            "update captures set creator = 'Bob' where list_contains($cells, cell_id) and id_key % 10 = 1", chosen
        )
        ids = pl.DataFrame(db.execute("select cell_id, capture_id, heading_deg from captures where list_contains($cells, cell_id) order by all", chosen).arrow())  # fmt: skip  # noqa: E501
    for (cell_id,), rows in ids.partition_by("cell_id", as_dict=True).items():
        _embed(storage, str(cell_id), rows, dim, 2)


def _export(folder: Path, cells: int, dim: int) -> None:
    storage, model = Here(folder), Model("bench", dim, is_place_recognition=True)
    chosen = [one.cell.cell_id for one in all_cells() if one.is_land][:cells]
    start_s = time.perf_counter()
    with snapshot(storage, model, chosen, "bench") as there:
        done = publish(there, storage.exports(), now=datetime.now(UTC), takedown_days=7)
    facts = {
        "seconds": time.perf_counter() - start_s,
        "peak_gb": getrusage(RUSAGE_SELF).ru_maxrss / 1e6,
        "changes": dict(done.changes or {}),
    }
    print(orjson.dumps(facts).decode())


def _in_process(folder: Path, cells: int, dim: int) -> dict[str, float]:
    module = __spec__.name if __spec__ else __name__
    command = [sys.executable, "-m", module, "--step", str(folder), str(cells), f"--dim={dim}"]
    return orjson.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _row(step: str, seconds: float, captures: int, peak_gb: float, size: int) -> None:
    print(f"{step:<28}{seconds:>9.1f}{captures / seconds:>12,.0f}{peak_gb:>9.2f}{size / 1e9:>8.3f}", flush=True)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
