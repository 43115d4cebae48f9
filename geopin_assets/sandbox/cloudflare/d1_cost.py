"""What a statement costs in rows, as D1 bills it: `rows_written` and `rows_read`.

Here: counting around one statement. Not here: running it (`d1_database.py`).

D1's engine counts in its virtual machine, which the standard library's SQLite does not. Measured on workerd and
repeated here: a row inserted costs 1 and 1 for each index (the primary key of a WITHOUT ROWID table is no index); a
row updated 1 and 1 for each index over a column that the statement sets, whether its value changes or not; a row
deleted 1; a new table 2 and 1 for each index it brings (2 more for the first AUTOINCREMENT); a new index 1 and 1 for
each row; a conflict left alone nothing. Not counted: what triggers and virtual tables write.
`rows_read` is an estimate: the tables that the plan scans, otherwise the rows found.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from geopin_assets.sandbox.cloudflare.d1_sql import Action

_ROW_ACTIONS = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


@dataclass(frozen=True, slots=True)
class _Table:
    """What decides the cost of a row: the columns of each index that is not the table itself."""

    indexes: tuple[frozenset[str | None], ...]
    key: frozenset[str | None]
    """Primary key of a table without rowid, which is part of each of its indexes."""
    counts_up: bool

    def per_update(self, columns: set[str]) -> int:
        if columns & self.key:
            return 1 + len(self.indexes)
        return 1 + sum(bool(index & columns) or None in index for index in self.indexes)


class Cost:
    """Counts for one connection; remembers what tables look like while the schema stays the same."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables: dict[str, _Table] = {}
        self._version = -1

    @property
    def schema_version(self) -> int:
        return self._number("PRAGMA schema_version")

    def size(self, actions: Iterable[Action]) -> int | None:
        """Rows of the table that a statement both inserts into and updates, None if it does not do both."""
        table = _written(actions)
        both = table and {(sqlite3.SQLITE_INSERT, table), (sqlite3.SQLITE_UPDATE, table)} <= {a[:2] for a in actions}
        return self._count(table) if both else None

    def written(self, actions: Iterable[Action], changes: int, inserted: int | None) -> int:
        """Rows written by what changed `changes` rows; `inserted` of them new if it could do either."""
        table = _written(actions)
        if not table or not changes:
            return 0
        known, kinds = self._table(table), {action for action, name, _ in actions if name == table}
        columns = {column for action, name, column in actions if (action, name) == (sqlite3.SQLITE_UPDATE, table)}
        if sqlite3.SQLITE_DELETE in kinds:
            return changes
        new = inserted if inserted is not None else changes * (sqlite3.SQLITE_INSERT in kinds)
        counter = int(known.counts_up and new > 0)
        return new * (1 + len(known.indexes)) + (changes - new) * known.per_update(columns) + counter

    def created(self, actions: Iterable[Action]) -> int:
        """Rows written by a statement that changed the schema."""
        total = 0
        for action, first, second in actions:
            if action == sqlite3.SQLITE_CREATE_TABLE:
                total += 2 + len(self._table(first).indexes)
            elif action == sqlite3.SQLITE_CREATE_INDEX and not first.startswith("sqlite_"):
                total += 1 + self._count(second)
            elif action in (sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_TRIGGER):
                total += 2
        return total

    def read(self, sql: str, parameters: tuple[object, ...], found: int) -> int:
        """About how many rows a statement looks at."""
        try:
            plan = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
        except sqlite3.Error:  # what cannot be explained reads no rows, as PRAGMA
            return 0
        scanned = [text.split()[1] for *_, text in plan if text.startswith("SCAN ")]
        return sum(self._count(table) for table in scanned if self._is_table(table)) or found

    def _table(self, name: str) -> _Table:
        if (version := self.schema_version) != self._version:
            self._tables, self._version = {}, version
        if name not in self._tables:
            self._tables[name] = self._described(name)
        return self._tables[name]

    def _described(self, name: str) -> _Table:
        rows = self._connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,))
        sql = next((text for (text,) in rows), "") or ""
        is_keyed = any(self._connection.execute("SELECT wr FROM pragma_table_list(?)", (name,)).fetchone() or ())
        listed = self._connection.execute("SELECT name, origin FROM pragma_index_list(?)", (name,)).fetchall()
        columns = {index: self._columns(index) for index, origin in listed if not (is_keyed and origin == "pk")}
        key = [self._columns(index) for index, origin in listed if is_keyed and origin == "pk"]
        return _Table(tuple(columns.values()), key[0] if key else frozenset(), "AUTOINCREMENT" in sql.upper())

    def _columns(self, index: str) -> frozenset[str | None]:
        rows = self._connection.execute("SELECT name FROM pragma_index_info(?)", (index,))
        return frozenset(name for (name,) in rows)

    def _is_table(self, name: str) -> bool:
        return bool(self._number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", name))

    def _count(self, table: str) -> int:
        quoted = table.replace('"', '""')
        return self._number(f'SELECT count(*) FROM "{quoted}"')  # noqa: S608

    def _number(self, sql: str, *values: str) -> int:
        return int(self._connection.execute(sql, values).fetchone()[0])


def _written(actions: Iterable[Action]) -> str:
    """The table that a statement writes to; "" for none or only SQLite's own."""
    tables = (name for action, name, _ in actions if action in _ROW_ACTIONS and not name.startswith("sqlite_"))
    return next(tables, "")
