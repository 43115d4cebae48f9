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
