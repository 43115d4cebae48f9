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
from typing import Any

import dagster as dg
import yaml
from dagster._core.storage.event_log.schema import AssetEventTagsTable as TAGS
from dagster._core.storage.event_log.schema import AssetKeyTable as KEYS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as EVENTS
from sqlalchemy import func, select, text

from geopin_assets.cells import cell_ids
from geopin_assets.defs.automation.cell_events import MADE, PLANNED
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.materialize import DATA_VERSION, CellDone, materialize_cells
from geopin_assets_tests.instances import instance_in

DEPLOY = Path(__file__).parents[1] / "deploy"
_EVENTS = "select dagster_event_type, event, run_id, partition from event_logs where partition is not null"


@cache
def _templates() -> dict[str, str]:
    """Kind of event -> its row as Dagster writes it, with placeholders: from a run over two cells."""

    @cell_asset(["layer", "name"], cells_per_run=2)
    def asset(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "@version@") for cell in cells))

    first, last = cell_ids()[:2]
    with TemporaryDirectory() as folder, instance_in(Path(folder)) as instance:
        dg.materialize([asset], instance=instance, tags={RANGE_START: first, RANGE_END: last})
        with closing(sqlite3.connect(next(Path(folder).rglob("index.db")))) as db:
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


def stored_in(address: str) -> dict[str, Any]:
    """What `deploy/celery/dagster.yaml` says of where history is, for a Postgres at an address."""
    told: dict[str, Any] = yaml.safe_load((DEPLOY / "celery" / "dagster.yaml").read_text())["storage"]
    return {"storage": {"custom": {**told["custom"], "config": {"postgres_url": address}}}}


class SimulatedLog:
    """Writes events of one instance, whichever database it is in.

    `is_lean` leaves payloads out, 2 KB each, but for the last: ids, times and data versions are columns of their own.
    """

    def __init__(self, instance: dg.DagsterInstance, *, is_lean: bool = False) -> None:
        self.instance, self._is_lean, self._runs = instance, is_lean, 0
        instance.get_asset_keys()  # makes the tables

    def forget(self) -> None:
        """Empty the log."""
        with self._opened() as db:
            for table in (EVENTS, TAGS, KEYS):
                db.execute(table.delete())

    def purge(self, before: datetime) -> None:
        """What maintenance leaves of a log in which each cell has a run of its own: the newest that made each cell."""
        newest = select(func.max(EVENTS.c.id)).where(EVENTS.c.dagster_event_type == MADE.value)
        kept = newest.group_by(EVENTS.c.asset_key, EVENTS.c.partition)
        with self._opened() as db:
            if db.dialect.name == "postgresql":  # in 4 MB it would look through all that is kept for each event
                db.execute(text("set work_mem = '2GB'"))
            db.execute(EVENTS.delete().where(EVENTS.c.timestamp < _sql_time(before), EVENTS.c.id.not_in(kept)))
            db.execute(TAGS.delete().where(TAGS.c.event_id.not_in(select(EVENTS.c.id))))

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

    def _opened(self) -> Any:
        return self.instance.event_log_storage.index_connection()  # type: ignore[attr-defined] # of all in databases

    def _write(self, key: dg.AssetKey, kind: str, versions: dict[str, str], when: datetime) -> None:
        if not versions:
            return
        name, at = key.to_string(), _sql_time(when)
        self._runs += 1
        run_id = f"{self._runs:08x}-0000-4000-8000-000000000000"
        event = _templates()[kind].replace("@path@", json.dumps(key.path)).replace("@step@", "__".join(key.path))
        event = event.replace("@run@", run_id).replace("@when@", repr(when.timestamp()))
        payloads = [event.replace("@cell@", cell).replace("@version@", version) for cell, version in versions.items()]
        stored = ["" for _ in payloads[1:]] + payloads[-1:] if self._is_lean else payloads
        same = {"run_id": run_id, "dagster_event_type": kind, "timestamp": at, "step_key": "__".join(key.path)}
        rows = [
            {**same, "asset_key": name, "event": row, "partition": cell}
            for cell, row in zip(versions, stored, strict=True)
        ]
        with self._opened() as db:
            before = db.execute(select(func.max(EVENTS.c.id))).scalar() or 0
            db.execute(EVENTS.insert(), rows)
            if db.execute(select(KEYS.c.id).where(KEYS.c.asset_key == name)).first() is None:
                db.execute(KEYS.insert(), {"asset_key": name})
            if kind == MADE.value:
                self._tag(db, name, range(before + 1, before + 1 + len(rows)), versions, at)
                last_id = before + len(rows)
                told = f'{{"__class__": "EventLogRecord", "event_log_entry": {payloads[-1]}, "storage_id": {last_id}}}'
                last = {"last_materialization": told, "last_run_id": run_id, "last_materialization_timestamp": at}
                db.execute(KEYS.update().where(KEYS.c.asset_key == name).values(last))

    @staticmethod
    def _tag(db: Any, name: str, ids: Iterable[int], versions: dict[str, str], at: datetime) -> None:
        same = {"asset_key": name, "key": DATA_VERSION, "event_timestamp": at}
        db.execute(
            TAGS.insert(),
            [{**same, "event_id": id_, "value": value} for id_, value in zip(ids, versions.values(), strict=True)],
        )


def _sql_time(when: datetime) -> datetime:
    return when.astimezone(UTC).replace(tzinfo=None)
