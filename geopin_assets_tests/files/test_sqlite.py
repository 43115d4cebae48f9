import os
import resource
import sqlite3
from pathlib import Path

import pytest

from geopin_assets.errors import ConfigurationError, DamagedFileError, TransientError
from geopin_assets.files.sqlite import complaints, opened, transaction, writing
from geopin_assets_tests.files.processes import at_work, end, start

SCHEMA = "create table if not exists counted (name text primary key, n integer) without rowid;"
ADD = "insert into counted values ('n', 1) on conflict do update set n = n + 1"
COUNT_TO_25 = f"""
    import pathlib, sys
    from geopin_assets.files.sqlite import transaction
    for _ in range(25):
        with transaction(pathlib.Path(sys.argv[1]), {SCHEMA!r}, is_durable=sys.argv[2] == "True") as db:
            db.execute({ADD!r})
"""


def count(path: Path) -> int:
    with opened(path, SCHEMA) as db:
        return sum(n for (n,) in db.execute("select n from counted"))


def test_the_first_use_makes_the_file_its_folder_and_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.sqlite"
    assert count(path) == 0 and path.is_file()


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with transaction(path, SCHEMA) as db:
        db.execute(ADD)
    with pytest.raises(KeyboardInterrupt), transaction(path, SCHEMA) as db:
        db.execute(ADD)
        raise KeyboardInterrupt
    assert count(path) == 1


@pytest.mark.parametrize("is_durable", [True, False])
def test_processes_that_meet_at_a_new_file_lose_nothing(tmp_path: Path, is_durable: bool) -> None:
    path = tmp_path / "a.sqlite"
    processes = [start(COUNT_TO_25, path, is_durable) for _ in range(4)]
    assert [end(process)[0] for process in processes] == [0] * 4
    assert count(path) == 100


def test_a_reader_goes_on_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with transaction(path, SCHEMA) as db:
        db.execute(ADD)
        with opened(path, busy_timeout_s=0) as reader:
            assert reader.execute("select count(*) from counted").fetchone() == (0,)
    assert count(path) == 1


def test_whoever_waits_too_long_for_a_writer_is_told_to_try_again(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with (
        transaction(path, SCHEMA),
        pytest.raises(TransientError, match=r"a\.sqlite: .*locked; another process is writing"),
        opened(path, busy_timeout_s=0.01) as second,
        writing(second),
    ):
        pass


def test_a_process_killed_in_a_transaction_leaves_what_was_before_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    code = f"""
        import pathlib, sys
        from geopin_assets.files.sqlite import transaction
        with transaction(pathlib.Path(sys.argv[1]), {SCHEMA!r}) as db:
            db.execute({ADD!r})
            print("written", flush=True)
            sys.stdin.read()
    """
    with at_work(code, path) as process:
        process.kill()
        process.wait()
        assert count(path) == 0
        with transaction(path, SCHEMA) as db:
            db.execute(ADD)
    assert count(path) == 1


def test_a_process_killed_while_it_makes_the_file_breaks_nothing(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, sys
        from geopin_assets.files.sqlite import opened
        schema = "begin;" + {SCHEMA!r} * int(sys.argv[2])
        with opened(pathlib.Path(sys.argv[1]), schema):
            os._exit(9)
    """
    for tables in (0, 1):
        path = tmp_path / f"{tables}.sqlite"
        assert end(start(code, path, tables))[0] == 9
        assert count(path) == 0


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedFileError, match=r"a\.sqlite: file is not a database"):
        count(path)


def test_a_damaged_page_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with transaction(path, SCHEMA) as db:
        db.executemany("insert into counted values (?, 1)", [(f"{n:09}",) for n in range(5_000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises(DamagedFileError, match=r"a\.sqlite: .*malformed"):
        count(path)


@pytest.mark.parametrize(("before", "after"), [(b"na\xc3\xafve", b"na\xff\xffve"), (b"without", b"\xff" * 7)])
def test_text_that_is_no_utf8_in_rows_or_in_the_schema_is_damage(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "a.sqlite"
    with transaction(path, SCHEMA) as db:
        db.execute("insert into counted values ('na\u00efve', 1)")
    assert complaints(path) == []
    whole = path.read_bytes()
    path.write_bytes(whole.replace(before, after))
    with pytest.raises(DamagedFileError, match=r"a\.sqlite"), opened(path, SCHEMA) as db:
        db.execute("select * from counted").fetchall()
    assert complaints(path), "whoever looks for damage finds it"


def test_a_full_disk_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with pytest.raises(TransientError, match=r"a\.sqlite: database or disk is full"), transaction(path, SCHEMA) as db:
        db.execute("pragma max_page_count = 3")
        db.execute("insert into counted values (?, 1)", ("x" * 100_000,))
    assert count(path) == 0


def test_a_place_that_is_no_file_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unable to open"), opened(tmp_path):
        pass


def test_a_wrong_statement_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), opened(tmp_path / "a.sqlite") as db:
        db.execute("select * from missing")


def test_where_there_is_no_room_to_read_a_sound_file_it_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    count(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as on a full disk, where no index of what is written fits
    try:
        with pytest.raises(TransientError, match=r"a\.sqlite: .*is there space left"):
            complaints(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert complaints(path) == []


def test_a_folder_in_a_databases_place_is_damage(tmp_path: Path) -> None:
    assert complaints(tmp_path)


MOUNTED = os.statvfs_result((0, 0, 0, 0, 0, 0, 0, 0, os.ST_RDONLY, 255))
"""What the system says of a disk that takes no writes."""


def test_what_is_mounted_to_be_read_only_is_read_with_nothing_beside_it_and_takes_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sqlite"
    with transaction(path, "create table a (b)") as connection:
        connection.execute("insert into a values (1)")
    monkeypatch.setattr(os, "statvfs", lambda place: MOUNTED)
    with opened(path, "create table if not exists later (c)") as connection:
        assert connection.execute("select b from a").fetchall() == [(1,)]
        assert [one.name for one in tmp_path.iterdir()] == [path.name]
    with pytest.raises(ConfigurationError, match="may this user write there"), transaction(path) as connection:
        connection.execute("insert into a values (2)")


def test_what_stands_in_a_journal_is_not_overlooked_where_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sqlite"
    with opened(path, "create table a (b)") as writer:
        writer.execute("insert into a values (1)")  # which is in the journal until it is closed
        monkeypatch.setattr(os, "statvfs", lambda place: MOUNTED)
        with opened(path) as connection:
            assert connection.execute("select b from a").fetchall() == [(1,)]
