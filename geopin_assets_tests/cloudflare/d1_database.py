"""One database of D1: SQLite with D1's limits, wording and bookkeeping.

Here: running statements in one transaction, values as JSON carries them, snapshots. Not here: HTTP (`d1.py`),
permissions and prices (`d1_sql.py`).
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.d1_sql import Cost, Guard
from geopin_assets_tests.cloudflare.limits import Limits
from geopin_assets_tests.cloudflare.wire import Refused

MOST_SNAPSHOTS = 5  # whole copies in memory
_PROGRESS_STEPS = 100_000  # virtual machine instructions between two looks at the stopwatch
_PRIMARY = 0xFF  # an extended result code carries its primary code in the lowest byte
_EXACT = 2**53  # D1's numbers are doubles outside SQLite
_PRIMARY_NAMES = {
    getattr(sqlite3, name): name
    for name in ("SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_AUTH", "SQLITE_FULL")
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and the values bound to ?1, ?2, …"""

    sql: str
    params: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave: columns, rows and D1's `meta`."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    meta: Mapping[str, Any]


class Database:
    """One database, in a file or in memory. `stopwatch` gives seconds."""

    def __init__(self, path: Path | None, limits: Limits, stopwatch: Callable[[], float]) -> None:
        self._limits, self._stopwatch = limits, stopwatch
        self._connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        page_bytes = self._number("PRAGMA page_size")
        self._connection.execute(f"PRAGMA max_page_count = {max(1, limits.database_bytes // page_bytes)}")
        self._guard = Guard(self._connection, limits)
        self._cost = Cost(self._connection)
        self._snapshots: dict[str, bytes] = {}
        self._writes, self._salt = 0, secrets.token_bytes(8)

    def close(self) -> None:
        self._connection.close()

    @property
    def size_bytes(self) -> int:
        return self._number("PRAGMA page_count") * self._number("PRAGMA page_size")

    @property
    def tables(self) -> int:
        return self._number("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")

    def run(self, statements: Sequence[Statement], *, is_import: bool = False) -> list[Outcome]:
        """Run statements in one transaction: all of them, or none; an import has more time. Raises Refused."""
        with self._transaction(float("inf") if is_import else self._limits.query_s):
            return [self._one(statement) for statement in statements]

    @property
    def now(self) -> str:
        """A name for the state as it is; `restore` takes it only if `bookmark` gave it out."""
        digest = blake2b(self._salt + str(self._writes).encode(), digest_size=16).hexdigest()
        return f"{self._writes:08x}-{0:08x}-{0:08x}-{digest}"

    def bookmark(self) -> str:
        """Keep the state as it is; its name."""
        if self.now not in self._snapshots:
            self._keep(self.now, self._connection.serialize() if self.size_bytes else b"")
        return self.now

    def restore(self, bookmark: str) -> str:
        """Go to the state of a bookmark; the bookmark of the state that was. Raises Refused if it is not kept."""
        if bookmark not in self._snapshots:
            raise refusals.NO_BOOKMARK(bookmark)
        state, previous = self._snapshots.pop(bookmark), self.bookmark()
        with closing(sqlite3.connect(":memory:")) as then:
            if state:
                then.deserialize(state)
            then.backup(self._connection)
        self._keep(bookmark, state)
        self._writes += 1
        return previous

    def _keep(self, bookmark: str, state: bytes) -> None:
        self._snapshots[bookmark] = state
        for oldest in list(self._snapshots)[:-MOST_SNAPSHOTS]:
            del self._snapshots[oldest]

    def dump(self, *, with_schema: bool = True, with_data: bool = True) -> Iterator[str]:
        """The database as SQL."""
        for line in self._connection.iterdump():
            is_data = line.startswith("INSERT")
            if line not in ("BEGIN TRANSACTION;", "COMMIT;") and (with_data if is_data else with_schema):
                yield line

    @contextmanager
    def _transaction(self, most_s: float) -> Iterator[None]:
        late_at = self._stopwatch() + most_s
        self._connection.set_progress_handler(lambda: self._stopwatch() > late_at, _PROGRESS_STEPS)
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._connection.rollback()
            raise self._worded(error) from error
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            self._connection.set_progress_handler(None, 0)

    def _one(self, statement: Statement) -> Outcome:
        if len(statement.sql.encode()) > self._limits.statement_bytes:
            raise refusals.SQL("statement too long: SQLITE_TOOBIG")
        started, parameters = self._stopwatch(), tuple(map(_bound, statement.params))
        held = self._upsertable(statement.sql, parameters)
        before, version = self._connection.total_changes, self._cost.schema_version
        columns, rows = self._executed(statement.sql, parameters)
        changes, actions = self._connection.total_changes - before, self._guard.actions
        is_schema = self._cost.schema_version != version
        inserted = None if held is None else (self._cost.size(actions) or 0) - held
        written = self._cost.created(actions) if is_schema else self._cost.written(actions, changes, inserted)
        read = self._cost.read(statement.sql, parameters, max(len(rows), changes))
        is_changed = bool(changes) or is_schema
        self._writes += is_changed
        duration_ms = (self._stopwatch() - started) * 1000
        return Outcome(columns, rows, self._meta(changes, written, read, duration_ms, is_changed=is_changed))

    def _executed(self, sql: str, parameters: tuple[Any, ...]) -> tuple[list[str], list[tuple[Any, ...]]]:
        try:
            with self._guard.watching():
                cursor = self._connection.execute(sql, parameters)
                return [name for name, *_ in cursor.description or ()], cursor.fetchall()
        except sqlite3.Error as error:
            raise self._worded(error) from error

    def _upsertable(self, sql: str, parameters: tuple[Any, ...]) -> int | None:
        """Rows of the table that an upsert goes into: only their number tells how many it inserts."""
        if "ON CONFLICT" not in sql.upper() or sql.upper().startswith("EXPLAIN"):
            return None
        self._executed(f"EXPLAIN {sql}", parameters)
        return self._cost.size(self._guard.actions)

    def _meta(self, changes: int, written: int, read: int, duration_ms: float, *, is_changed: bool) -> dict[str, Any]:
        return {
            "served_by": "v3-sandbox",
            "served_by_region": "WEUR",
            "served_by_colo": "AMS",
            "served_by_primary": True,
            "timings": {"sql_duration_ms": round(duration_ms, 4)},
            "duration": round(duration_ms, 4),
            "changes": changes,
            "last_row_id": self._number("SELECT last_insert_rowid()"),
            "changed_db": is_changed,
            "size_after": self.size_bytes,
            "rows_read": read,
            "rows_written": written,
        }

    def _worded(self, error: sqlite3.Error) -> Refused:
        code, text = getattr(error, "sqlite_errorcode", None), str(error)
        if code is None:  # the library's own: it was never asked to run
            return refusals.SQL("Wrong number of parameter bindings for SQL query.")
        if code == sqlite3.SQLITE_INTERRUPT:
            return refusals.TIMEOUT()
        if code == sqlite3.SQLITE_FULL:
            return refusals.DATABASE_FULL()
        if self._guard.denied:
            return refusals.SQL(self._guard.denied)
        name, primary = error.sqlite_errorname, _PRIMARY_NAMES.get(code & _PRIMARY, error.sqlite_errorname)
        return refusals.SQL(f"{text}: {primary}" + (f" (extended: {name})" if name != primary else ""))

    def _number(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchone()[0])


def shown(value: Any) -> Any:
    """A value as D1's JSON carries it: numbers are doubles, whole ones without a fraction; a BLOB is a list."""
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        return int(float(value))
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    return value


def _bound(value: Any) -> Any:
    """A JSON value as D1 binds it: every number is a REAL, a list of bytes a BLOB. Raises Refused for others."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value)
    raise refusals.SQL(f"D1_TYPE_ERROR: Type 'object' not supported for value '{value!r}'")
