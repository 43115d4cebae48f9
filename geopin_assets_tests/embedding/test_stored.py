"""Stored vectors of captures that are taken down, whatever model made them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.embedding.cell_vectors import HELD_SCHEMA, CellVectors, VectorFiles
from geopin_assets.embedding.stored import StoredVectors, stored_vectors, take_out
from geopin_assets.embedding.vectors import vector_rows
from geopin_assets.embedding.wanted import WantedImage
from geopin_assets.errors import PayloadError

GONE = "s:gone"


def append(cell: CellVectors, *names: str, views: int = 1) -> None:
    each = [WantedImage("cell", f"s:{name}", "s", name, "", "1", False, 10.0) for name in names]
    images = [image for image in each for _ in range(views)]
    vectors = np.full((len(images), cell.dim), 0.5, np.float16)
    cell.append(vector_rows(images, list(range(views)) * len(names), vectors, cell.path.parent.name))


def commit(cell: CellVectors, *names: str, views: int = 1) -> None:
    append(cell, *names, views=views)
    wanted = [(f"s:{name}", "1", views, 10.0) for name in names]
    cell.commit(pl.DataFrame(wanted, schema=HELD_SCHEMA, orient="row"), cell.held())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models of different dimensions, in three cells, one of them not finished."""
    old, new = VectorFiles(tmp_path / "old-1.0", 4), VectorFiles(tmp_path / "new", 8)
    commit(old.cell("a"), "gone", "stays", views=12)
    commit(new.cell("a"), "stays")
    commit(new.cell("b"), "gone", "stays")
    append(new.cell("c"), "gone", "stays")
    return tmp_path


def test_vectors_are_found_in_every_model_cell_and_unfinished_part(folder: Path) -> None:
    assert list(stored_vectors(folder, [GONE, "s:unknown"])) == [
        StoredVectors("new", "b", GONE, 1),
        StoredVectors("new", "c", GONE, 1),
        StoredVectors("old-1.0", "a", GONE, 12),
    ]


def test_nothing_is_found_where_nothing_was_embedded(tmp_path: Path) -> None:
    assert list(stored_vectors(tmp_path / "embeddings", [GONE])) == []


def test_what_is_taken_out_is_gone_and_the_rest_is_as_it_was(folder: Path) -> None:
    cells = [VectorFiles(folder / "old-1.0", 4).cell("a"), VectorFiles(folder / "new", 8).cell("b")]
    before = [cell.read().filter(pl.col("capture_id") != GONE) for cell in cells]
    for found in list(stored_vectors(folder, [GONE])):
        take_out(folder, found.model_id, found.cell_id, [GONE])
    assert list(stored_vectors(folder, [GONE])) == []
    assert [frame.height for frame in before] == [12, 1]
    for cell, frame in zip(cells, before, strict=True):
        assert cell.read().equals(frame)


@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_damaged_file_may_hold_any_capture_and_nothing_can_be_taken_out_of_it(folder: Path, content: bytes) -> None:
    (folder / "new" / "d.parquet").write_bytes(content)
    assert StoredVectors("new", "d", None, 0) in list(stored_vectors(folder, [GONE]))
    with pytest.raises(PayloadError, match="d"):
        take_out(folder, "new", "d", [GONE])
