"""Files are used through one engine: each alone, never read while they are written, and let go at once."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import duckdb
import pytest

from geopin_assets.errors import DamagedFileError, TransientError
from geopin_assets.store.database import Database
from geopin_assets.store.reading import Files
from geopin_assets_tests.files.processes import end, start

WRITE = """
    import duckdb, sys
    with duckdb.connect(sys.argv[1]) as db:
        db.execute("insert into seen values (2)")
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "it's [here]" / "catalog.duckdb", patience_s=0)
    with database.connect() as db:
        db.execute("create table seen as select 1 as n")
    return database


@contextmanager
def held(database: Database, *, read_only: bool) -> Iterator[None]:
    """By another thread of this process."""
    with ExitStack() as stack:
        thread = Thread(target=lambda: stack.enter_context(database.connect(read_only=read_only)))
        thread.start()
        thread.join()
        yield


def seen(database: Database) -> list[tuple[int]]:
    with database.connect(read_only=True) as db:
        return db.execute("select n from seen order by n").fetchall()


def test_what_another_process_wrote_in_between_is_read(database: Database) -> None:
    assert seen(database) == [(1,)]
    assert end(start(WRITE, database.path))[0] == 0
    assert seen(database) == [(1,), (2,)]


def test_another_process_writes_when_the_last_reader_is_done_and_not_before(database: Database) -> None:
    with held(database, read_only=True):
        assert seen(database) == [(1,)]
        assert end(start(WRITE, database.path))[0] != 0
    assert end(start(WRITE, database.path))[0] == 0


@pytest.mark.parametrize("is_reader_first", [True, False])
def test_a_reader_and_a_writer_of_one_process_wait_for_each_other(database: Database, is_reader_first: bool) -> None:
    with (
        held(database, read_only=is_reader_first),
        pytest.raises(TransientError, match="stayed locked"),
        database.connect(read_only=not is_reader_first),
    ):
        raise AssertionError
    assert seen(database) == [(1,)]
    with database.connect() as db:
        db.execute("insert into seen values (2)")


def test_a_reader_writes_nothing_and_sees_no_other_file(database: Database, tmp_path: Path) -> None:
    other = Database(tmp_path / "other.duckdb", patience_s=0)
    with other.connect() as db:
        db.execute("create table elsewhere as select 1 as n")
    with other.connect(read_only=True), database.connect(read_only=True) as db:
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            db.execute("insert into seen values (2)")
        with pytest.raises(duckdb.CatalogException):
            db.execute("from elsewhere")
        assert db.execute("from seen").fetchall() == [(1,)]


def test_a_damaged_file_does_not_stand_in_the_way_of_others(database: Database, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.duckdb"
    content = bytearray(database.path.read_bytes())
    for place in range(3 * 4096, len(content), 512):  # behind what is looked at to open it
        content[place] ^= 0x55
    damaged.write_bytes(content)
    with pytest.raises(DamagedFileError, match="damaged"):
        seen(Database(damaged, patience_s=0))
    assert seen(database) == [(1,)]


def test_a_forked_process_reads_and_ends(database: Database) -> None:
    assert seen(database) == [(1,)]
    if not (child := os.fork()):
        os._exit(seen(database) != [(1,)])
    assert os.waitpid(child, 0)[1] == 0
    assert seen(database) == [(1,)]


def test_a_written_file_is_let_go_whole_and_what_one_writer_set_is_not_for_the_next(database: Database) -> None:
    database.tidy()
    with database.connect() as db:
        db.execute("insert into seen values (2)")
        assert db.execute("select current_setting('threads'), current_setting('max_vacuum_tasks')").fetchall() == [
            (1, 0)
        ]
        assert end(start(WRITE, database.path))[0] != 0
    assert [path.name for path in database.path.parent.iterdir()] == [database.path.name]
    assert end(start(WRITE, database.path))[0] == 0
    assert seen(database) == [(1,), (2,), (2,)]


def test_writers_of_one_process_write_side_by_side(database: Database) -> None:
    with database.connect() as one, database.connect() as other:
        one.execute("create temp table mine as select 3 as n")
        one.begin()
        one.execute("insert into seen from mine")
        other.execute("insert into seen values (2)")
        with pytest.raises(duckdb.CatalogException):
            other.execute("from mine")
        one.commit()
    assert seen(database) == [(1,), (2,), (3,)]


def test_what_had_no_room_in_memory_lay_beside_its_file_and_the_next_looks_do_as_the_first(tmp_path: Path) -> None:
    files, paths = Files(), [tmp_path / name for name in ("one.duckdb", "one.duckdb", "other.duckdb")]
    for path in paths:
        with files.writing(path) as db:
            db.execute("set memory_limit = '20MB'")
            db.execute(
                "create temp table large as select range as n, md5(range::varchar) || range as text from range(500_000)"
            )
            assert path.with_name(f"{path.name}.tmp").exists()
            db.execute("create or replace table kept as select count(*) as n from large")
