"""What only the embedded index promises: files, and Vectorize's metadata indexes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.errors import DamagedFileError, PermanentError
from geopin_assets.index.embedded.lance import KEEP_OLD_VERSIONS, MAX_SMALL_FRAGMENTS, LanceIndex, indexes_in, read_all
from geopin_assets.index.protocol import METADATA, vector_schema
from geopin_assets_tests.depth import some
from geopin_assets_tests.index.frames import DIM, unit, upsertable


def test_an_index_outlives_the_object_that_wrote_it(tmp_path: Path) -> None:
    writer, reader = LanceIndex(tmp_path, "test", DIM), LanceIndex(tmp_path, "test", DIM)
    writer.create()
    writer.upsert(upsertable([("x", 1)]))
    assert reader.get(["x"]).height == 1
    writer.delete(["x"])
    assert reader.get(["x"]).height == 0


def test_an_index_is_opened_once_for_all_searches_until_somebody_writes_or_puts_another_in_its_place(
    tmp_path: Path,
) -> None:
    writer, reader = LanceIndex(tmp_path / "a", "test", DIM), LanceIndex(tmp_path / "a", "test", DIM)
    writer.create()
    opened = []
    open_table = reader._database.open_table
    reader._database.open_table = lambda name: opened.append(name) or open_table(name)
    for wanted in (["x"], ["x", "y"]):
        writer.upsert(upsertable([(wanted[-1], len(wanted))]))
        for _ in range(3):
            assert reader.query(unit(1), 5)["vector_id"].to_list() == wanted
    assert len(opened) == 2
    other = LanceIndex(tmp_path / "b", "test", DIM)
    other.create()
    other.upsert(upsertable([("z", 1)]))
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(PermanentError, match="there is no index test"):
        reader.query(unit(1), 5)
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    assert reader.query(unit(1), 5)["vector_id"].to_list() == ["z"]


def test_a_filter_never_finds_vectors_upserted_before_its_metadata_index(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path, "test", DIM)
    schema = pl.DataFrame(schema=vector_schema(DIM)).to_arrow().schema
    index._database.create_table("test", schema=schema)  # as if created without metadata indexes
    index.upsert(upsertable([("early", 1)]))
    with pytest.raises(PermanentError, match="no metadata index on source"):
        index.query(unit(1), 5, where={"source": "panoramax"})
    index.create()
    index.upsert(upsertable([("late", 2)]))
    assert index.query(unit(1), 5, where={"source": "panoramax"})["vector_id"].to_list() == ["late"]
    index.upsert(upsertable([("early", 1)]))
    assert set(index.query(unit(1), 5, where={"source": "panoramax"})["vector_id"]) == {"early", "late"}


def test_a_new_index_is_filterable_at_once_and_an_older_one_by_whoever_comes_first(tmp_path: Path) -> None:
    new, older = LanceIndex(tmp_path, "new", DIM), LanceIndex(tmp_path, "older", DIM)
    new.create()
    assert new._table().version == 1 and set(new.metadata_indexes()) == set(METADATA)
    older._database.create_table("older", schema=pl.DataFrame(schema=vector_schema(DIM)).to_arrow().schema)
    for _ in range(2):  # as two processes that both found it missing
        older.create_metadata_index("source")
    older.create()
    assert set(older.metadata_indexes()) == set(METADATA)


def test_a_filter_sees_the_first_64_bytes_of_a_string(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path, "test", DIM)
    index.create()
    index.upsert(upsertable([("x", 1)], source="s" * 70))
    assert index.query(unit(1), 5, where={"source": "s" * 70}).is_empty()
    assert index.query(unit(1), 5, where={"source": "s" * 64}).height == 1
    assert index.get(["x"])["source"].item() == "s" * 70


def test_a_filter_operator_the_service_does_not_know_is_refused(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path, "test", DIM)
    index.create()
    with pytest.raises(PermanentError, match=r"unknown filter operator \$or"):
        index.query(unit(1), 5, where={"source": {"$or": ["x"]}})


def test_an_index_that_was_never_created_or_has_another_dimension_is_an_error(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path, "test", DIM)
    with pytest.raises(PermanentError, match="there is no index test"):
        index.info()
    index.create()
    with pytest.raises(PermanentError, match="has 8 dimensions, not 16"):
        LanceIndex(tmp_path, "test", 16).create()
    with pytest.raises(PermanentError, match="between 1 and 1536"):
        LanceIndex(tmp_path, "large", 1537)
    with pytest.raises(PermanentError, match="8 finite numbers"):
        index.query(unit(1, dim=9), 5)


WAYS: list[Callable[[LanceIndex], object]] = [
    LanceIndex.create,
    lambda index: list(index.ids()),
    lambda index: index.get(["a", "c"]),
    lambda index: index.query(unit(1), 5),
    LanceIndex.info,
    LanceIndex.metadata_indexes,
    LanceIndex.optimize,
    lambda index: index.upsert(upsertable([("d", 4)])),
    lambda index: index.delete(["a"]),
    LanceIndex.compact,
]
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: bytes(len(whole)),
    "no UTF-8": lambda whole: whole.replace(b"embedding", b"\xff" * 9),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=[*DAMAGE])
def test_whatever_is_damaged_and_whatever_is_asked_is_told_as_damage(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    index = LanceIndex(tmp_path / "whole", "test", DIM)
    index.create()
    index.upsert(upsertable([("a", 1), ("b", 2)]))
    index.delete(["b"])
    index.upsert(upsertable([("c", 3)]))
    files = [path for path in index._folder.rglob("*") if path.is_file()]
    newest_first = sorted(files, key=lambda path: (path.suffix != ".manifest", path.name))
    is_told = False
    for file in some(newest_first):
        for ask in WAYS:
            folder = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
            spoiled = folder / file.relative_to(index._folder)
            spoiled.write_bytes(damage(file.read_bytes()))
            try:
                ask(LanceIndex(folder, "test", DIM))
                indexes_in(folder, "")
                read_all(folder / "test.lance")
            except DamagedFileError:
                is_told = True
            shutil.rmtree(folder)
    assert is_told


def test_many_small_upserts_are_merged_and_nothing_is_lost(tmp_path: Path) -> None:
    index = LanceIndex(tmp_path, "test", DIM)
    index.create()
    for i in range(MAX_SMALL_FRAGMENTS + 1):
        index.upsert(upsertable([(f"x{i}", i)]))
    index.optimize()
    table = index._table()
    assert table.stats()["fragment_stats"]["num_fragments"] < MAX_SMALL_FRAGMENTS
    assert index.info().vector_count == MAX_SMALL_FRAGMENTS + 1
    assert KEEP_OLD_VERSIONS.total_seconds() >= 600  # a reader in the middle of a query keeps its version
    version = table.version
    index.optimize()
    assert index._table().version == version


def test_compacting_merges_even_few_fragments_and_needs_no_index(tmp_path: Path) -> None:
    LanceIndex(tmp_path, "nothing", DIM).compact()
    index = LanceIndex(tmp_path, "test", DIM)
    index.create()
    for i in range(3):
        index.upsert(upsertable([(f"x{i}", i)]))
    index.compact()
    assert index._table().stats()["fragment_stats"]["num_fragments"] == 1
    assert sorted(index.ids()) == ["x0", "x1", "x2"]


def test_an_index_divided_into_lists_finds_what_was_written_before_and_after_and_nothing_that_was_deleted(
    tmp_path: Path,
) -> None:
    """Its writes are found at once, by filters too, and another process needs to know nothing of it."""
    index = LanceIndex(tmp_path, "many", 16, approximate_from=600)
    index.create()
    looks = np.random.default_rng(0).standard_normal((900, 16)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)

    def rows(numbers: range) -> pl.DataFrame:
        named = {
            "vector_id": [f"s:{n}/00" for n in numbers],
            "embedding": looks[numbers.start : numbers.stop],
            "source": ["odd" if n % 2 else "even" for n in numbers],
            "cell_block": ["b"] * len(numbers),
            "captured_year": [2024] * len(numbers),
        }
        return pl.DataFrame(named, schema=vector_schema(16))

    index.upsert(rows(range(600)))
    index.compact()
    assert index._table().list_indices()
    index.upsert(rows(range(600, 900)))
    index.delete(["s:3/00", "s:700/00"])
    other = LanceIndex(tmp_path, "many", 16)
    for n in range(0, 900, 7):
        (best, *_) = other.query(looks[n], 1)["vector_id"]
        assert (best == f"s:{n}/00") is (n != 700)
    assert other.query(looks[5], 5, where={"source": "even"})["vector_id"].str.contains("[02468]/00").all()
    index.compact()
    assert other.query(looks[899], 1)["vector_id"].to_list() == ["s:899/00"]
    index.purge()
    assert other.info().vector_count == 898
    assert other.query(looks[899], 1)["vector_id"].to_list() == ["s:899/00"]
