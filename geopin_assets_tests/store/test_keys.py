"""Where a capture may be: found with the keys that are in order, whatever was added since, and without reading all."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.database import Database
from geopin_assets.store.keys import add_keys, keep_keys, keep_order, keys_of, sort_keys
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import DAY_1, DAY_2, DAY_3, capture, crawl

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"
GROUP = 122_880
_NEW = "create or replace temp table new as select md5_number_lower({of}) as id_key, {cell}::uinteger as cell_key"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with Database(tmp_path / "catalog.duckdb", patience_s=1).connect() as db:
        yield db


def add(db: duckdb.DuckDBPyConnection, prefix: str, captures: int, cell: int) -> None:
    named = f"'{prefix}' || n"
    db.execute(f"{_NEW.format(of=named, cell=cell)} from range({captures}) t(n)")
    add_keys(db, "new")


def asked(db: duckdb.DuckDBPyConnection, *names: str) -> list[int]:
    db.execute("create or replace temp table asked as select md5_number_lower(unnest(?)) as id_key", [list(names)])
    return sorted(keys_of(db, "asked"))


def count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(db.execute(f"select count(*) from {table}").fetchall()[0][0])  # noqa: S608


def test_what_few_and_many_merges_added_is_found(db: duckdb.DuckDBPyConnection) -> None:
    assert asked(db, "a0") == []
    add(db, "a", 3, 1)
    add(db, "b", 2, 2)
    assert (count(db, "capture_keys"), count(db, "recent_keys")) == (0, 5)
    add(db, "c", GROUP, 3)
    assert (count(db, "capture_keys"), count(db, "recent_keys")) == (GROUP + 5, 0)
    add(db, "a", 1, 4)  # a0 moved
    assert asked(db) == asked(db, "d0") == []
    assert asked(db, "a0") == [1, 4]
    assert asked(db, "b1", "c7") == [2, 3]
    assert asked(db, "a2", *(f"c{n}" for n in range(100))) == [1, 3]


def test_keys_of_what_left_stay_until_all_are_made_anew(db: duckdb.DuckDBPyConnection) -> None:
    columns = "capture_id, cell_id, source, source_capture_id, lon, lat, is_pano, license, attribution, page_url"
    more = "image_url, image_version, row_hash, first_seen_at, seen_in, id_key, cell_key"
    values = "'s:' || n, 'c', 's', n, 0, 0, false, '', '', '', '', '', '', now(), 1, md5_number_lower('s:' || n), 5"
    db.execute(f"insert into captures ({columns}, {more}) select {values} from range(10) t(n)")  # noqa: S608
    assert asked(db, "s:3") == []
    keep_keys(db)
    assert asked(db, "s:3") == [5]
    db.execute("delete from captures where capture_id = 's:3'")
    keep_keys(db)
    assert asked(db, "s:3") == [5]  # it is no promise that it is there
    sort_keys(db)
    assert (asked(db, "s:3"), asked(db, "s:4")) == ([], [5])


def test_what_a_version_without_keys_merged_in_between_moves_and_is_not_doubled(tmp_path: Path) -> None:
    """Such a version leaves the tables of keys as they were; fewer captures than keys say nothing of those it added."""
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(path := tmp_path / "catalog.duckdb")
    merged(catalog, raw, A, [f"a{n}" for n in range(10)], DAY_1)
    merged(catalog, raw, A, few := [f"a{n}" for n in range(5)], DAY_2)
    tables = ("capture_keys", "recent_keys", "keyed_crawls")
    with duckdb.connect(path) as db:
        for table in tables:
            db.execute(f"create table kept_{table} as from {table}")
    merged(catalog, raw, B, ["b0", "b1", "b2"], DAY_2)
    with duckdb.connect(path) as db:
        for table in tables:
            db.execute(f"delete from {table}; insert into {table} from kept_{table}; drop table kept_{table}")  # noqa: S608
    merged(catalog, raw, A, [*few, "b0"], DAY_3)
    rows = catalog.query("select source_capture_id, cell_id from captures where source_capture_id like 'b%' order by 1")
    assert rows.rows() == [("b0", A), ("b1", B), ("b2", B)]


def merged(catalog: Catalog, raw: RawStore, cell_id: str, names: list[str], day: datetime) -> None:
    crawl(raw, cell_id, [capture(name, lon=4.893 if cell_id == A else 4.9) for name in names], crawled_at=day)
    catalog.merge([cell_id], raw)


def test_after_many_came_all_are_in_order_and_after_few_as_they_were(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(f"insert into captures by name {_CAPTURES}")
    for part, added in ((0, GROUP), (1, GROUP + 1)):
        db.execute(
            "create or replace temp table new as from captures select id_key, cell_key where seen_in = $1", [part]
        )
        assert add_keys(db, "new") == added
    keep_order(db, GROUP)
    assert pieces(db) > 1
    keep_order(db, GROUP + 1)
    assert (pieces(db), count(db, "capture_keys")) == (1, 2 * GROUP + 1)


_CAPTURES = f"""select 's:' || n as capture_id, 'c' as cell_id, 's' as source, n::varchar as source_capture_id,
    0 as lon, 0 as lat, false as is_pano, '' as license, '' as attribution, '' as page_url, '' as image_url,
    '' as image_version, '' as row_hash, now() as first_seen_at, n % 2 as seen_in, hash(n) as id_key, 5 as cell_key
from range(1, {2 * GROUP + 2}) t(n)"""  # noqa: S608


def pieces(db: duckdb.DuckDBPyConnection) -> int:
    """That are in order each."""
    fell = "select id_key < lag(id_key) over (order by rowid) as fell from capture_keys"
    return 1 + count(db, f"({fell}) where fell")


def test_one_among_many_is_found_without_reading_all(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """DuckDB's own count of the rows that it read, with 1, 2 and 4 times as many."""
    read = [rows_read(db, tmp_path / f"{groups}.json", groups) for groups in (4, 8, 16)]
    assert max(read) <= 2 * GROUP < 4 * GROUP


def rows_read(db: duckdb.DuckDBPyConnection, profile: Path, groups: int) -> int:
    db.execute("delete from capture_keys")
    db.execute(f"{_NEW.format(of='n::varchar', cell=7)} from range({groups * GROUP}) t(n)")
    db.execute("insert into capture_keys from new order by all")
    db.execute("create or replace temp table asked as select md5_number_lower('5') as id_key")
    db.execute(f"pragma enable_profiling = 'json'; set profiling_output = '{profile}'")
    assert keys_of(db, "asked") == [7]
    db.execute("pragma disable_profiling")
    return sum(operator.get("operator_rows_scanned", 0) for operator in _operators(json.loads(profile.read_text())))


def _operators(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("children", ()):
        yield from _operators(child)
