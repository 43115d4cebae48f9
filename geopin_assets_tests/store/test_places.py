"""Where rows of a cell are: all of them are found, whatever wrote them, and little else is read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.database import Database
from geopin_assets.store.merge import merge_cells
from geopin_assets.store.places import CLOSE, add_batch, list_batches, near, near_cells, next_batch
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import DAY_1, DAY_2, capture, crawl

A, B, C = (f"nh-amsterdam-r090c05{n}" for n in (1, 2, 3))
GROUP = 122_880


@pytest.fixture
def db() -> duckdb.DuckDBPyConnection:
    db = duckdb.connect()
    db.execute("create table captures (cell_key uinteger, batch bigint default 0, other bigint)")
    db.execute("create table cell_batches (cell_key uinteger, batch bigint)")
    return db


def write(db: duckdb.DuckDBPyConnection, keys: list[int], each: int = 1) -> None:
    """What a merge does."""
    db.execute("create or replace temp table new as select unnest(?::uinteger[]) as cell_key", [keys])
    batch = next_batch(db)
    db.execute("insert into captures select cell_key, ?, range from new, range(?)", [batch, each])
    add_batch(db, batch, "new")


def found(db: duckdb.DuckDBPyConnection, *keys: int) -> list[int]:
    sql = f"select cell_key from captures where {near(db, keys)} order by all"  # noqa: S608
    return [key for (key,) in db.execute(sql).fetchall()]


@pytest.mark.parametrize("keys", [[], [0], [2**32 - 1, 7, 65_536 + 9], [*range(0, 30_000, 7)]])
def test_near_is_every_cell_that_was_meant_and_few_others(db: duckdb.DuckDBPyConnection, keys: list[int]) -> None:
    """Of very many keys those with the same last 16 bits are taken for each other, no others."""
    there = [*range(20), 65_535, *(65_536 + n for n in range(20)), 2**32 - 1, 2**31]
    meant = set(keys) if len(keys) <= 2000 else {key for key in there if key % 65_536 in set(keys)}
    write(db, there)
    assert found(db, *keys) == sorted(meant.intersection(there))


def test_what_any_batch_wrote_is_found_and_what_nobody_noted_too(db: duckdb.DuckDBPyConnection) -> None:
    write(db, [1, 2])
    write(db, [2, 3])
    db.execute("insert into captures (cell_key) values (2), (4)")
    assert (found(db, 1), found(db, 2), found(db, 4), found(db, 5)) == ([1], [2, 2, 2], [4], [])
    list_batches(db)
    assert db.execute("select min(batch), max(batch) from captures").fetchall() == [(1, 3)]
    assert (found(db, 1), found(db, 2), found(db, 4), found(db, 1, 3)) == ([1], [2, 2, 2], [4], [1, 3])
    for _ in range(60):
        write(db, [1, 3])
    assert (found(db, 1, 4), next_batch(db)) == ([1] * 61 + [4], 64)


def test_a_batch_whose_rows_of_a_cell_are_gone_is_forgotten_by_maintenance(db: duckdb.DuckDBPyConnection) -> None:
    write(db, [1, 2])
    write(db, [2])
    db.execute("delete from captures where cell_key = 2 and batch = 1")
    list_batches(db)
    assert db.execute("from cell_batches order by all").fetchall() == [(1, 1), (2, 2)]


@pytest.mark.parametrize("cells", [1, 2])
def test_the_cells_of_few_batches_are_found_without_looking_into_others(
    db: duckdb.DuckDBPyConnection, cells: int
) -> None:
    """DuckDB's own count of the rows that it read, of 4 and 16 groups that each have small and large keys."""
    for groups in (4, 16):
        db.execute("delete from captures; delete from cell_batches")
        for group in range(groups):
            write(db, [group, 1_000_000 - group], GROUP // 2)
        assert 0 < rows_read(db, near(db, range(0, 2 * cells, 2))) <= (cells + 1) * GROUP


def rows_read(db: duckdb.DuckDBPyConnection, which: str) -> int:
    watched = Watched(db)
    watched.execute(f"{CLOSE.format(columns='other', is_near=which)} select sum(other) from close")  # noqa: S608
    return sum(scan["operator_rows_scanned"] for _, scan in watched.scans)


class Watched:
    """A connection, and what DuckDB says of each scan of `captures` that it made: the statement, and the operator."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db, self.scans = db, list[tuple[str, dict[str, Any]]]()
        db.execute("pragma enable_profiling = 'no_output'")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, asked: Any, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        for statement in self._db.extract_statements(asked) if isinstance(asked, str) else [asked]:
            self._db.execute(statement, parameters)
            operators = _operators(json.loads(self._db.get_profiling_information() or "{}"))
            tables = ((str(one.get("extra_info", {}).get("Table")), one) for one in operators)
            self.scans += [(statement.query.strip(), one) for table, one in tables if table.endswith("main.captures")]
        return self._db


def test_a_merge_asks_of_rows_nothing_but_their_cell_and_batch_before_it_fetches_them(tmp_path: Path) -> None:
    """DuckDB's own account of the scans: what it makes of the texts of a join is a filter of the scan, asked of every
    row. Of the cells' rows alone it has nothing to make."""
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(path := tmp_path / "catalog.duckdb")
    for cell in (A, B, C):
        crawl(raw, cell, [capture(f"{cell}-{n}") for n in range(10)], crawled_at=DAY_1)
        catalog.merge([cell], raw)
    crawl(raw, A, [capture(f"{A}-1"), capture(f"{B}-1")], crawled_at=DAY_2)
    with Database(path, patience_s=1).connect() as db:
        merge_cells(cast("duckdb.DuckDBPyConnection", watched := Watched(db)), [A], raw, DAY_2)
        columns = db.execute("select column_name from duckdb_columns() where table_name = 'captures'").fetchall()
    for table, rows in {"held": 10, "found": 10, "elsewhere": 1}.items():
        (scan,) = (scan for said, scan in watched.scans if re.match(rf"(insert into|create .* table) {table}\b", said))
        filters = " ".join(str(scan["extra_info"].get(name)) for name in ("Filters", "Dynamic Filters"))
        asked = {name for (name,) in columns if re.search(rf"\b{name}\b", filters)}
        assert asked <= {"cell_key", "batch"} and scan["operator_cardinality"] == rows, (table, filters)


def test_a_scan_asks_which_cell_it_is_before_it_reads_anything_else(tmp_path: Path) -> None:
    """DuckDB's own plan: the condition stands in the scan, and nothing above filters what was read for nothing."""
    with Database(tmp_path / "catalog.duckdb", patience_s=1).connect() as db:
        sql = f"explain (format json) from captures where {near_cells(db, ['a', 'b'])} and cell_id in (select 'a')"
        plan = json.loads(db.execute(sql).fetchall()[0][1])
    operators = [operator for root in plan for operator in _operators(root)]
    assert not any("FILTER" in operator["name"] for operator in operators)
    assert any("get_bit" in str(operator["extra_info"].get("Filters")) for operator in operators)


def _operators(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("children", ()):
        yield from _operators(child)


def test_a_catalog_from_before_there_were_batches_holds_what_it_held_and_is_merged_into(tmp_path: Path) -> None:
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(path := tmp_path / "catalog.duckdb")
    crawl(raw, A, [capture("a1"), capture("a2")], crawled_at=DAY_1)
    crawl(raw, B, [capture("b1", lon=4.9)], crawled_at=DAY_1)
    catalog.merge([A, B], raw)
    held = catalog.captures([A, B])
    with duckdb.connect(path) as db:
        db.execute("alter table captures drop column batch; drop table cell_batches")
    assert Catalog(path).captures([A, B]).equals(held)
    assert catalog.query("select distinct batch from captures")["batch"].to_list() == [1]
    crawl(raw, A, [capture("a2"), capture("a3")], crawled_at=DAY_2)
    catalog.merge([A], raw)
    rows = catalog.query("select source_capture_id, batch from captures order by all").rows()
    assert rows == [("a2", 1), ("a3", 2), ("b1", 1)]
    assert catalog.captures([A])["source_capture_id"].to_list() == ["a2", "a3"]
