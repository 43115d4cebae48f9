"""SQL as D1 takes it: split into statements, only what D1 authorizes, and what a statement costs in rows.

Here: text, permissions, and counting around one statement. Not here: running it (`d1_database.py`).

D1's engine counts in its virtual machine, which the standard library's SQLite does not. Measured on workerd and
repeated here: a row inserted costs 1 and 1 for each index (the primary key of a WITHOUT ROWID table is no index); a
row updated 1 and 1 for each index over a column that the statement sets, whether its value changes or not; a row
deleted 1; a new table 2 and 1 for each index it brings (2 more for the first AUTOINCREMENT); a new index 1 and 1 for
each row; a conflict left alone nothing. Not counted: what triggers and virtual tables write.
`rows_read` is an estimate: the tables that the plan scans, otherwise the rows found.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from geopin_assets_tests.cloudflare.limits import Limits

NO_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs "
    "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will "
    "automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic "
    "atomic write coalescing."
)
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|;""", re.DOTALL)
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/|[\s;]", re.DOTALL)
_PRAGMAS = {
    *("table_info", "table_xinfo", "table_list", "index_info", "index_xinfo", "index_list", "function_list"),
    *("foreign_keys", "foreign_key_list", "foreign_key_check", "defer_foreign_keys", "ignore_check_constraints"),
    *("case_sensitive_like", "recursive_triggers", "reverse_unordered_selects", "legacy_alter_table"),
    *("optimize", "quick_check", "data_version"),
}
_FUNCTIONS = {"sqlite_version", "sqlite_source_id", "load_extension", "sqlite_compileoption_get"}
_DENIED = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    *(sqlite3.SQLITE_CREATE_TEMP_INDEX, sqlite3.SQLITE_CREATE_TEMP_TABLE),
    *(sqlite3.SQLITE_CREATE_TEMP_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_VIEW),
}
_TRANSACTION = {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}
_SQLITE_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: "value_bytes",
    sqlite3.SQLITE_LIMIT_COLUMN: "columns",
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: "expression_depth",
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: "compound_terms",
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: "function_arguments",
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: "pattern_bytes",
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: "parameters",
}

Action = tuple[int, str, str]
"""What a statement asks leave for: SQLite's code and its first two arguments."""
_ROW_ACTIONS = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


def statements(sql: str) -> Iterator[str]:
    """The statements of a text, without those that are only comments."""
    start = 0
    for token in _TOKEN.finditer(sql):
        statement = sql[start : token.end()]
        if token[0] == ";" and sqlite3.complete_statement(statement):  # not inside CREATE TRIGGER … BEGIN …; END
            start = token.end()
            if not is_blank(statement):
                yield statement.lstrip()
    if not is_blank(sql[start:]):
        yield sql[start:].lstrip()


def is_blank(sql: str) -> bool:
    """Whether there is nothing to run."""
    return not _COMMENTS.sub("", sql)


def has_parameters(sql: str) -> bool:
    """Whether a statement has something to bind."""
    return "?" in _TOKEN.sub("", sql)


class Guard:
    """Sets a connection's limits, and lets only through what D1 does, noting what each statement does."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        for category, name in _SQLITE_LIMITS.items():
            connection.setlimit(category, getattr(limits, name))
        self.actions: list[Action] = []
        self.denied = ""
        self._is_watching = False
        connection.set_authorizer(self._authorize)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a user's statement; `actions` and `denied` (why, if not the usual reason) are about it."""
        self.actions, self.denied, self._is_watching = [], "", True
        try:
            yield
        finally:
            self._is_watching = False

    def _authorize(self, action: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
        if not self._is_watching:
            return sqlite3.SQLITE_OK
        if action in _TRANSACTION:
            self.denied = NO_TRANSACTIONS
            return sqlite3.SQLITE_DENY
        if action in _DENIED or (action == sqlite3.SQLITE_PRAGMA and first not in _PRAGMAS):
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS:
            return sqlite3.SQLITE_DENY
        self.actions.append((action, first or "", second or ""))
        return sqlite3.SQLITE_OK


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
