"""D1: its databases and the queries on them, as the HTTP API takes them.

Here: bodies, routes and envelopes. Not here: imports and exports (`d1_transfer.py`), SQL (`d1_database.py`).
"""

import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.d1_database import Database, Outcome, Statement, shown
from geopin_assets_tests.cloudflare.d1_sql import has_parameters, statements
from geopin_assets_tests.cloudflare.limits import Limits
from geopin_assets_tests.cloudflare.routes import Call
from geopin_assets_tests.cloudflare.wire import Answer, Request, accepted

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ONE_PARAMETERS = (
    "When executing multiple SQL statements in a single call, only the last statement can have parameters."
)


class D1:
    """The service; a context manager. `clock` and `stopwatch` give seconds."""

    def __init__(
        self, folder: Path | None, limits: Limits, clock: Callable[[], float], stopwatch: Callable[[], float]
    ) -> None:
        self._limits, self._clock, self._stopwatch = limits, clock, stopwatch
        self._folder = None if folder is None else folder / "d1"
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        names = ":memory:" if self._folder is None else self._folder / "databases.sqlite"
        self._names = sqlite3.connect(names, isolation_level=None, check_same_thread=False)
        self._names.execute("CREATE TABLE IF NOT EXISTS databases (uuid TEXT PRIMARY KEY, name TEXT, created_at REAL)")
        self._open: dict[str, Database] = {}
        self._restores: dict[str, list[float]] = {}
        self._operations: dict[str, Callable[[Call, str], Answer]] = {
            "get_database": lambda call, id_: accepted(self._described(id_)),
            "delete_database": self._delete,
            "query": lambda call, id_: accepted([_objects(outcome) for outcome in self._run(call, id_)]),
            "raw": lambda call, id_: accepted([_arrays(outcome) for outcome in self._run(call, id_)]),
            "bookmark": lambda call, id_: accepted({"bookmark": self.database(id_).bookmark()}),
            "restore": self._restore,
        }

    def __enter__(self) -> "D1":
        return self

    def __exit__(self, *_: object) -> None:
        for database in self._open.values():
            database.close()
        self._names.close()

    def answer(self, call: Call) -> Answer:
        """Perform a call. Raises Refused."""
        if call.operation == "create_database":
            return self._create(call.request)
        if call.operation == "list_databases":
            return self._list(call.request.query)
        return self._operations[call.operation](call, self.known(call.names["database"]))

    def known(self, id_: str) -> str:
        """The id of a database that exists. Raises Refused for any other."""
        if not _UUID.fullmatch(id_):
            raise refusals.INVALID_UUID()
        if not self._names.execute("SELECT 1 FROM databases WHERE uuid = ?", (id_,)).fetchone():
            raise refusals.NO_DATABASE(id_)
        return id_

    def database(self, id_: str) -> Database:
        """An existing database, opened once."""
        if id_ not in self._open:
            path = None if self._folder is None else self._folder / f"{id_}.sqlite"
            self._open[id_] = Database(path, self._limits, self._stopwatch)
        return self._open[id_]

    def _create(self, request: Request) -> Answer:
        name = d1_body(request).get("name")
        if not isinstance(name, str) or not name:
            raise refusals.MALFORMED("Invalid property: name => Required")
        if self._names.execute("SELECT 1 FROM databases WHERE name = ?", (name,)).fetchone():
            raise refusals.DUPLICATE_DATABASE()
        id_ = str(uuid.uuid4())
        self._names.execute("INSERT INTO databases VALUES (?, ?, ?)", (id_, name, self._clock()))
        return accepted(self._described(id_))

    def _list(self, query: Mapping[str, str]) -> Answer:
        page, per_page = _positive(query, "page", 1), _positive(query, "per_page", 1000)
        rows = self._names.execute("SELECT uuid, name FROM databases ORDER BY created_at, uuid").fetchall()
        ids = [id_ for id_, name in rows if query.get("name", "") in name]
        shown_ids = ids[(page - 1) * per_page : page * per_page]
        info = {"page": page, "per_page": per_page, "count": len(shown_ids), "total_count": len(ids)}
        return accepted([self._described(id_) for id_ in shown_ids], result_info=info)

    def _delete(self, call: Call, id_: str) -> Answer:
        self.database(id_).close()
        del self._open[id_]
        self._names.execute("DELETE FROM databases WHERE uuid = ?", (id_,))
        if self._folder is not None:
            for file in self._folder.glob(f"{id_}.sqlite*"):
                file.unlink()
        return accepted(None)

    def _run(self, call: Call, id_: str) -> list[Outcome]:
        return self.database(id_).run(_statements(d1_body(call.request)))

    def _restore(self, call: Call, id_: str) -> Answer:
        now, bookmark = self._clock(), call.request.query.get("bookmark", "")
        recent = [at for at in self._restores.get(id_, []) if at > now - self._limits.restores_s]
        if len(recent) >= self._limits.restores:
            raise refusals.TOO_MANY_RESTORES()
        previous = self.database(id_).restore(bookmark)
        self._restores[id_] = [*recent, now]
        message = f"Database restored to bookmark {bookmark}"
        return accepted({"bookmark": bookmark, "previous_bookmark": previous, "message": message})

    def _described(self, id_: str) -> dict[str, Any]:
        name, created_at = self._names.execute(
            "SELECT name, created_at FROM databases WHERE uuid = ?", (id_,)
        ).fetchone()
        database = self.database(id_)
        return {
            "uuid": id_,
            "name": name,
            "created_at": datetime.fromtimestamp(created_at, UTC).isoformat().replace("+00:00", "Z"),
            "version": "production",
            "num_tables": database.tables,
            "file_size": database.size_bytes,
            "running_in_region": "WEUR",
            "read_replication": {"mode": "disabled"},
        }


def d1_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request to D1. Raises Refused."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise refusals.MALFORMED(f"The request is malformed: {error}") from error
    if not isinstance(body, dict):
        raise refusals.MALFORMED("The request is malformed: expected an object")
    return body


def _positive(query: Mapping[str, str], name: str, default: int) -> int:
    stated = query.get(name, str(default))
    if not stated.isdecimal() or not int(stated):
        raise refusals.MALFORMED(f"Invalid property: {name} => Expected a positive number")
    return int(stated)


def _statements(body: Mapping[str, Any]) -> list[Statement]:
    """The statements of a query: one text, or a batch of them."""
    batch = body.get("batch", [body])
    if not isinstance(batch, list) or not batch or not all(isinstance(part, dict) for part in batch):
        raise refusals.MALFORMED("Invalid property: batch => Expected array of objects")
    return [statement for part in batch for statement in _part(part)]


def _part(part: Mapping[str, Any]) -> list[Statement]:
    sql, params = part.get("sql"), part.get("params") or []
    if not isinstance(sql, str):
        raise refusals.MALFORMED("Invalid property: sql => Required")
    if not isinstance(params, list):
        raise refusals.MALFORMED("Invalid property: params => Expected array")
    if not sql.strip():
        raise refusals.SQL("No SQL statements detected.")
    texts = list(statements(sql))
    if not texts:
        raise refusals.SQL("SQL code did not contain a statement.")
    if params and any(map(has_parameters, texts[:-1])):
        raise refusals.SQL(_ONE_PARAMETERS)
    return [*map(Statement, texts[:-1]), Statement(texts[-1], params)]


def _objects(outcome: Outcome) -> dict[str, Any]:
    rows = [dict(zip(outcome.columns, map(shown, row), strict=True)) for row in outcome.rows]
    return {"success": True, "results": rows, "meta": outcome.meta}


def _arrays(outcome: Outcome) -> dict[str, Any]:
    rows = [list(map(shown, row)) for row in outcome.rows]
    return {"success": True, "results": {"columns": outcome.columns, "rows": rows}, "meta": outcome.meta}
