"""Files of ours that a disk spoiled or refused: what is said, by whom, and that nothing else is read or lost."""

import os
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.errors import ConfigurationError, DamagedFileError, StorageFullError, TransientError
from geopin_assets.files.damage import is_aside, of_disk, reading, set_aside, writing
from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.files.parquet import check, opened, read_frame, read_metadata, read_whole, write_frame
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.processes import end, start

FRAME = pl.DataFrame(
    {
        "id": [f"mapillary:{n * 7919 % 1000}" for n in range(3000)],
        "heading_deg": [None if n % 7 == 0 else n / 10 for n in range(3000)],
        "embedding": pl.Series([[n % 7, 1.0] for n in range(3000)], dtype=pl.Array(pl.Float16, 2)),
        "at": pl.Series(range(3000), dtype=pl.Datetime("us", "UTC")),
    }
)


def read_all(path: Path) -> pl.DataFrame:
    """By the other way to read rows."""
    return read_whole(path, FRAME.columns)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_frame(tmp_path_factory.mktemp("whole") / "a.parquet", FRAME, {"crawled": "today"}).read_bytes()


def test_a_frame_that_was_written_is_read_back(tmp_path: Path) -> None:
    path = write_frame(tmp_path / "source" / "cell.parquet", FRAME, {"crawled": "today"})
    assert read_frame(path).equals(FRAME) and read_frame(path).schema == FRAME.schema
    assert pl.read_parquet(path).equals(FRAME), "for other readers too"
    assert read_frame(path, ["at", "id"]).equals(FRAME.select("at", "id"))
    assert read_metadata(path)["crawled"] == "today"
    found, about = read_whole(path, ["at", "of another version", "id"])
    assert found.equals(FRAME.select("at", "id")) and found.schema == FRAME.select("at", "id").schema
    assert about["crawled"] == "today"
    check(path)


def test_a_byte_that_flipped_is_never_read_as_other_data(tmp_path: Path, whole: bytes) -> None:
    path, footer = tmp_path / "cell.parquet", 8 + int.from_bytes(whole[-8:-4], "little")

    @given(before_end=st.integers(1, footer) | st.integers(1, len(whole)), flipped=st.integers(1, 255))
    @settings(max_examples=examples(20, 2000))
    def flip(before_end: int, flipped: int) -> None:
        spoiled = bytearray(whole)
        spoiled[-before_end] ^= flipped
        path.write_bytes(spoiled)
        for read in (read_frame, read_all):
            try:
                found = read(path)
            except DamagedFileError as error:
                assert str(path) in str(error)
            else:
                assert found.equals(FRAME), "at most what no data hangs on was hit"

    flip()


def test_a_column_whose_name_is_no_text_is_damage(tmp_path: Path, whole: bytes) -> None:
    (path := tmp_path / "cell.parquet").write_bytes(whole.replace(b"heading_deg", b"\xff" * 11))
    with pytest.raises(DamagedFileError, match=r"cell\.parquet"):
        read_frame(path)


def test_a_file_from_before_there_were_checksums_of_the_whole_is_checked_page_by_page(tmp_path: Path) -> None:
    path = tmp_path / "cell.parquet"
    pq.write_table(FRAME.to_arrow(), path, write_page_checksum=True, compression="none", use_dictionary=False)
    assert read_all(path).equals(FRAME)
    content = path.read_bytes()
    assert b"mapillary:919" in content
    path.write_bytes(content.replace(b"mapillary:919", b"mapillary:918", 1))
    with pytest.raises(DamagedFileError, match=r"cell\.parquet"):
        read_all(path)


@pytest.mark.parametrize("length", [0, 1, 4, 11, 200, -500, -8, -1])
def test_a_file_that_was_cut_is_damaged(tmp_path: Path, whole: bytes, length: int) -> None:
    (path := tmp_path / "cell.parquet").write_bytes(whole[:length])
    for read in (read_frame, read_all, read_metadata, opened, check):
        with pytest.raises(DamagedFileError, match=r"cell\.parquet"):
            read(path)


def test_a_file_that_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    for read in (read_frame, read_all, read_metadata, opened, check):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "cell.parquet")


def test_a_full_disk_says_so_whichever_library_writes_and_the_old_file_stays(tmp_path: Path) -> None:
    code = """
        import pathlib, resource, sys, duckdb, polars as pl
        from geopin_assets.errors import StorageFullError
        from geopin_assets.files.atomic import replacing, write_bytes
        from geopin_assets.files.damage import writing
        from geopin_assets.files.object_store import open_store
        from geopin_assets.files.parquet import write_frame
        from geopin_assets.store.database import Database
        folder = pathlib.Path(sys.argv[1])
        frame = pl.DataFrame({"a": range(200_000)}).select(pl.col("a").hash().cast(pl.String))
        def by_polars():
            with writing("x"), replacing(folder / "a") as path:
                frame.write_parquet(path)
        def by_duckdb():
            with Database(folder / "c.duckdb", patience_s=0).connect() as db:
                db.execute("create table t as select md5(range::varchar) from range(300000)")
        def by_bytes():
            with writing("x"):
                write_bytes(folder / "a", b"0" * 1_000_000)
        by_store = lambda: open_store(folder).put("a", b"0" * 1_000_000)
        write_bytes(folder / "a", b"old")
        with Database(folder / "c.duckdb", patience_s=0).connect() as db:
            db.execute("create table kept as select 1 x")
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        for write in (by_polars, by_duckdb, by_bytes, by_store, lambda: write_frame(folder / "a", frame)):
            try:
                write()
                print("wrote")
            except StorageFullError as error:
                print("full")
    """
    code_, said = end(start(code, tmp_path))
    assert (code_, said.split()) == (0, ["full"] * 5)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".") and "lock" not in path.name]
    with duckdb.connect(str(tmp_path / "c.duckdb")) as db:
        assert db.sql("from kept").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (OSError(28, "No space left on device"), StorageFullError),
        (OSError(122, os.strerror(122)), StorageFullError),
        (pl.exceptions.ComputeError("underlying IO error: No space left on device (os error 28)"), StorageFullError),
        (OSError(13, "Permission denied", "/a"), ConfigurationError),
        (duckdb.IOException("IO Error: Cannot open file: Read-only file system"), ConfigurationError),
        (OSError(5, "Input/output error"), TransientError),
        (pa.ArrowInvalid("not a Parquet file"), DamagedFileError),
        (OSError("could not verify page integrity, CRC checksum verification failed"), DamagedFileError),
    ],
)
def test_what_a_library_said_becomes_the_projects_error(error: Exception, meaning: type[Exception]) -> None:
    with pytest.raises(meaning, match="cell 7") as raised, reading("cell 7"):
        raise error
    assert raised.type is meaning


def test_a_mistake_of_ours_stays_one() -> None:
    with pytest.raises(KeyError), reading("cell 7"):
        raise KeyError("x")
    with pytest.raises(duckdb.BinderException), reading("cell 7"):
        duckdb.sql("select nothing from (select 1 as x)")
    with pytest.raises(pa.ArrowInvalid), writing("cell 7"):
        raise pa.ArrowInvalid("a schema that does not fit")
    assert of_disk(ValueError("x"), "cell 7") is None


def test_a_damaged_database_is_set_aside_with_what_is_beside_it(tmp_path: Path) -> None:
    for name in ("a.sqlite", "a.sqlite-wal", "b.sqlite"):
        (tmp_path / name).write_bytes(name.encode())
    place = set_aside(tmp_path / "a.sqlite")
    assert place and is_aside(place) and place.read_bytes() == b"a.sqlite"
    assert place.with_name(f"{place.name}-wal").read_bytes() == b"a.sqlite-wal"
    assert [path.name for path in tmp_path.iterdir() if not is_aside(path)] == ["b.sqlite"]
    assert set_aside(tmp_path / "a.sqlite") is None


def test_an_object_set_aside_is_in_no_list_and_goes_with_its_folder(object_store: ObjectStore) -> None:
    for key in ("m/a.parquet", "m/b.parquet", "n/a.parquet"):
        object_store.put(key, key.encode())
    place = object_store.set_aside("m/a.parquet")
    assert place and object_store.get(place) == b"m/a.parquet"
    assert [stored.key for stored in object_store.walk()] == ["m/b.parquet", "n/a.parquet"]
    assert [stored.key for stored in object_store.look("m")[1]] == ["m/b.parquet"]
    assert not object_store.has("m/a.parquet") and object_store.set_aside("m/a.parquet") is None
    assert object_store.aside() == object_store.aside("m") == [place]
    object_store.delete_folder("m")
    assert object_store.aside() == [] and [stored.key for stored in object_store.walk()] == ["n/a.parquet"]


def test_a_file_is_set_aside_beside_the_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("a b [1]/c.parquet", b"1")
    assert store.set_aside("a b [1]/c.parquet")
    assert [path.suffix.startswith(".damaged-") for path in (tmp_path / "a b [1]").iterdir()] == [True]
