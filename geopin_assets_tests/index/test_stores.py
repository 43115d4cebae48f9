from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.cells import cell_block, cell_ids
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.index.publish import publish_vectors
from geopin_assets.index.stores import SearchedIndex, SearchedStore, Shards
from geopin_assets_tests.index.frames import DIM, NOW, captures, publish_rows, vectors

CELLS = ("nh-amsterdam-r090c051", "ut-utrecht-r074c059", "gr-groningen-r138c108")
ROWS = [(f"s:{i:02d}", i) for i in range(30)]


def in_cell(frame: pl.DataFrame, cells: list[str]) -> pl.DataFrame:
    return frame.with_columns(cell_id=pl.Series([cells[i % len(cells)] for i in range(len(frame))]))


@pytest.fixture
def index(tmp_path: Path) -> Shards[VectorIndex]:
    return Shards(tuple(LanceIndex(tmp_path, f"part-{n}", DIM) for n in range(3)))


@pytest.fixture
def store(tmp_path: Path) -> Shards[MetadataStore]:
    stores = tuple(SqliteStore(tmp_path / f"part-{n}.sqlite") for n in range(3))
    for part in stores:
        part.migrate()
    return Shards(stores)


def test_every_cell_has_one_shard_and_a_block_is_never_divided() -> None:
    shards = Shards(tuple("abcd"))
    of_block: dict[str, set[int]] = {}
    for cell_id in cell_ids():
        of_block.setdefault(cell_block(cell_id), set()).add(shards.number(cell_id))
    assert all(len(numbers) == 1 for numbers in of_block.values())
    cells = np.bincount([shards.number(cell_id) for cell_id in cell_ids()])
    assert len(cells) == 4 and cells.min() > 0.7 * cells.mean()


def test_where_a_cell_is_never_changes() -> None:
    """Another answer would leave vectors behind in the wrong shard."""
    assert [Shards(tuple("abc")).number(cell_id) for cell_id in CELLS] == [2, 0, 1]


def test_searching_shards_is_searching_one_index(tmp_path: Path, index: Shards[VectorIndex]) -> None:
    ledger, whole = Ledger(tmp_path / "ledger.sqlite"), LanceIndex(tmp_path, "whole", DIM)
    desired = in_cell(vectors(ROWS), list(CELLS))
    publish_vectors(desired, CELLS, whole, ledger, now=NOW)
    for part, rows in index.split(desired):
        part.create()
        publish_vectors(rows, CELLS, part, ledger, now=NOW)
    assert sum(part.info().vector_count for part in index.parts) == 30
    assert sum(part.info().vector_count > 0 for part in index.parts) > 1
    for vector in desired["embedding"].to_numpy()[:5]:
        found, expected = SearchedIndex(index).query(vector, 7), whole.query(vector, 7)
        assert (
            found["vector_id"].to_list()
            == expected.sort("score", "vector_id", descending=[True, False])["vector_id"].to_list()
        )
    ids = desired["vector_id"].to_list()[:9]
    assert sorted(SearchedIndex(index).get([*ids, "none"])["vector_id"]) == sorted(ids), "from whichever shard has them"


def test_reading_shards_is_reading_one_store(tmp_path: Path, store: Shards[MetadataStore]) -> None:
    desired = in_cell(captures(ROWS), list(CELLS))
    for part, rows in store.split(desired):
        publish_rows(rows, CELLS, part, Ledger(tmp_path / "ledger.sqlite"))
    found = SearchedStore(store).query("SELECT capture_id, creator FROM captures WHERE capture_id < ?1", ("s:10",))
    assert sorted(found["capture_id"]) == [f"s:{i:02d}" for i in range(10)]
    assert SearchedStore(store).query("SELECT * FROM captures WHERE 0").is_empty()


def test_a_capture_that_moves_to_another_block_leaves_the_shard_it_was_in(
    tmp_path: Path, store: Shards[MetadataStore]
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def publish(cell: str) -> list[int]:
        for part, rows in store.split(in_cell(captures(ROWS[:1]), [cell])):
            publish_rows(rows, CELLS, part, ledger)
        return [part.count("captures") for part in store.parts]

    assert publish(CELLS[0]) == [0, 0, 1]
    assert publish(CELLS[1]) == [1, 0, 0]


def test_with_more_shards_than_before_the_old_ones_are_emptied_of_what_moved(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    stores = tuple(SqliteStore(tmp_path / f"{n}.sqlite") for n in range(2))
    for count in (1, 2):
        for part, rows in Shards(stores[:count]).split(in_cell(captures(ROWS), list(CELLS))):
            part.migrate()
            publish_rows(rows, CELLS, part, ledger)
    held = [set(part.query("SELECT capture_id FROM captures")["capture_id"]) for part in stores]
    assert len(held[0]) + len(held[1]) == 30 and not held[0] & held[1] and held[1]
