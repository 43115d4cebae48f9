"""Cloudflare D1 as a MetadataStore.

Here: the database, its calls, halving what is too large for one, and the first load of a table by files of SQL. Not
here: the SQL (`tables.py`, `migrations/`), which the embedded store runs too; the wire (`api.py`).

Statements go one at a time: a D1 database has one thread, and asking it twice at once only makes
it answer "overloaded". Every write can be repeated, because what is stored already is not written.

An import is init (the service names an address), PUT, ingest, and poll until it says "complete". When the
service knows the file already, init has started the import. `complete` is the only success: "Not
currently importing anything" is said of one that was cut off as well. A failed import leaves the
database as it was, and a file can be imported twice: its statements write only rows that differ.

A file is some tens of MB in statements as long as allowed: imports of 300,000 small statements failed for memory
(workers-sdk#7554), and what the service counts are statements.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from threading import Lock
from typing import Any

import orjson
import polars as pl
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.index import tables
from geopin_assets.index.batching import ahead, filled
from geopin_assets.index.cloudflare.api import CloudflareApi, Requests, RequestTooLarge, classify, field, unless
from geopin_assets.index.limits import IMPORT_FILE_BYTES, IMPORT_STATEMENT_BYTES, check_statement
from geopin_assets.index.protocol import Wait, WriteResult
from geopin_assets.index.tables import Table, hashed_rows

ATTEMPTS = 4
_log = logging.getLogger(__name__)


def import_statements(table: Table, rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows (`tables.hashed_rows`) in the upserts of `tables.py`, of at most IMPORT_STATEMENT_BYTES.

    The JSON is in the statement where a request has a parameter: as SQL literals, 16 of 200,000 headings came back
    with another last bit (SQLite 3.40).
    """
    before, after = table.upsert_sql.encode().split(b"?1")
    head, tail = before + b"'[", b"]'" + after + b";"
    room = IMPORT_STATEMENT_BYTES - len(head) - len(tail)
    for together in filled((row.replace(b"'", b"''") for row in rows), room):
        if len(together[0]) > room:
            raise PermanentError(f"{table.name}: a row too long for a statement: {together[0][:80]!r}")
        yield head + b",".join(together) + tail


def import_files(table: Table, frames: Iterable[pl.DataFrame]) -> Iterator[list[bytes]]:
    """Statements for the rows of all frames, file by file; of the frames only one is held at a time."""
    rows = (row for frame in frames for row in hashed_rows(table, frame))
    return filled(import_statements(table, rows), IMPORT_FILE_BYTES)


class Importer:
    """Imports files into the database at `path` below the account; `tally` counts the requests."""

    def __init__(self, api: CloudflareApi, path: str, wait: Wait, tally: Requests) -> None:
        self._api, self._path, self._wait, self._tally = api, path, wait, tally
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=5, max=60) + wait_random(0, 5),
            sleep=wait.sleep,
            reraise=True,
        )

    def run(self, statements: Sequence[bytes]) -> WriteResult:
        """Import a file, in halves if it is too large; `requests` is left to the tally."""
        _log.warning("%s answers no queries while %d statements are imported", self._path, len(statements))
        try:
            meta = field(self._retrying(self._import, b"\n".join(statements)), "meta")
        except RequestTooLarge:
            if len(statements) == 1:
                raise
            half = len(statements) // 2
            return self.run(statements[:half]) + self.run(statements[half:])
        return WriteResult(meta.get("changes", 0), meta.get("rows_written", 0))

    def _import(self, file: bytes) -> Any:
        """One try, from the beginning: a file that arrived before is not sent again."""
        etag = hashlib.md5(file, usedforsecurity=False).hexdigest()
        state = self._post(action="init", etag=etag)
        if "upload_url" in state:
            if (arrived := self._api.upload(state["upload_url"], file)) != etag:
                raise TransientError(f"{self._path}: the upload arrived as {arrived}, not {etag}")
            state = self._post(action="ingest", filename=field(state, "filename"), etag=etag)
        return self._result(state)

    def _result(self, state: Any) -> Any:
        ends_at = self._wait.clock() + timedelta(seconds=self._wait.timeout_s)
        while state.get("status") != "complete":
            if self._wait.clock() >= ends_at:
                raise TransientError(f"{self._path}: import not complete after {self._wait.timeout_s:.0f} s")
            self._wait.sleep(self._wait.poll_s)
            state = self._post(action="poll", current_bookmark=field(state, "at_bookmark"))
        return field(state, "result")

    def _post(self, **body: str) -> Any:
        """The state of the import. Raises what it says went wrong."""
        state = self._api.call("POST", f"{self._path}/import", body=body, tally=self._tally)
        if state.get("success") is False or state.get("status") == "error":
            said = state.get("error") or "; ".join(map(str, state.get("errors") or ["no reason given"]))
            raise classify(f"{self._path}: import failed: {said}")
        return state


_DATABASES = "d1/database"
_PER_PAGE = 100
_LOCATION = "weur"  # near those who crawl and search
_IMPORT_WAIT = Wait(timeout_s=1_800.0)


class D1Store:
    """A MetadataStore at Cloudflare; `migrate` creates the database `name` if there is none.

    Upserts of at least `import_from_rows` rows go by file as in `load`; None: none do. `wait` is for imports.
    """

    def __init__(
        self,
        api: CloudflareApi,
        name: str,
        *,
        import_from_rows: int | None = None,
        wait: Wait = _IMPORT_WAIT,
    ) -> None:
        self._api, self.name = api, name
        self._import_from_rows, self._wait = import_from_rows, wait
        self._database_id: str | None = None
        self._is_migrated = False
        self._turn = Lock()

    @property
    def store_key(self) -> str:
        return f"d1:{self._api.account_key}:{self.name}"

    def exists(self) -> bool:
        return self._known_id() is not None

    def migrate(self) -> None:
        if self._is_migrated:
            return
        if self._known_id() is None:
            self._create()
        applied = self._applied()
        for name, script in tables.migrations():
            if name not in applied:
                self._apply(name, script)
        self._is_migrated = True

    def upsert(self, table: str, rows: pl.DataFrame) -> WriteResult:
        if self._import_from_rows is not None and rows.height >= self._import_from_rows:
            return self.load(table, [rows])
        known = tables.table_named(table)
        return self._write(known.upsert_sql, tables.row_chunks(known, rows))

    def delete(self, table: str, ids: Sequence[str]) -> WriteResult:
        return self._write(tables.table_named(table).delete_sql, tables.id_chunks(list(ids)))

    def count(self, table: str) -> int:
        return self.query(f"SELECT count(*) FROM {tables.table_named(table).name}").item()  # noqa: S608

    def query(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """Run one reading statement. Whole numbers come back exact up to 2**53, as JavaScript has them."""
        (result,) = self._run([_statement(sql, tables.text_params(params))])
        found = field(result, "results")
        return tables.query_frame(field(found, "columns"), field(found, "rows"))

    def load(self, table: str, frames: Iterable[pl.DataFrame]) -> WriteResult:
        """Upsert many rows by files of SQL, for the first load; frames are taken one by one as files fill up.

        The database answers nobody, searches included, while it imports a file. Repeat after a failure:
        rows that are there already are not written, nor billed.
        """
        known, tally = tables.table_named(table), Requests()
        importer = Importer(self._api, self._path(), self._wait, tally)
        with self._turn, ahead(import_files(known, frames)) as files:
            total = sum(map(importer.run, files), WriteResult())
        return total + WriteResult(requests=tally.requests)

    def purge(self) -> None:
        """Nothing to do: time travel forgets after 30 days, and nobody but the account's owner can go back."""

    def bookmark(self) -> str:
        """The state of the database now, to which Cloudflare's time travel can restore it for 30 days."""
        return field(self._api.call("GET", f"{self._path()}/time_travel/bookmark"), "bookmark")

    def _write(self, sql: str, parameters: Iterator[str]) -> WriteResult:
        tally = Requests()
        with ahead(parameters) as prepared:
            total = sum((self._write_halving(sql, parameter, tally) for parameter in prepared), WriteResult())
        return total + WriteResult(requests=tally.requests)

    def _write_halving(self, sql: str, parameter: str, tally: Requests) -> WriteResult:
        """One JSON array in one request, or its halves if that is too large."""
        try:
            (result,) = self._run([_statement(sql, [parameter])], tally)
        except RequestTooLarge:
            items = orjson.loads(parameter)
            if len(items) == 1:
                raise
            halves = (items[: len(items) // 2], items[len(items) // 2 :])
            return sum((self._write_halving(sql, orjson.dumps(half).decode(), tally) for half in halves), WriteResult())
        meta = field(result, "meta")
        return WriteResult(field(meta, "changes"), field(meta, "rows_written"))

    def _applied(self) -> list[str]:
        """Names of the migrations that the database has seen."""
        _, listed = self._run([_statement(tables.CREATE_MIGRATIONS), _statement("SELECT name FROM d1_migrations")])
        return [name for (name,) in field(field(listed, "results"), "rows")]

    def _apply(self, name: str, script: str) -> None:
        """One migration and the record of it, which D1 does together or not at all."""
        record = _statement("INSERT INTO d1_migrations (name) VALUES (?1)", [name])
        with unless(lambda: name in self._applied()):
            self._run([*map(_statement, tables.statements(script)), record])

    def _run(self, statements: Sequence[Mapping[str, Any]], tally: Requests | None = None) -> list[Any]:
        """The results of one request, one for each statement."""
        for statement in statements:
            check_statement(statement["sql"], statement.get("params", ()))
        body = statements[0] if len(statements) == 1 else {"batch": statements}
        with self._turn:
            results = self._api.call("POST", f"{self._path()}/raw", body=body, tally=tally)
        if not isinstance(results, list) or len(results) != len(statements):
            raise PayloadError(f"{self.name}: not {len(statements)} results of as many statements")
        return results

    def _path(self) -> str:
        """Where the database is. Raises PermanentError while there is none."""
        if (found := self._known_id()) is None:
            raise PermanentError(f"there is no database {self.name} yet: publish a region first")
        return f"{_DATABASES}/{found}"

    def _known_id(self) -> str | None:
        self._database_id = self._database_id or self._find()
        return self._database_id

    def _find(self) -> str | None:
        """The id of the database of this name, or None."""
        return databases_of(self._api, self.name).get(self.name)

    def _create(self) -> None:
        body = {"name": self.name, "primary_location_hint": _LOCATION}
        with unless(lambda: self._known_id() is not None):
            self._database_id = field(self._api.call("POST", _DATABASES, body=body), "uuid")


def databases_of(api: CloudflareApi, name: str) -> dict[str, str]:
    """Name and id of the account's databases whose names contain `name`, which is all that the service can look for."""
    known: dict[str, str] = {}
    while True:
        params = {"name": name, "page": len(known) // _PER_PAGE + 1, "per_page": _PER_PAGE}
        found = api.call("GET", _DATABASES, params=params)
        known |= {field(database, "name"): field(database, "uuid") for database in found}
        if len(found) < _PER_PAGE:
            return known


def _statement(sql: str, params: Sequence[str | None] = ()) -> dict[str, Any]:
    return {"sql": sql, "params": list(params)} if params else {"sql": sql}
