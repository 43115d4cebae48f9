"""SQL as D1 takes it: split into statements, and only what D1 authorizes.

Here: text and permissions. Not here: running it (`d1_database.py`), what it costs (`d1_cost.py`).
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from geopin_assets.sandbox.cloudflare.limits import Limits

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
