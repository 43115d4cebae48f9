"""The published tables: their columns, the SQL that writes them, and rows as bounded JSON parameters.

Here: what the embedded store and D1 share. Not here: connections or requests. The schema itself
is in `migrations/*.sql`; a migration's file name is its version, and applied names are kept in
`d1_migrations` as Cloudflare's own tool does, so that either can be used.

Rows travel as ONE text parameter holding a JSON array of arrays: a statement takes 100 parameters,
which would be 7 rows; this way a request carries thousands (measured: 80 requests per million rows
instead of 1,020).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import orjson
import polars as pl

from geopin_assets.errors import PermanentError
from geopin_assets.index.batching import filled
from geopin_assets.index.limits import BYTES_PER_REQUEST, MAX_VALUE_BYTES, ROWS_PER_REQUEST

CREATE_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
)

ENCODED = "encoded"
"""Column of rows that were encoded before; there need be no other but `row_hash`."""


@dataclass(frozen=True, slots=True)
class Table:
    """One published table: `columns` without the `row_hash` that guards it; the first is the id."""

    name: str
    columns: tuple[str, ...]

    @property
    def id_column(self) -> str:
        return self.columns[0]

    @property
    def upsert_sql(self) -> str:
        """Insert or replace the rows in ?1. A row whose hash is the stored one is not written, nor billed."""
        columns = (*self.columns, "row_hash")
        values = ", ".join(f"value->>{i}" for i in range(len(columns)))
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        return (  # the identifiers are constants of this module; WHERE true: else ON is read as a join
            f"INSERT INTO {self.name} ({', '.join(columns)}) SELECT {values} FROM json_each(?1) WHERE true "  # noqa: S608
            f"ON CONFLICT ({self.id_column}) DO UPDATE SET {updates} "
            f"WHERE {self.name}.row_hash IS NOT excluded.row_hash"
        )

    @property
    def delete_sql(self) -> str:
        """Delete the ids in ?1."""
        return f"DELETE FROM {self.name} WHERE {self.id_column} IN (SELECT value FROM json_each(?1))"  # noqa: S608

    @property
    def contents_sql(self) -> str:
        """The next 10,000 `id` and `content_hash` after ?1, in their order."""
        return (
            f"SELECT {self.id_column} AS id, row_hash AS content_hash FROM {self.name} "  # noqa: S608
            f"WHERE {self.id_column} > ?1 ORDER BY {self.id_column} LIMIT 10000"
        )

    @property
    def hashes_sql(self) -> str:
        """`id` and `row_hash` of the ids in ?1 that exist."""
        return (
            f"SELECT {self.id_column} AS id, row_hash FROM {self.name} "  # noqa: S608
            f"WHERE {self.id_column} IN (SELECT value FROM json_each(?1))"
        )


TABLES = {
    table.name: table
    for table in (
        Table(
            "captures",
            (
                *("capture_id", "source", "lon", "lat", "captured_at", "heading_deg", "is_pano"),
                *("license", "attribution", "creator", "page_url", "thumbnail_url", "covered_by", "cell_id"),
                *("position_from", "position_error_m", "heading_from", "not_indexed_because"),
            ),
        ),
        Table("vectors", ("vector_id", "capture_id", "view", "heading_deg")),
        Table("doubts", ("capture_id", "trust", "reason")),
        Table("sources", ("source", "title", "homepage", "captures")),
        Table("licenses", ("license", "url", "asks")),
        Table(
            "publication",
            (
                *("index_name", "model_id", "embedder", "version", "dim", "indexes", "databases", "state", "since"),
                *("captures", "vectors", "published_at", "installation_id"),
            ),
        ),
        Table("takedowns", ("entry_id", "number", "capture_id", "is_taken_down", "at", "note")),
        Table("installation", ("place", "installation_id", "generation", "merge_id")),
    )
}

DESCRIPTIONS = {
    "captures": "What a search shows beside its matches: one row per capture in the catalog.",
    "captures.captured_at": "Shutter time, UTC, ISO 8601; null if unknown or junk",
    "captures.is_pano": "1 if it covers 360 degrees horizontally, else 0",
    "captures.thumbnail_url": "Where a page may show the image from; null where addresses expire or are not public",
    "captures.covered_by": "JSON list of the sources that show the place, this one too: a capture within 25 m",
    "captures.not_indexed_because": "Why it has no vector though its image may be had: thinned (another one of its "
    "sequence, near enough, looks the same way); else null",
    "captures.cell_id": "The crawl square that holds the coordinates",
    "vectors": "Which capture, and which direction of it, a vector is.",
    "vectors.vector_id": "The id in Vectorize",
    "vectors.view": "Number of the view within its capture, clockwise from the image center; 0 for a flat image",
    "vectors.heading_deg": "Direction of the view, degrees clockwise from true north, [0, 360); null if unknown",
    "doubts": "Captures that other sources contradict: whoever searches counts them less.",
    "doubts.trust": "0 to 1: how likely the capture is right all the same",
    "doubts.reason": "moved, turned or unlike",
    "sources": "The sources by their names for people.",
    "sources.title": "Name to show",
    "sources.homepage": "Page of the provider",
    "sources.captures": "How many captures of it the catalog holds",
    "licenses": "What the licenses of captures are.",
    "licenses.license": "As in captures",
    "licenses.url": "Its text; link it where an image of that license is shown",
    "licenses.asks": "What it asks of whoever shows the image, in short",
    "publication": "The versions of the index that are kept, the same in every database. To be read first: the one row "
    "whose state is serving says all that a search needs.",
    "publication.index_name": "Name of the version",
    "publication.version": "Number of the version among those of its model",
    "publication.dim": "Dimensions of its vectors",
    "publication.indexes": "JSON list: the indexes in Vectorize that hold it, by shard; a search asks all of them",
    "publication.databases": "JSON list: the databases in D1 that hold the rows, by shard; a search asks all of them",
    "publication.since": "When it came into this state, UTC, ISO 8601",
    "publication.installation_id": "Which installation publishes here; null if it is not known",
    "publication.model_id": "Model that its vectors are of; a photo to search with must be embedded by the same",
    "publication.embedder": "The same in words, with its weights",
    "publication.published_at": "When any of this last changed, UTC, ISO 8601",
    "publication.captures": "How many captures the catalog held then",
    "publication.vectors": "How many vectors the index held then",
    "publication.state": "building, serving (the one to search) or retired",
    "takedowns": "A copy of the list of what was taken down, from which a lost list is restored.",
    "takedowns.entry_id": "Of the line, as in `takedowns.jsonl`",
    "takedowns.number": "Order: the newest line about a capture counts",
    "takedowns.is_taken_down": "0 if this line takes it off the list again",
    "takedowns.at": "When, UTC, ISO 8601",
    "takedowns.note": "Who asked, or why; empty if nobody said",
    "installation": "One row: whose publication this is, and what it was made from.",
    "installation.place": "Always here",
    "installation.installation_id": "The same in the catalog and the ledger",
    "installation.generation": "How many merges the catalog had seen then",
    "installation.merge_id": "The last of them: a catalog that does not know it is older, or another one",
    "row_hash": "Of the row; one that did not change is not written",
}
"""What tables (`table`) and columns (`table.column`) mean, where it is not what a capture's field means."""


def table_named(name: str) -> Table:
    """The table of that name; raises PermanentError for any other word, so that no name reaches SQL unchecked."""
    if name not in TABLES:
        raise PermanentError(f"no published table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name]


def encode_rows(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """`row_hash`, and ENCODED: the row as JSON.

    What differs is known by the hash of that JSON, so it is kept until it is sent: 130 to 350 bytes a row, for a third
    of the work of a first load.
    """
    encoded = list(_encoded(table, rows))
    schema = {"row_hash": pl.String, ENCODED: pl.Binary}
    return pl.DataFrame({"row_hash": list(map(_digest, encoded)), ENCODED: encoded}, schema=schema)


def row_chunks(table: Table, rows: pl.DataFrame) -> Iterator[str]:
    """The rows, each followed by its hash, as JSON arrays that fit one request each."""
    return json_chunks(hashed_rows(table, rows))


def hashed_rows(table: Table, rows: pl.DataFrame) -> Iterator[bytes]:
    """Each row with its hash behind it, as a JSON array; rows that were encoded before as they are."""
    encoded = rows if ENCODED in rows.columns else encode_rows(table, rows)
    pairs = encoded.select(ENCODED, "row_hash").iter_rows()
    return (row[:-1] + f',"{row_hash}"]'.encode() for row, row_hash in pairs)


def id_chunks(ids: list[str]) -> Iterator[str]:
    """Ids as JSON arrays that fit one request each."""
    return json_chunks(map(orjson.dumps, ids))


def json_chunks(items: Iterator[bytes]) -> Iterator[str]:
    """Join encoded items to JSON arrays of at most ROWS_PER_REQUEST items and about BYTES_PER_REQUEST bytes."""
    for chunk in filled(map(_checked, items), BYTES_PER_REQUEST, ROWS_PER_REQUEST):
        yield (b"[" + b",".join(chunk) + b"]").decode()


def _checked(item: bytes) -> bytes:
    if len(item) > MAX_VALUE_BYTES:
        raise PermanentError(f"a row of {len(item)} bytes; at most {MAX_VALUE_BYTES}: {item[:80]!r}")
    return item


def migrations() -> list[tuple[str, str]]:
    """(name, SQL script) of every migration, oldest first."""
    folder = files(__package__) / "migrations"
    return sorted((f.name, f.read_text(encoding="utf-8")) for f in folder.iterdir() if f.name.endswith(".sql"))


def statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def text_params(params: Sequence[Any]) -> list[str | None]:
    """Parameters as D1's HTTP API takes them: text or null; a number in it compares as one with a numeric column."""
    return [None if value is None else str(int(value) if isinstance(value, bool) else value) for value in params]


def query_frame(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """What a query found, as a frame."""
    return pl.DataFrame(rows, schema=list(columns), orient="row", infer_schema_length=None)


def _encoded(table: Table, rows: pl.DataFrame) -> Iterator[bytes]:
    if missing := [column for column in table.columns if column not in rows.columns]:
        raise PermanentError(f"{table.name}: rows without {', '.join(missing)}")
    chosen = rows.select(table.columns).with_columns(pl.selectors.string().str.replace_all("\0", "", literal=True))
    moments = [
        name for name, kind in chosen.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    ]
    return (orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in chosen.with_columns(map(_iso, moments)).iter_rows())


def _iso(moment: str) -> pl.Expr:
    """As orjson writes it; objects of Python would be a third of all encoding."""
    time = pl.col(moment)
    whole, exact = time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), time.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.when(time.dt.microsecond() == 0).then(whole).otherwise(exact).alias(moment)


def _digest(row: bytes) -> str:
    return blake2b(row, digest_size=8).hexdigest()
