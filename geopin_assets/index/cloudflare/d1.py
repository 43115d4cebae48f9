"""Cloudflare D1 as a MetadataStore.

Here: the database, its calls, and halving what is too large for one. Not here: the SQL (`tables.py`,
`migrations/`), which the embedded store runs too; the wire (`api.py`); import files (`d1_import.py`).

Statements go one at a time: a D1 database has one thread, and asking it twice at once only makes
it answer "overloaded". Every write can be repeated, because what is stored already is not written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import orjson
import polars as pl

from geopin_assets.errors import PayloadError, PermanentError
from geopin_assets.index import tables
from geopin_assets.index.cloudflare.answers import RequestTooLarge, field, unless
from geopin_assets.index.cloudflare.api import CloudflareApi
from geopin_assets.index.cloudflare.d1_import import Importer, import_files
from geopin_assets.index.limits import check_statement
from geopin_assets.index.protocol import WriteResult
from geopin_assets.index.streams import ahead
from geopin_assets.index.targets import Tally
from geopin_assets.index.waiting import Wait

_DATABASES = "d1/database"
_PER_PAGE = 100
_IMPORT_WAIT = Wait(timeout_s=1_800.0)


class D1Store:
    """A MetadataStore at Cloudflare; `migrate` creates the database `name`, near `location`, if there is none.

    Upserts of at least `import_from_rows` rows go by file as in `load`; None: none do. `wait` is for imports.
    """

    def __init__(
        self,
        api: CloudflareApi,
        name: str,
        *,
        location: str = "weur",
        import_from_rows: int | None = None,
        wait: Wait = _IMPORT_WAIT,
    ) -> None:
        self._api, self.name, self._location = api, name, location
        self._import_from_rows, self._wait = import_from_rows, wait
        self._database_id: str | None = None
        self._is_migrated = False
        self._turn = Lock()

    @property
    def store_key(self) -> str:
        return f"d1:{self._api.account_key}:{self.name}"

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
        known, tally = tables.table_named(table), Tally()
        importer = Importer(self._api, self._path(), self._wait, tally)
        with self._turn:
            total = sum((importer.run(file) for file in ahead(import_files(known, frames))), WriteResult())
        return total + WriteResult(requests=tally.requests)

    def bookmark(self) -> str:
        """The state of the database now, to which Cloudflare's time travel can restore it for 30 days."""
        return field(self._api.call("GET", f"{self._path()}/time_travel/bookmark"), "bookmark")

    def _write(self, sql: str, parameters: Iterator[str]) -> WriteResult:
        tally = Tally()
        total = sum((self._write_halving(sql, parameter, tally) for parameter in ahead(parameters)), WriteResult())
        return total + WriteResult(requests=tally.requests)

    def _write_halving(self, sql: str, parameter: str, tally: Tally) -> WriteResult:
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

    def _run(self, statements: Sequence[Mapping[str, Any]], tally: Tally | None = None) -> list[Any]:
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
        """The id of the database of this name, or None. The service matches parts of names too."""
        page = 1
        while True:
            params = {"name": self.name, "page": page, "per_page": _PER_PAGE}
            found = self._api.call("GET", _DATABASES, params=params)
            if named := [database for database in found if field(database, "name") == self.name]:
                return field(named[0], "uuid")
            if len(found) < _PER_PAGE:
                return None
            page += 1

    def _create(self) -> None:
        body = {"name": self.name, "primary_location_hint": self._location}
        with unless(lambda: self._known_id() is not None):
            self._database_id = field(self._api.call("POST", _DATABASES, body=body), "uuid")


def _statement(sql: str, params: Sequence[str | None] = ()) -> dict[str, Any]:
    return {"sql": sql, "params": list(params)} if params else {"sql": sql}
