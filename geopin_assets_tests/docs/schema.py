"""Writes docs/schema.md from the schemas themselves: `python -m geopin_assets_tests.docs.schema`.

Here: reading tables, columns and comments out of the catalog's DDL, D1's migrations and Vectorize's metadata. Not here:
any of these facts. A column that nobody described is an error.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from geopin_assets.exchange.items import ARROW_SCHEMA, ITEM_COLUMNS, MAY_BE_NULL, VECTOR_COLUMNS, vector_file_schema
from geopin_assets.index.protocol import METADATA, METADATA_DESCRIPTIONS
from geopin_assets.index.tables import DESCRIPTIONS, TABLES, migrations
from geopin_assets.store.database import SQL
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"
HEAD = """\
# Schema

<!-- Written by `python -m geopin_assets_tests.docs.schema`; a test fails when it is stale. -->

What a front end joins on:

    Vectorize  id ─────────────► D1 vectors.vector_id
                                    vectors.capture_id ──► D1 captures.capture_id ◄── catalog captures.capture_id
                                                              captures.source ──► D1 sources.source
    D1 publication.index_name: the Vectorize index to search is the one whose state is `serving`

Ids are text and stable: `capture_id` is `{source}:{source_capture_id}`, `vector_id` is `{capture_id}/{view}` (two
digits), or a hash in its place where that would be longer than 64 bytes: never take one apart. Times are UTC, in D1 as
ISO 8601 text. Headings are degrees clockwise from true north, the direction of the image center or of the view. How to
search: [cloudflare.md](cloudflare.md).
"""
VECTORIZE = """\
## Vectorize

One index per version and shard, metric cosine, `id` the `vector_id`, `values` the unit vector of one view of a capture
by the version's model. Every property of the metadata has a metadata index, so that searches can be filtered by it.
"""
D1 = """\
## D1

The embedded store has the same tables in SQLite. All reads are by primary key: there is no other index, because each
would add a billed row to every write. `row_hash` is what decides whether a row is written again.
"""
CATALOG = """\
## Catalog

The DuckDB file `catalog.duckdb` in the data folder. It is not published; D1's `captures` are a part of its columns.
"""

PUBLICATION = """\
## Publications

What `geopin export` writes: [exchange](exchange.md). `type`, `stac_version`, `stac_extensions`, `bbox` and the
beginning and end of a `datetime` that nobody knows are STAC's own.
"""


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    is_required: bool
    meaning: str


@dataclass(frozen=True)
class Relation:
    name: str
    meaning: str
    columns: list[Column]


def page() -> str:
    """The whole page."""
    parts = [HEAD, VECTORIZE, _rows(_vectorize()), D1, *map(_section, _d1()), CATALOG, *map(_section, _catalog())]
    parts += [PUBLICATION, *map(_section, _publication())]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _section(relation: Relation) -> str:
    return f"### `{relation.name}`\n\n{relation.meaning.rstrip('.')}.\n\n{_rows(relation.columns)}"


def _rows(columns: list[Column]) -> str:
    lines = ["| column | type | null | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.kind} | {'' if c.is_required else 'yes'} | {c.meaning} |" for c in columns]
    return "\n".join(lines)


def _vectorize() -> list[Column]:
    return [
        Column(name, "string" if kind == pl.String else "number", name != "captured_year", METADATA_DESCRIPTIONS[name])
        for name, kind in METADATA.items()
    ]


def _d1() -> Iterator[Relation]:
    with closing(sqlite3.connect(":memory:")) as db:
        for _, script in migrations():
            db.executescript(script)
        for table in TABLES:
            found = db.execute(f"pragma table_info({table})").fetchall()
            columns = [
                Column(name, kind.lower(), bool(needed or key), _described(DESCRIPTIONS, table, name))
                for _, name, kind, needed, _, key in found
            ]
            yield Relation(table, DESCRIPTIONS[table], columns)


def _catalog() -> Iterator[Relation]:
    script = (SQL / "schema.sql").read_text(encoding="utf-8")
    comments = dict(_comments(script))
    with closing(duckdb.connect()) as db:
        db.execute(script)
        for name in re.findall(r"^create (?:table if not exists|or replace view) (\w+)", script, re.MULTILINE):
            columns = [
                Column(column, kind.lower(), is_needed == "NO", _described(comments, name, column))
                for column, kind, is_needed, *_ in db.execute(f"describe {name}").fetchall()
            ]
            yield Relation(name, comments[name], columns)


def _publication() -> Iterator[Relation]:
    empty = {"datetime", "view:azimuth", "assets", *(f"geopin:{name}" for name in MAY_BE_NULL)}
    kinds = {name: str(ARROW_SCHEMA.field(name).type).partition("<")[0] for name in ITEM_COLUMNS}
    items = [Column(name, kinds[name], name not in empty, said) for name, said in ITEM_COLUMNS.items()]
    yield Relation("captures/*.parquet", "STAC items in GeoParquet, by cell and capture", items)
    schema, said = vector_file_schema(1), CAPTURE_DESCRIPTIONS | VECTOR_COLUMNS
    vectors = [
        Column(name, str(kind).partition("(")[0].lower(), name != "heading_deg", said[name])
        for name, kind in schema.items()
    ]
    yield Relation("vectors/*.parquet", "Their vectors, by cell, capture and view", vectors)


def _comments(script: str) -> Iterator[tuple[str, str]]:
    """Of each table and view its comment, and of each column that has one: `table`, `table.column`."""
    relation = ""
    for line in script.splitlines():
        code, _, comment = line.partition("-- ")
        if begins := re.match(r"create (?:table if not exists|or replace view) (\w+)", code):
            relation = begins[1]
            yield relation, _sentence(comment)
        elif comment and (column := re.match(r"\s+(?:select )?(?:.* as )?(\w+)[ ,]", code)):
            yield f"{relation}.{column[1]}", _sentence(comment)


def _described(comments: Mapping[str, str], relation: str, column: str) -> str:
    """Its own description, else what the column means wherever a capture has it."""
    found = comments.get(f"{relation}.{column}") or comments.get(column) or CAPTURE_DESCRIPTIONS.get(column)
    if found is None:
        raise LookupError(f"nobody says what {relation}.{column} is")
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
