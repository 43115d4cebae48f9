import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.event_log import OpenSqliteEventLog, SqliteEventLogStorage

CHECKOUT = Path(__file__).parents[2]
ASSET = dg.AssetKey("streets")


@dg.asset
def streets() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"houses": 3})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as opened:
        yield opened


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([streets], instance=instance).run_id


def test_the_checkout_s_instance_keeps_its_connections_and_its_files_where_dagster_has_them(
    instance: dg.DagsterInstance, home: Path
) -> None:
    run_id = materialize(instance)
    assert isinstance(instance.event_log_storage, OpenSqliteEventLog)
    assert {path.name for path in (home / "history" / "runs").glob("*.db")} == {"index.db", f"{run_id}.db"}


def test_dagster_s_own_storage_reads_what_was_written_while_it_is_still_open(
    instance: dg.DagsterInstance, home: Path
) -> None:
    run_id = materialize(instance)
    own = SqliteEventLogStorage(str(home / "history" / "runs"))
    events = own.get_logs_for_run(run_id)
    assert [event.dagster_event_type for event in events] == [
        event.dagster_event_type for event in instance.all_logs(run_id)
    ]
    (record,) = own.get_asset_records([ASSET])
    assert record.asset_entry.last_run_id == run_id
    own.dispose()


def test_many_runs_one_after_the_other_are_all_there(instance: dg.DagsterInstance) -> None:
    ids = [materialize(instance) for _ in range(6)]
    for run_id in ids:
        kinds = [event.dagster_event_type for event in instance.all_logs(run_id)]
        assert kinds[-1] is dg.DagsterEventType.RUN_SUCCESS
        assert dg.DagsterEventType.ASSET_MATERIALIZATION in kinds


def test_a_history_that_was_wiped_begins_anew(instance: dg.DagsterInstance) -> None:
    materialize(instance)
    instance.wipe()
    assert instance.get_latest_materialization_event(ASSET) is None
    run_id = materialize(instance)
    assert instance.get_latest_materialization_event(ASSET).run_id == run_id  # type: ignore[union-attr]


def test_a_run_s_database_is_the_one_that_dagster_would_make(instance: dg.DagsterInstance, home: Path) -> None:
    """The first run's is made, the others are copies of it, before any event."""

    def tables(run_id: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(home / "history" / "runs" / f"{run_id}.db")) as opened:
            ((mode,),) = opened.execute("pragma journal_mode")
            versions = opened.execute("select * from alembic_version").fetchall()
            return [(mode,), *versions, *opened.execute("select name, sql from sqlite_master order by name")]

    first, second = materialize(instance), materialize(instance)
    assert tables(first) == tables(second)
    assert len(instance.all_logs(second)) == len(instance.all_logs(first))
    assert not {event.run_id for event in instance.all_logs(second)} - {second}
