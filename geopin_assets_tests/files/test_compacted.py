"""Many small objects are read as few, and what a block remembers is never taken for what an object says now."""

from collections.abc import Callable

import polars as pl
import pytest

from geopin_assets.files.compacted import KEY, compacted, place_of
from geopin_assets.files.object_store import ObjectStore
from geopin_assets_tests.files.stores import only_a_folder

SCHEMA = pl.Schema({"text": pl.String()})


class Reader:
    """Counts what is read."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.keys = store, list[str]()

    def __call__(self, key: str) -> pl.DataFrame:
        self.keys.append(key)
        return pl.DataFrame({"text": [self.store.get(key).decode()]})

    def look(self, block: Callable[[str], str] = lambda key: "all") -> dict[str, str]:
        """What every object says; `keys` are those that were read for it."""
        self.keys = []
        stored = self.store.look("f")[1]
        rows = pl.concat([SCHEMA.to_frame().with_columns(pl.lit("").alias(KEY)), *self._rows(stored, block)])
        return dict(rows.select(KEY, "text").iter_rows())

    def _rows(self, stored, block):  # type: ignore[no-untyped-def]
        return compacted(self.store, "f", stored, self, SCHEMA, block=block)


@pytest.fixture
def reader(object_store: ObjectStore) -> Reader:
    for number in range(120):
        object_store.put(f"f/{number // 60}-{number:03d}", str(number).encode())
    return Reader(object_store)


def test_what_did_not_change_is_not_read_again(reader: Reader) -> None:
    first = reader.look()
    assert len(reader.keys) == len(first) == 120 and first["f/0-007"] == "7"
    assert reader.look() == first and reader.keys == []
    reader.store.put("f/0-007", b"new")
    reader.store.put("f/2-999", b"more")
    reader.store.delete(["f/1-100"])
    now = first | {"f/0-007": "new", "f/2-999": "more"}
    del now["f/1-100"]
    assert reader.look() == now and sorted(reader.keys) == ["f/0-007", "f/2-999"]


@only_a_folder
def test_a_change_costs_what_changed_until_a_block_is_written_anew(reader: Reader) -> None:
    reader.look()
    for number in range(60):
        reader.store.put(f"f/0-{number:03d}", b"x")
    reader.look()
    assert len(reader.keys) == 60
    reader.look()
    assert reader.keys == []


@only_a_folder
def test_each_block_knows_its_own(reader: Reader) -> None:
    def by_first(key: str) -> str:
        return key[2]

    first = reader.look(by_first)
    assert reader.store.has(place_of("f", "0")) and reader.store.has(place_of("f", "1"))
    reader.store.delete([place_of("f", "1")])
    assert reader.look(by_first) == first and set(reader.keys) == {key for key in first if key.startswith("f/1")}


@only_a_folder
@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_a_block_that_cannot_be_read_costs_reading(reader: Reader, content: bytes) -> None:
    first = reader.look()
    reader.store.put(place_of("f", "all"), content)
    assert reader.look() == first and len(reader.keys) == 120
