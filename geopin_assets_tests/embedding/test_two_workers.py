"""Workers that meet in the same cells, in processes of their own, over a folder and over S3.

A real server takes the place of moto where GEOPIN_TEST_S3_ENDPOINT_URL is set (see `real/test_own_photos_s3.py`).
"""

from pathlib import Path

import polars as pl
import pytest

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.files.object_store import open_store
from geopin_assets_tests.depth import some
from geopin_assets_tests.embedding.two_workers import CELLS, PER_CELL, tasks
from geopin_assets_tests.files.processes import end, start

RUN = "from geopin_assets_tests.embedding.two_workers import main; main()"


@pytest.mark.parametrize("kind", some(["s3", "folder"]))
def test_two_workers_on_the_same_cells_leave_every_vector_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address, endpoint_url = str(tmp_path / "store"), ""
    if kind == "s3":
        endpoint_url = request.getfixturevalue("s3_address")
        address = f"s3://{request.getfixturevalue('s3_bucket')}/shared"
    workers = [start(RUN, address, endpoint_url, is_reversed) for is_reversed in (0, 1)]
    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    ended = [end(worker) for worker in workers]
    assert [code for code, _ in ended] == [0, 0]
    said = [line for _, text in ended for line in text.splitlines()]
    assert len(said) == 2 * CELLS and all(line.endswith(" done") for line in said), said
    store = open_store(address, endpoint_url=endpoint_url)
    files = VectorFiles(store, "model", Thumbnail().model.dim)
    for task in tasks(files):
        rows = task.vectors.read(["vector_id", "capture_id"])
        assert rows["capture_id"].to_list() == task.captures["capture_id"].sort().to_list() and rows.height == PER_CELL
        assert rows["vector_id"].n_unique() == rows.height, "a vector twice"
        assert task.vectors.counted().not_unit == 0, "bytes of two writers in one object"
    left = [stored.key for stored in store.walk() if ".parts/" in stored.key]
    assert pl.Series(left, dtype=pl.String).is_empty(), left
