"""Where the rows of few cells may lie among those of all: the catalog's table `cell_batches`.

What one batch of a merge writes lies together, and DuckDB knows the least and the greatest number of a batch in every
122,880 rows: a question that names the batches looks into no others, in any column. A batch stays on a cell's list
when its last row there goes, until the table is made anew, as maintenance does. Rows that say no batch, of a catalog
from before, or merged by a version that knows of none, have 0, which is named in every question.

Not here: where a capture may be (`keys.py`), or who needs to know (`merge.py`, `pending.py`, `lookups.py`).
"""

from collections.abc import Iterable, Sequence

import duckdb

CLOSE = "with close as materialized (select {columns} from captures where {is_near})"
"""Rows of few cells: what else is asked of them is asked of no others then, see `near`."""
_BITS = 65_536
_FEW = 2_000
"""Keys that are worth comparing one by one with those of rows that share a bit with one of them."""
_GROUP = 122_880
_LISTED = """create or replace table cell_batches (cell_key uinteger not null, batch bigint not null);
insert into cell_batches select distinct cell_key, batch from captures order by all"""
_NUMBERED = f"""update captures
set batch = rowid // {_GROUP} + 1 + (select coalesce(max(batch), 0) from cell_batches) where batch = 0"""  # noqa: S608
_ADDED = "insert into cell_batches select distinct cell_key, $batch from {table} order by all"


def list_batches(db: duckdb.DuckDBPyConnection) -> None:
    """Make the table anew, in order, and give numbers to rows that have none: neighbors have the same."""
    db.execute(f"begin; {_NUMBERED}; {_LISTED}; commit")


def next_batch(db: duckdb.DuckDBPyConnection) -> int:
    """A number that no row has."""
    ((last,),) = db.execute("select coalesce(max(batch), 0) from cell_batches").fetchall()
    return int(last) + 1


def add_batch(db: duckdb.DuckDBPyConnection, batch: int, table: str) -> None:
    """Note what cells a batch writes rows of: those in a table, within the transaction that writes them."""
    db.execute(_ADDED.format(table=table), {"batch": batch})


def near(db: duckdb.DuckDBPyConnection, keys: Iterable[int]) -> str:
    """A condition on rows of `captures` that holds of the cells with these keys, and of few others: say which, too.

    Have it alone in its scan (`CLOSE`). What DuckDB makes of the values of a join or of an `in (select …)` it asks of a
    row first: of texts that costs 30 ns a row; of the number of its batch next to nothing, and up to 50 numbers pass
    over groups of rows. Named without a `select` they move all of this out of the scan.
    """
    is_near = _is_near(sorted(set(keys)))
    found = db.execute(f"select distinct batch from cell_batches where {is_near} order by all").fetchall()  # noqa: S608
    return f"batch in (select unnest([{', '.join(str(batch) for (batch,) in [(0,), *found])}])) and {is_near}"


def near_cells(db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str]) -> str:
    """The same of cells that are named."""
    sql = "select md5_number_lower(id) % 4294967296 from (select unnest(?::varchar[]) as id)"
    return near(db, (key for (key,) in db.execute(sql, [list(cell_ids)]).fetchall()))


def _is_near(known: Sequence[int]) -> str:
    """Asked of that column alone, 4 ns a row at most however many cells they are; with `in` or a join a scan reads
    all columns of all rows first."""
    if len(known) == 1:
        return f"cell_key = {known[0]}"
    bits = bytearray(b"0" * _BITS)
    for key in known:
        bits[key % _BITS] = ord("1")
    is_near = f"get_bit('{bits.decode()}'::bit, try_cast(cell_key % {_BITS} as int)) = 1"
    is_one = f"list_contains([{', '.join(map(str, known))}]::uinteger[], cell_key)" if len(known) <= _FEW else "true"
    return f"case when {is_near} then {is_one} else false end"
