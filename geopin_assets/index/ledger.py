"""The ledger: our own record of what is published, in one SQLite file.

Here: which id each store holds with which content, and which cells want it there. Not here: the
stores, or the decision what to write (`publish.py`). We keep it ourselves because the service
cannot tell: Vectorize's count lags and it lists ids only.

Two facts are kept apart. `published`: this store holds this id with this content hash; a null hash
means a write was begun and its outcome is unknown. `claims`: this cell wants the id to be there.
An id leaves the store when no cell claims it any more, so when a capture moves between cells the
end is right in whatever order the two are published. The store always holds the union of what
each cell last published.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from geopin_assets.files.lease import LEASES, Leases
from geopin_assets.files.sqlite import opened, transaction

ROWS_PER_STATEMENT = 50_000
"""Rows that travel as one JSON parameter, which takes a fifth less time than row by row, or in one fetch."""
_SCHEMA = """
PRAGMA secure_delete = ON;  -- what was taken down is not to be found in free pages
PRAGMA cache_size = -65536;  -- KiB; with the default of 2 MB a group of rows is written to the file several times
CREATE TABLE IF NOT EXISTS stores (store_key INTEGER PRIMARY KEY, store TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS published (
  store_key INTEGER NOT NULL, id TEXT NOT NULL, content_hash TEXT, mutation TEXT, published_at TEXT,
  PRIMARY KEY (store_key, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
  store_key INTEGER NOT NULL, cell_id TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (store_key, cell_id, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_by_id ON claims (store_key, id);
CREATE INDEX IF NOT EXISTS unfinished ON published (store_key, id) WHERE content_hash IS NULL;
-- How many ids a store holds ('*') and each cell claims: 80 million rows are not to be read to be counted.
CREATE TABLE IF NOT EXISTS counts AS
  SELECT store_key, '*' AS cell_id, count(*) AS ids FROM published GROUP BY store_key
  UNION ALL SELECT store_key, cell_id, count(*) FROM claims GROUP BY store_key, cell_id;
CREATE UNIQUE INDEX IF NOT EXISTS counts_by_cell ON counts (store_key, cell_id);
CREATE TRIGGER IF NOT EXISTS one_more AFTER INSERT ON published BEGIN
  INSERT INTO counts VALUES (NEW.store_key, '*', 1) ON CONFLICT DO UPDATE SET ids = ids + 1; END;
CREATE TRIGGER IF NOT EXISTS one_less AFTER DELETE ON published BEGIN
  UPDATE counts SET ids = ids - 1 WHERE store_key = OLD.store_key AND cell_id = '*'; END;
CREATE TRIGGER IF NOT EXISTS one_more_claim AFTER INSERT ON claims BEGIN
  INSERT INTO counts VALUES (NEW.store_key, NEW.cell_id, 1) ON CONFLICT DO UPDATE SET ids = ids + 1; END;
CREATE TRIGGER IF NOT EXISTS one_less_claim AFTER DELETE ON claims BEGIN
  UPDATE counts SET ids = ids - 1 WHERE store_key = OLD.store_key AND cell_id = OLD.cell_id; END;
CREATE TABLE IF NOT EXISTS removals (store_key INTEGER NOT NULL, removed_at REAL NOT NULL, ids INTEGER NOT NULL);
"""
REMEMBERED = timedelta(days=7)
"""How long what was deleted unasked counts towards what may be: most of an index goes in many small runs too."""
_ALL = "*"
_UNFINISHED = "SELECT id FROM published INDEXED BY unfinished WHERE store_key = ?1 AND content_hash IS NULL"
"""Left to itself SQLite reads all that the store holds."""
_CLAIMS = {"id": pl.String, "cell_id": pl.String, "content_hash": pl.String}


class Ledger:
    """What is published, per store. Every change is one transaction. Columns of frames: id, cell_id, content_hash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def turn(self, *stores: str) -> Iterator[None]:
        """Be the only one who changes these stores, over all processes: a plan is true as long as nobody else writes.

        Two that insert the same new ids at once would both succeed: LanceDB then holds them twice.
        """
        with Leases(self._path.parent / LEASES).held("stores of the index", stores, what="publishing"):
            yield

    def claims(self, store: str, cells: Sequence[str]) -> pl.DataFrame:
        """What these cells claim: id, cell_id, content_hash (null where the outcome of a write is unknown)."""
        sql = """
            SELECT id, cell_id, content_hash FROM claims LEFT JOIN published USING (store_key, id)
            WHERE store_key = ?1 AND cell_id IN (SELECT value FROM json_each(?2))"""
        return self._frame(_CLAIMS, store, sql, _json(cells))

    def claimed(self, store: str, cells: Sequence[str]) -> pl.DataFrame:
        """The same without content, which lies anywhere in the file: id, cell_id."""
        sql = "SELECT id, cell_id FROM claims WHERE store_key = ?1 AND cell_id IN (SELECT value FROM json_each(?2))"
        return self._frame({"id": pl.String, "cell_id": pl.String}, store, sql, _json(cells))

    def unfinished(self, store: str) -> pl.Series:
        """Ids of which a write was begun whose outcome is unknown."""
        return self._frame({"id": pl.String}, store, _UNFINISHED)["id"]

    def claims_of(self, store: str, ids: pl.Series) -> pl.DataFrame:
        """Every cell's claim on these ids, with the columns of `claims`.

        INDEXED BY: left to itself SQLite walked all claims for every id, 28 s for 2,000 of 100,000.
        """
        sql = """
            SELECT id, cell_id, content_hash FROM claims INDEXED BY claims_by_id
            LEFT JOIN published USING (store_key, id)
            WHERE store_key = ?1 AND id IN (SELECT value FROM json_each(?2))"""
        return self._frame(_CLAIMS, store, sql, _json(ids))

    def published(self, store: str) -> pl.DataFrame:
        """Everything the store holds as far as we know: id, content_hash (null = outcome unknown)."""
        return pl.concat(self.published_pages(store))

    def published_pages(self, store: str) -> Iterator[pl.DataFrame]:
        """The same, page by page."""
        sql = "SELECT id, content_hash FROM published WHERE store_key = ?1"
        return self._pages({"id": pl.String, "content_hash": pl.String}, store, sql)

    def count(self, store: str) -> int:
        """How many ids the store holds as far as we know."""
        return self._counted(store, "cell_id = '*'").get(_ALL, 0)

    def counts(self, store: str) -> dict[str, int]:
        """How many ids each cell claims there; cells that claim none are not in it."""
        return self._counted(store, "cell_id <> '*' AND ids > 0")

    def claims_by_cell(self, store: str, cells: Sequence[str]) -> dict[str, int]:
        """The same for these cells."""
        counts = self.counts(store)
        return {cell: counts[cell] for cell in cells if cell in counts}

    def _counted(self, store: str, which: str) -> dict[str, int]:
        with opened(self._path, _SCHEMA) as connection:
            sql = f"SELECT cell_id, ids FROM counts WHERE store_key = ?1 AND {which}"  # noqa: S608
            return dict(connection.execute(sql, (_key(connection, store),)))

    def holds(self, store: str, ids: pl.Series) -> pl.Series:
        """Those of the ids that the store holds as far as we know."""
        sql = "SELECT id FROM published WHERE store_key = ?1 AND id IN (SELECT value FROM json_each(?2))"
        return self._frame({"id": pl.String}, store, sql, _json(ids))["id"]

    def begin(self, store: str, claims: pl.DataFrame, uncertain: pl.Series) -> None:
        """Before writing: add claims (id, cell_id) and mark ids whose content in the store is about to change.

        Written first, so that whatever a killed publish left in the store is known to the next one.
        """
        with self._transaction(store) as (connection, key):
            for page in claims.sort("id").iter_slices(ROWS_PER_STATEMENT):
                connection.execute(
                    "INSERT INTO claims (store_key, id, cell_id) SELECT ?1, value->>0, value->>1 FROM json_each(?2) "
                    "WHERE true ON CONFLICT DO NOTHING",
                    (key, orjson.dumps(page.select("id", "cell_id").rows()).decode()),
                )
            for ids in uncertain.sort().to_frame().iter_slices(ROWS_PER_STATEMENT):
                connection.execute(
                    "INSERT INTO published (store_key, id) SELECT ?1, value FROM json_each(?2) WHERE true "
                    "ON CONFLICT DO UPDATE SET content_hash = NULL",
                    (key, _json(ids.to_series())),
                )

    def commit(self, store: str, rows: pl.DataFrame, mutation: str, now: datetime) -> None:
        """After a verified write: the store holds these (id, content_hash)."""
        published_at = now.isoformat()
        with self._transaction(store) as (connection, key):
            connection.executemany(
                "UPDATE published SET content_hash = ?3, mutation = ?4, published_at = ?5 "
                "WHERE store_key = ?1 AND id = ?2",
                ((*row, mutation, published_at) for row in _rows(key, rows.sort("id"), "id", "content_hash")),
            )

    def release(self, store: str, claims: pl.DataFrame, deleted: pl.Series) -> None:
        """Drop claims (id, cell_id), and forget ids that were deleted from the store."""
        with self._transaction(store) as (connection, key):
            connection.executemany(
                "DELETE FROM claims WHERE store_key = ?1 AND id = ?2 AND cell_id = ?3",
                _rows(key, claims, "id", "cell_id"),
            )
            connection.execute(
                "DELETE FROM published WHERE store_key = ?1 AND id IN (SELECT value FROM json_each(?2))",
                (key, _json(deleted)),
            )

    def note_removals(self, store: str, ids: int, now: datetime) -> None:
        """So many were deleted without anyone asking for it."""
        with self._transaction(store) as (connection, key):
            old_s = (now - REMEMBERED).timestamp()
            connection.execute("DELETE FROM removals WHERE removed_at < ?1", (old_s,))
            connection.execute("INSERT INTO removals VALUES (?1, ?2, ?3)", (key, now.timestamp(), ids))

    def removals(self, store: str, now: datetime) -> int:
        """How many were lately; what a wrong clock noted for a time to come does not count."""
        with opened(self._path, _SCHEMA) as connection:
            sql = "SELECT ifnull(sum(ids), 0) FROM removals WHERE store_key = ?1 AND removed_at BETWEEN ?2 AND ?3"
            span = (now - REMEMBERED).timestamp(), now.timestamp()
            (ids,) = connection.execute(sql, (_key(connection, store), *span)).fetchone()
            return int(ids)

    def lose(self, store: str, ids: pl.Series) -> None:
        """Forget ids that the store does not hold any more, and every claim on them."""
        with self._transaction(store) as (connection, key):
            for table in ("claims", "published"):
                connection.execute(
                    f"DELETE FROM {table} WHERE store_key = ?1 AND id IN (SELECT value FROM json_each(?2))",  # noqa: S608
                    (key, _json(ids)),
                )

    def adopt(self, store: str, rows: pl.DataFrame) -> None:
        """The store was found to hold these (id, content_hash), which were begun."""
        with self._transaction(store) as (connection, key):
            connection.executemany(
                "UPDATE published SET content_hash = ?3 WHERE store_key = ?1 AND id = ?2",
                _rows(key, rows, "id", "content_hash"),
            )

    def stores(self) -> list[str]:
        """Every store that was ever published to, as far as this ledger goes back."""
        with opened(self._path, _SCHEMA) as connection:
            return [store for (store,) in connection.execute("SELECT store FROM stores ORDER BY store_key")]

    def forget(self, store: str) -> None:
        """Drop the whole record of one store, after it was deleted or recreated."""
        with self._transaction(store) as (connection, key):
            for table in ("claims", "published", "removals"):
                connection.execute(f"DELETE FROM {table} WHERE store_key = ?1", (key,))  # noqa: S608

    def _frame(self, schema: dict[str, Any], store: str, sql: str, *params: str) -> pl.DataFrame:
        return pl.concat(self._pages(schema, store, sql, *params))

    def _pages(self, schema: dict[str, Any], store: str, sql: str, *params: str) -> Iterator[pl.DataFrame]:
        """At least one, be it empty."""
        with opened(self._path, _SCHEMA) as connection:
            cursor = connection.execute(sql, (_key(connection, store), *params))
            pages = iter(lambda: cursor.fetchmany(ROWS_PER_STATEMENT), [])
            for rows in chain([[]], pages):
                yield pl.DataFrame(rows, schema=schema, orient="row")

    @contextmanager
    def _transaction(self, store: str) -> Iterator[tuple[sqlite3.Connection, int | None]]:
        with transaction(self._path, _SCHEMA) as connection:
            connection.execute("INSERT INTO stores (store) VALUES (?1) ON CONFLICT DO NOTHING", (store,))
            yield connection, _key(connection, store)


def _key(connection: sqlite3.Connection, store: str) -> int | None:
    """The store's number, or None (which equals nothing) before its first publish."""
    row = connection.execute("SELECT store_key FROM stores WHERE store = ?1", (store,)).fetchone()
    return row[0] if row else None


def _rows(key: int | None, frame: pl.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return ((key, *row) for row in frame.select(columns).iter_rows())


def _json(values: Iterable[str]) -> str:
    return orjson.dumps(list(values)).decode()
