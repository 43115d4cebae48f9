"""Dagster instances for tests, made from prepared files in a tenth of the time.

Dagster creates and migrates three SQLite files for an instance and one more for each run, and makes a new engine,
which compiles its SQL anew, for every event: 0.3 s of CPU an instance, and a third of what a run of a few cells takes.
For each step it starts two `tail` and two interpreters that watch them, which write what the step prints to a file.
Here the files are copies of those that Dagster made once in this process, connections are kept and printed lines are
not; tables, statements and files are Dagster's own. What starts processes of its own (`geopin ui`, a killed run) has
an ordinary instance.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import yaml
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import Connection, Engine, create_engine, event

from geopin_assets.files.atomic import create_bytes

CHECKOUT = Path(__file__).parents[1]
RUNS, EVENTS, SCHEDULES = Path("history/runs.db"), Path("history/runs/index.db"), Path("schedules/schedules.db")
_A_RUN = EVENTS.with_name("a-run.db")


@cache
def prepared_files() -> dict[Path, bytes]:
    """The files of a new instance, and of a run without events."""
    with TemporaryDirectory() as folder, dg.instance_for_test(temp_dir=folder) as instance:
        with instance.event_log_storage.run_connection(_A_RUN.stem):
            pass
        return {name: Path(folder, name).read_bytes() for name in (RUNS, EVENTS, SCHEDULES, _A_RUN)}


def prepare(home: Path) -> None:
    """Put what Dagster would make into an empty DAGSTER_HOME."""
    for name, data in prepared_files().items():
        if name != _A_RUN and not (home / name).exists():
            create_bytes(home / name, data)  # whole or not at all, whatever befalls the process


def kept_storage(home: Path) -> dict[str, Any]:
    """What `dagster.yaml` says of an instance with this storage."""
    return {
        "telemetry": {"enabled": False},
        "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
        "storage": {"custom": {"module": __name__, "class": KeptStorage.__name__, "config": {"base_dir": str(home)}}},
    }


def shipped_storage() -> dict[str, Any]:
    """What the checkout's `dagster.yaml` says of the event log, for an instance that is to cost what users pay."""
    told: dict[str, Any] = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text(encoding="utf-8"))
    return {name: told[name] for name in ("telemetry", "event_log_storage")}


@contextmanager
def instance_in(home: Path) -> Iterator[dg.DagsterInstance]:
    """An instance in a folder; DAGSTER_HOME for as long."""
    with dg.instance_for_test(kept_storage(home), temp_dir=str(home)) as instance:
        yield instance


@contextmanager
def new_instance() -> Iterator[dg.DagsterInstance]:
    """The same in a folder of its own."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as home, instance_in(Path(home)) as instance:
        yield instance


class KeptStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage, with connections that are kept until it is disposed of."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        DagsterStorage.__init__(self)
        home = Path(base_dir)
        prepare(home)
        self.base_dir, self._inst_data, self._engines = base_dir, inst_data, _Engines()
        self._run_storage = _Runs(_address(home / RUNS))
        self._event_log_storage = _Events(str((home / EVENTS).parent))
        self._schedule_storage = _Schedules(_address(home / SCHEDULES))
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage.engines = self._engines

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptStorage":
        return cls(inst_data=inst_data, **config_value)

    def dispose(self) -> None:
        super().dispose()
        self._engines.dispose()


class _Engines(dict[str, Engine]):
    """Address of a database -> its engine."""

    def __missing__(self, address: str) -> Engine:
        self[address] = create_engine(address, connect_args={"timeout": 30})
        event.listen(self[address], "connect", _without_waiting_for_the_disk)
        return self[address]

    def dispose(self) -> None:
        for engine in self.values():
            engine.dispose()


class _Runs(SqliteRunStorage):
    engines: _Engines

    def connect(self) -> AbstractContextManager[Connection]:
        return self.engines[self._conn_string].begin()


class _Schedules(SqliteScheduleStorage):
    engines: _Engines

    def connect(self) -> AbstractContextManager[Connection]:
        return self.engines[self._conn_string].begin()


class _Events(SqliteEventLogStorage):
    engines: _Engines

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            path = Path(self.path_for_shard(shard))
            if shard not in self._initialized_dbs and not path.exists():
                create_bytes(path, prepared_files()[_A_RUN])
            self._initialized_dbs.add(shard)
            with self.engines[self.conn_string_for_shard(shard)].begin() as connection:
                yield connection


def _without_waiting_for_the_disk(connection: Any, _: Any) -> None:
    connection.execute("pragma synchronous = off")


def _address(path: Path) -> str:
    return f"sqlite:///{path}"
