"""An instance whose event log is written by SQL, at times of our choosing.

Through Dagster's own calls an event costs 15 ms: a quarter of ten sources would take a day. The rows are copies of
those that a real run left.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from geopin_assets.cells import cell_ids
from geopin_assets.defs.automation.cell_events import MADE, PLANNED
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.materialize import CellDone, materialize_cells
from geopin_assets_tests.instances import instance_in

_EVENTS = "select dagster_event_type, event, run_id, partition from event_logs where partition is not null"
_INSERT = (
    "insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)"
    " values (?, ?, ?, ?, ?, ?, ?)"
)
_TAG = "insert into asset_event_tags (event_id, asset_key, key, value, event_timestamp) values (?, ?, ?, ?, ?)"
_NEW_ASSET = "insert or ignore into asset_keys (asset_key) values (?)"
_LAST = (
    "update asset_keys set last_materialization = ?, last_run_id = ?, last_materialization_timestamp = ?"
    " where asset_key = ?"
)


@cache
def _templates() -> dict[str, str]:
    """Kind of event -> its row as Dagster writes it, with placeholders: from a run over two cells."""

    @cell_asset(["layer", "name"], cells_per_run=2)
    def asset(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "@version@") for cell in cells))

    first, last = cell_ids()[:2]
    with TemporaryDirectory() as folder, instance_in(Path(folder)) as instance:
        dg.materialize([asset], instance=instance, tags={RANGE_START: first, RANGE_END: last})
        with closing(sqlite3.connect(_index(Path(folder)))) as db:
            return {kind: _template(event, run_id, cell) for kind, event, run_id, cell in db.execute(_EVENTS)}


def _template(event: str, run_id: str, cell: str) -> str:
    values = {
        run_id: "@run@",
        cell: "@cell@",
        repr(json.loads(event)["timestamp"]): "@when@",
        '["layer", "name"]': "@path@",
        "layer__name": "@step@",
    }
    for value, placeholder in values.items():
        event = event.replace(value, placeholder)
    assert all(placeholder in event for placeholder in ("@run@", "@cell@", "@when@", "@path@"))
    return event


def _index(folder: Path) -> Path:
    """The file in which Dagster looks for events of assets."""
    return next(folder.rglob("index.db"))


class SimulatedLog:
    """Writes events of one instance, which lives in a folder.

    `is_lean` leaves payloads out, 2 KB each, but for the last: ids, times and data versions are columns of their own.
    """

    def __init__(self, instance: dg.DagsterInstance, folder: Path, *, is_lean: bool = False) -> None:
        self.instance, self._is_lean, self._runs = instance, is_lean, 0
        instance.get_asset_keys()  # makes the file
        self._file = _index(folder)

    def forget(self) -> None:
        """Empty the log."""
        with closing(sqlite3.connect(self._file)) as db, db:
            for table in ("event_logs", "asset_event_tags", "asset_keys"):
                db.execute(f"delete from {table}")  # noqa: S608

    def plan(self, key: dg.AssetKey, cells: Iterable[str], when: datetime) -> None:
        """A run over these cells was created."""
        self._write(key, PLANNED.value, dict.fromkeys(cells, ""), when)

    def make(self, key: dg.AssetKey, cells: Iterable[str] | dict[str, str], when: datetime) -> None:
        """These cells were stored; with a dict, with these data versions."""
        self._write(key, MADE.value, cells if isinstance(cells, dict) else dict.fromkeys(cells, "same"), when)

    def run(self, key: dg.AssetKey, cells: Iterable[str] | dict[str, str], when: datetime) -> None:
        """A run over these cells was created and made them all."""
        self.plan(key, cells, when)
        self.make(key, cells, when)

    def _write(self, key: dg.AssetKey, kind: str, versions: dict[str, str], when: datetime) -> None:
        if not versions:
            return
        name, step, at = key.to_string(), "__".join(key.path), _sql_time(when)
        self._runs += 1
        run_id = f"{self._runs:08x}-0000-4000-8000-000000000000"
        event = _templates()[kind].replace("@path@", json.dumps(key.path)).replace("@step@", step)
        event = event.replace("@run@", run_id).replace("@when@", repr(when.timestamp()))
        payloads = [event.replace("@cell@", cell).replace("@version@", version) for cell, version in versions.items()]
        stored = ["" for _ in payloads[1:]] + payloads[-1:] if self._is_lean else payloads
        rows = [(run_id, row, kind, at, step, name, cell) for cell, row in zip(versions, stored, strict=True)]
        with closing(sqlite3.connect(self._file)) as db, db:
            (before,) = db.execute("select coalesce(max(id), 0) from event_logs").fetchone()
            db.executemany(_INSERT, rows)
            db.execute(_NEW_ASSET, [name])
            if kind == MADE.value:
                ids = range(before + 1, before + 1 + len(rows))
                tags = zip(ids, versions.values(), strict=True)
                db.executemany(_TAG, ((id_, name, "dagster/data_version", version, at) for id_, version in tags))
                record = (
                    f'{{"__class__": "EventLogRecord", "event_log_entry": {payloads[-1]}, "storage_id": {ids[-1]}}}'
                )
                db.execute(_LAST, [record, run_id, at, name])


def _sql_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
