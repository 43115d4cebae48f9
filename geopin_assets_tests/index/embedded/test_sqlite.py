"""What only the embedded metadata store promises: sharing one file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from geopin_assets.errors import PermanentError, TransientError
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets_tests.index.frames import captures


def test_readers_go_on_while_one_process_writes_and_a_second_writer_is_told_to_come_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "d1.sqlite", busy_timeout_s=0.05)
    store.migrate()
    store.upsert("captures", captures([("x", 1)]))
    with closing(sqlite3.connect(tmp_path / "d1.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM captures")
        assert store.count("captures") == 1
        with pytest.raises(TransientError, match="another process is writing"):
            store.upsert("captures", captures([("y", 2)]))
        other.execute("ROLLBACK")
    store.upsert("captures", captures([("y", 2)]))
    assert store.count("captures") == 2


def test_a_query_cannot_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "d1.sqlite")
    store.migrate()
    store.upsert("captures", captures([("x", 1)]))
    with pytest.raises(PermanentError, match="readonly"):
        store.query("DELETE FROM captures")
    assert store.count("captures") == 1


@pytest.fixture
def counted(tmp_path: Path) -> SqliteStore:
    """Three captures, written in whatever way there is."""
    store = SqliteStore(tmp_path / "d1.sqlite")
    store.migrate()
    store.upsert("captures", captures([("x", 1), ("y", 2), ("z", 3)]))
    store.upsert("captures", captures([("x", 1), ("y", 9), ("new", 4)]))
    store.delete("captures", ["new", "never"])
    return store


def other(store: SqliteStore, statement: str) -> None:
    """Run by somebody who knows nothing of counts."""
    with closing(sqlite3.connect(store._path)) as connection, connection:
        connection.execute(statement)


def test_a_count_is_kept_whoever_writes_and_however(counted: SqliteStore) -> None:
    assert (counted.count("captures"), counted.count("vectors")) == (3, 0)
    other(counted, "DELETE FROM captures WHERE capture_id = 'x'")
    assert counted.count("captures") == 2
    other(counted, "DELETE FROM captures")
    assert counted.count("captures") == 0


def test_counting_reads_no_rows(counted: SqliteStore) -> None:
    other(counted, "UPDATE row_counts SET rows = 77 WHERE name = 'captures'")
    assert counted.count("captures") == 77


def test_a_file_from_before_counts_were_kept_is_counted_once(counted: SqliteStore) -> None:
    for name in ("captures", "vectors"):
        other(counted, f"DROP TRIGGER {name}_insert")
        other(counted, f"DROP TRIGGER {name}_delete")
    other(counted, "DROP TABLE row_counts")
    assert counted.count("captures") == 3
    counted.migrate()
    counted.upsert("captures", captures([("new", 4)]))
    assert counted.count("captures") == 4
