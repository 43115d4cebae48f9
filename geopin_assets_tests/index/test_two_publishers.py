"""Several processes publish the same new ids at once: `geopin run` beside `geopin ui`, or two terminals."""

from collections import Counter
from pathlib import Path

import polars as pl

from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.sync import sync_report
from geopin_assets.index.targets import VectorTarget
from geopin_assets_tests.files.processes import start
from geopin_assets_tests.index.frames import DIM

CELLS, PER_CELL = 4, 300
PUBLISH = """
    import pathlib, sys
    from datetime import UTC, datetime
    from geopin_assets.index.embedded.lance import LanceIndex
    from geopin_assets.index.ledger import Ledger
    from geopin_assets.index.publish import publish_vectors
    from geopin_assets_tests.index.frames import DIM, vectors
    folder, cells, per_cell = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    index, ledger = LanceIndex(folder / "index", "t", DIM), Ledger(folder / "ledger.sqlite")
    print("ready", flush=True)
    sys.stdin.readline()
    for cell in range(cells):
        rows = vectors([(f"street:{cell}-{n:04d}/00", n) for n in range(per_cell)], cell_id=f"c{cell}")
        print(publish_vectors(rows, [f"c{cell}"], index, ledger, now=datetime.now(UTC)).upserted)
"""


def test_every_id_is_there_once_and_sent_once(tmp_path: Path) -> None:
    LanceIndex(tmp_path / "index", "t", DIM).create()
    processes = [start(PUBLISH, tmp_path, CELLS, PER_CELL) for _ in range(3)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(int(upserted) for each in said for upserted in each) == CELLS * PER_CELL
    index = LanceIndex(tmp_path / "index", "t", DIM)
    found = Counter(index.ids())
    assert len(found) == CELLS * PER_CELL and set(found.values()) == {1}
    wanted = pl.Series([f"street:{cell}-{n:04d}/00" for cell in range(CELLS) for n in range(PER_CELL)])
    assert sync_report(wanted, Ledger(tmp_path / "ledger.sqlite"), VectorTarget(index)).is_in_sync
