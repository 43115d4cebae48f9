"""Rows as JSON parameters, and the SQL around them."""

import sqlite3
from datetime import UTC, datetime

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.index.limits import BYTES_PER_REQUEST, MAX_STATEMENT_BYTES, ROWS_PER_REQUEST
from geopin_assets.index.tables import (
    ENCODED,
    TABLES,
    encode_rows,
    id_chunks,
    json_chunks,
    migrations,
    row_chunks,
)
from geopin_assets_tests.index.frames import captures, row_hashes


@given(st.lists(st.integers(0, 3_000), max_size=30))
def test_chunks_hold_every_item_once_in_order_and_keep_to_the_limits(sizes: list[int]) -> None:
    items = [orjson.dumps(str(i) + "x" * size * 100) for i, size in enumerate(sizes)]
    chunks = list(json_chunks(iter(items)))
    assert [item for chunk in chunks for item in orjson.loads(chunk)] == [orjson.loads(item) for item in items]
    assert all(len(chunk.encode()) <= BYTES_PER_REQUEST + 2 for chunk in chunks)


def test_a_chunk_has_at_most_so_many_rows() -> None:
    lengths = [len(orjson.loads(chunk)) for chunk in id_chunks([str(i) for i in range(12_000)])]
    assert lengths == [ROWS_PER_REQUEST, ROWS_PER_REQUEST, 2_000]


def test_a_hash_is_the_same_on_every_machine_and_version() -> None:
    """Were this to change, an upgrade would publish, and pay for, every row again."""
    rows = pl.DataFrame({"vector_id": ["x/00"], "capture_id": ["x"], "view": [0], "heading_deg": [12.5]})
    assert row_hashes("vectors", rows) == ["98a82b30ce5cfa66"]  # BLAKE2b-64 of ["x/00","x",0,12.5]


def test_a_hash_depends_on_every_published_column_and_on_no_other() -> None:
    row = captures([("x", 1)])
    (before,) = row_hashes("captures", row)
    changed = {
        **{"capture_id": "y", "source": "y", "lon": 1.0, "lat": 1.0, "captured_at": datetime(2000, 1, 1, tzinfo=UTC)},
        **{"heading_deg": 2.0, "is_pano": True, "license": "y", "attribution": "y", "creator": "y", "page_url": "y"},
        **{
            "thumbnail_url": "y",
            "covered_by": "y",
            "cell_id": "y",
            "position_from": "y",
            "position_error_m": 2.0,
            "heading_from": "y",
            "not_indexed_because": "y",
        },
    }
    assert set(changed) == set(TABLES["captures"].columns)
    for column, value in changed.items():
        assert row_hashes("captures", row.with_columns(pl.lit(value).alias(column))) != [before], column
    assert row_hashes("captures", row.with_columns(payload=pl.lit("y"))) == [before]


@given(st.lists(st.datetimes(timezones=st.just(UTC)) | st.none(), min_size=1))
def test_a_time_is_hashed_as_the_json_of_it(moments: list[datetime | None]) -> None:
    times = pl.Series("captured_at", moments, pl.Datetime("us", "UTC"))
    rows = captures([(str(number), 1) for number in range(len(moments))]).with_columns(times)
    written = [orjson.loads(row)[4] for row in encode_rows(TABLES["captures"], rows)[ENCODED]]
    assert written == [orjson.loads(orjson.dumps(moment, option=orjson.OPT_UTC_Z)) for moment in moments]


def test_rows_that_were_encoded_before_are_sent_the_same() -> None:
    table, rows = TABLES["captures"], captures([("x", 1), ("y", 2)])
    assert list(row_chunks(table, encode_rows(table, rows))) == list(row_chunks(table, rows))


def test_row_chunks_end_each_row_with_its_hash() -> None:
    rows = captures([("x", 1), ("y", 2)])
    (chunk,) = row_chunks(TABLES["captures"], rows)
    assert [row[-1] for row in orjson.loads(chunk)] == row_hashes("captures", rows)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_tables_are_those_the_migrations_create(table) -> None:  # type: ignore[no-untyped-def]
    connection = sqlite3.connect(":memory:")
    for _, script in migrations():
        connection.executescript(script)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")]
    connection.close()
    assert sorted(columns) == sorted([*table.columns, "row_hash"])  # what a migration adds stands at the end
    assert len(table.upsert_sql.encode()) < MAX_STATEMENT_BYTES
