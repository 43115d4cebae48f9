"""In which cells a capture may be, without asking all captures: the catalog's tables `capture_keys` and `recent_keys`.

Each capture has its keys there, sorted by its own, and DuckDB knows the least and the greatest of every 122,880: of
what is kept in order it reads little. Maintenance, and a merge that adds many, puts all in order. What merges add since
waits in `recent_keys`, which is written anew each time, until it makes such a group of rows. What left a cell leaves
its keys there until then. `keyed_crawls` tells of which merged crawls they are. Not here: who needs to know
(`merge.py`).
"""

import duckdb

_GROUP = 122_880
_CRAWLS = """select count(*) + coalesce(sum(hash(source, cell_id, number, data_version, crawled_at)), 0)::hugeint
    from crawl_cells"""
_NOTED = f"delete from keyed_crawls; insert into keyed_crawls {_CRAWLS}"  # noqa: S608
_SORTED = """create or replace table capture_keys (id_key ubigint not null, cell_key uinteger not null);
insert into capture_keys select id_key, cell_key from captures order by all;
delete from recent_keys"""
_ADDED = """create or replace temp table keys as from {table} union all from recent_keys;
delete from recent_keys;
insert into {into} from keys order by all"""


def keep_keys(db: duckdb.DuckDBPyConnection) -> None:
    """Have the tables if there are none yet, or crawls were merged by what knows of no keys: an older version."""
    if db.execute(f"select ({_CRAWLS}) in (from keyed_crawls)").fetchall() != [(True,)]:
        sort_keys(db)


def sort_keys(db: duckdb.DuckDBPyConnection) -> None:
    """Make them anew, all in order: 0.15 s of CPU for each million."""
    db.execute(f"begin; {_SORTED}; {_NOTED}; commit")


def add_keys(db: duckdb.DuckDBPyConnection, table: str) -> int:
    """Have the keys of a table in them too, within the transaction that merged its crawls; how many they are."""
    counted = f"select (select count(*) from recent_keys) + count(*), count(*) from {table}"  # noqa: S608
    ((all_together, added),) = db.execute(counted).fetchall()
    if added:
        into = "recent_keys" if all_together < _GROUP else "capture_keys"
        db.execute(_ADDED.format(table=table, into=into))
    db.execute(_NOTED)
    return int(added)


def keep_order(db: duckdb.DuckDBPyConnection, added: int) -> None:
    """Sort them after a merge that added so many, if those are a tenth of all.

    A number that is asked for alone reads a group of every piece that is in order, and each batch leaves one.
    """
    ((held,),) = db.execute("select count(*) from capture_keys").fetchall()
    if added > _GROUP and 10 * added > held:
        sort_keys(db)


def keys_of(db: duckdb.DuckDBPyConnection, table: str) -> list[int]:
    """Keys of the cells that may hold a capture whose `id_key` stands in a table.

    Each number that is asked for alone reads a group of rows at most; asked for together they read nearly all.
    """
    ((groups,),) = db.execute(f"select count(*) // {_GROUP} from capture_keys").fetchall()  # noqa: S608
    few = db.execute(f"select distinct id_key from {table} limit {groups + 1}").fetchall()  # noqa: S608
    if not few:
        return []
    all_of_them = f"in (select id_key from {table})"  # noqa: S608
    those = [f"= {id_key}" for (id_key,) in few] if len(few) <= groups else [all_of_them]
    asked = [*(("capture_keys", which) for which in those), ("recent_keys", all_of_them)]
    found = " union all ".join(f"select cell_key from {where} where id_key {which}" for where, which in asked)  # noqa: S608
    return [key for (key,) in db.execute(f"select distinct cell_key from ({found})").fetchall()]  # noqa: S608
