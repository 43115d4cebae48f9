"""The catalog's file itself: its birth, its damage, and what is not its damage."""

import os
import re
import shutil
import signal
from itertools import product
from pathlib import Path

import duckdb
import pytest

from geopin_assets.errors import DamagedFileError, TransientError
from geopin_assets.store.database import SQL, Database, frame
from geopin_assets_tests.depth import examples
from geopin_assets_tests.files.processes import at_work, end, start

_LIMITED = """
    import pathlib, resource, sys
    from geopin_assets.errors import StorageFullError
    from geopin_assets.store.database import Database
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with Database(pathlib.Path(sys.argv[1]), patience_s=0).connect():
            print("born")
    except StorageFullError:
        print("full")
"""


def opened(path: Path) -> list[tuple[object, ...]]:
    with Database(path, patience_s=0).connect() as db:
        return db.sql("select count(*) from captures").fetchall()


@pytest.mark.parametrize("limit", [0, 5_000, 12_000, 12_288, 300_000])
def test_a_full_disk_at_its_birth_leaves_nothing_that_stands_in_the_way(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "catalog.duckdb"
    code, said = end(start(_LIMITED, path, limit))
    assert code == 0 and path.exists() is (said == "born\n")
    assert opened(path) == [(0,)]


def test_killed_at_its_birth_the_next_one_makes_it(tmp_path: Path) -> None:
    code = """
        import os, pathlib, sys, threading, time
        from geopin_assets.store.database import Database
        threading.Thread(target=lambda: (time.sleep(float(sys.argv[2])), os.kill(os.getpid(), 9)), daemon=True).start()
        with Database(pathlib.Path(sys.argv[1]), patience_s=0).connect():
            time.sleep(9)
    """
    for number in range(examples(4, 60)):
        path = tmp_path / str(number) / "catalog.duckdb"
        assert end(start(code, path, number * 0.12 / examples(4, 60)))[0] == -signal.SIGKILL
        assert opened(path) == [(0,)]


def test_several_first_processes_make_one_catalog(tmp_path: Path) -> None:
    code = """
        import pathlib, sys
        from geopin_assets.store.database import Database
        with Database(pathlib.Path(sys.argv[1]), patience_s=60).connect() as db:
            db.execute("create table if not exists seen (n int)")
            db.execute("insert into seen values (1)")
    """
    path = tmp_path / "catalog.duckdb"
    processes = [start(code, path) for _ in range(3)]
    assert [end(process)[0] for process in processes] == [0, 0, 0]
    with duckdb.connect(str(path)) as db:
        assert db.sql("select count(*) from seen").fetchall() == [(3,)]


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, None])
def test_a_damaged_catalog_is_named_with_its_remedy_and_stays_where_it_is(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "catalog.duckdb"
    opened(path)
    spoiled = bytearray(path.read_bytes())
    for place in range(0, len(spoiled), 512):
        spoiled[place] ^= 0x55
    path.write_bytes(bytes(spoiled) if content is None else content)
    with pytest.raises(DamagedFileError, match=r"catalog\.duckdb is damaged.*materialize `catalog`"):
        opened(path)
    assert path.exists()


@pytest.mark.parametrize("folder", ["block", "lock is held", "Could not set lock on file"])
def test_a_path_with_any_words_in_it_is_not_locked(tmp_path: Path, folder: str) -> None:
    waits: list[float] = []
    (path := tmp_path / folder / "catalog.duckdb").mkdir(parents=True)
    database = Database(path, patience_s=300, sleep=waits.append)
    with (
        pytest.raises(DamagedFileError, match=r"is a folder, not a plain file.*materialize `catalog`"),
        database.connect(),
    ):
        raise AssertionError
    assert not waits


def test_one_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "catalog.duckdb"
    opened(path)
    hold = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with at_work(hold, path), pytest.raises(TransientError, match="stayed locked by another process"):
        opened(path)
    assert opened(path) == [(0,)]


def test_a_statement_that_is_wrong_stays_duckdbs_error(tmp_path: Path) -> None:
    with pytest.raises(duckdb.CatalogException), Database(tmp_path / "c.duckdb", patience_s=0).connect() as db:
        db.sql("from nowhere")


def test_a_catalog_that_lacks_any_of_its_tables_is_brought_up_to_date_by_the_next_look(tmp_path: Path) -> None:
    tables = re.findall(r"create table if not exists (\w+)", (SQL / "schema.sql").read_text(encoding="utf-8"))
    database = Database(tmp_path / "catalog.duckdb", patience_s=0)
    for read_only, table in product((False, True), tables[1:]):
        with database.connect() as db:
            db.execute(f"drop table {table} cascade")
        with database.connect(read_only=read_only) as db:
            assert frame(db, f"from {table}").is_empty()


def test_one_that_is_at_rest_is_asked_once_for_its_version_and_another_in_its_place_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, older = Database(tmp_path / "catalog.duckdb", patience_s=0), tmp_path / "older.duckdb"
    with database.connect():
        pass
    shutil.copy(database.path, older)
    with duckdb.connect(str(older)) as db:
        db.execute("drop table thinning")
    for path in (database.path, older):
        os.utime(path, (0, 0))
    with database.connect(read_only=True):
        pass
    with monkeypatch.context() as patch:
        patch.setattr("geopin_assets.store.database._IS_NOT_OLDER", "from nowhere")
        patch.setattr("geopin_assets.store.database._bring_up_to_date", lambda db: pytest.fail("asked again"))
        with database.connect(read_only=True) as db:
            assert frame(db, "from thinning").is_empty()
    older.replace(database.path)
    with database.connect(read_only=True) as db:
        assert frame(db, "from thinning").is_empty()
