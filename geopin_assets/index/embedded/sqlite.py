"""The embedded metadata store: D1's SQL, limits and prices on the standard library's SQLite.

Here: the calls. Not here: the SQL (`tables.py`, `migrations/`), which runs on D1 unchanged, or how threads and
processes share the file (`files/sqlite.py`).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from geopin_assets.errors import PermanentError
from geopin_assets.files.sqlite import BUSY_TIMEOUT_S, opened, writing
from geopin_assets.index.limits import check_statement
from geopin_assets.index.protocol import WriteResult
from geopin_assets.index.tables import (
    CREATE_MIGRATIONS,
    id_chunks,
    migrations,
    query_frame,
    row_chunks,
    statements,
    table_named,
    text_params,
)

_COUNTED = ("captures", "vectors")
"""Tables of which a count would read every row, 450 and 150 bytes each: here it is kept as they are written."""


class SqliteStore:
    """A MetadataStore in one SQLite file, created by the first call."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s

    @property
    def name(self) -> str:
        return self._path.stem

    @property
    def store_key(self) -> str:
        return f"sqlite:{self.name}"

    def exists(self) -> bool:
        return self._path.exists()

    def migrate(self) -> None:
        with self._transaction() as connection:
            connection.execute(CREATE_MIGRATIONS)
            applied = {name for (name,) in connection.execute("SELECT name FROM d1_migrations")}
            for name, script in migrations():
                if name not in applied:
                    for statement in statements(script):
                        check_statement(statement, ())
                        connection.execute(statement)
                    connection.execute("INSERT INTO d1_migrations (name) VALUES (?1)", (name,))
            for statement in _counting():
                connection.execute(statement)

    def bookmark(self) -> str:
        """There is none: copy the file."""
        return ""

    def upsert(self, table: str, rows: pl.DataFrame) -> WriteResult:
        known = table_named(table)
        return self._write(known.upsert_sql, row_chunks(known, rows))

    def delete(self, table: str, ids: Sequence[str]) -> WriteResult:
        return self._write(table_named(table).delete_sql, id_chunks(list(ids)))

    def count(self, table: str) -> int:
        """As it is kept; counted in a file of before, until it is migrated."""
        name = table_named(table).name
        kept = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'row_counts'"
        if name in _COUNTED and self.query(kept).height:
            return self.query(f"SELECT rows FROM row_counts WHERE name = '{name}'").item()  # noqa: S608
        return self.query(f"SELECT count(*) FROM {name}").item()  # noqa: S608

    def purge(self) -> None:
        """Deleting overwrites (`secure_delete`); what is left is the log of the writes before."""
        with self._connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def query(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        check_statement(sql, params)
        with self._connection() as connection:
            connection.execute("PRAGMA query_only = ON")
            cursor = connection.execute(sql, text_params(params))
            return query_frame([column[0] for column in cursor.description or ()], cursor.fetchall())

    def _write(self, sql: str, parameters: Iterable[str]) -> WriteResult:
        """One transaction per parameter, as over D1's HTTP API: what was written stays when a later one fails."""
        total = WriteResult()
        for parameter in parameters:
            check_statement(sql, (parameter,))
            with self._transaction() as connection:
                changes = connection.execute(sql, (parameter,)).rowcount
            total += WriteResult(changes, changes, 1)  # no rowid, no secondary index: one row billed per change
        return total

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection, writing(connection):
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with opened(self._path, busy_timeout_s=self._busy_timeout_s) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
        except sqlite3.OperationalError as error:
            raise PermanentError(f"7500: {error}: SQLITE_ERROR") from error
        except sqlite3.Error as error:
            raise PermanentError(f"7500: {error}") from error


def _counting() -> Iterator[str]:
    """What keeps the counts, whoever writes; not in `migrations/`, as D1 would bill every row of them."""
    counted = (f"SELECT '{name}' AS name, count(*) AS rows FROM {name}" for name in _COUNTED)  # noqa: S608
    yield f"CREATE TABLE IF NOT EXISTS row_counts AS {' UNION ALL '.join(counted)}"
    for name in _COUNTED:
        for event, change in (("INSERT", "+ 1"), ("DELETE", "- 1")):
            update = f"UPDATE row_counts SET rows = rows {change} WHERE name = '{name}'"  # noqa: S608
            yield f"CREATE TRIGGER IF NOT EXISTS {name}_{event.lower()} AFTER {event} ON {name} BEGIN {update}; END"
