"""The merge: bring cells of the catalog up to date with their raw files, set by set.

Here: batch by batch the order of the statements, and what came of it. The heart of it is `merge.sql`, the tables are in
`schema.sql`. Not here: which files there are to merge (`pending.py`), connections (`database.py`), or what else
changes the catalog (`catalog.py`).

What a batch holds in memory does not depend on how many cells are merged; what it reads, on how many the catalog has
only by its keys. A batch is one transaction: whatever ends a merge, the cells that it has done are done.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import datetime

import duckdb
import orjson
import polars as pl

from geopin_assets.cells import pages
from geopin_assets.errors import DamagedFileError, GeoPinError
from geopin_assets.store.accounts import AHEAD, CrawlAccount
from geopin_assets.store.database import SQL, frame, rows_in_place
from geopin_assets.store.keys import add_keys, keep_keys, keep_order, keys_of
from geopin_assets.store.merge_report import REPORT_SCHEMA, MergeReport, one_row_per_cell, report
from geopin_assets.store.pending import CellToMerge, Damaged, cells_to_merge
from geopin_assets.store.places import CLOSE, add_batch, near, next_batch
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import RAW_SCHEMA
from geopin_assets.store.thinning import decide, thinned_m

_DECIDE, _WRITE = (SQL / "merge.sql").read_text().split("-- write\n")
BATCH_CAPTURES = 250_000
"""Captures that are merged at a time."""
_FEW = 200
_COLUMNS = {name: dtype for name, dtype in RAW_SCHEMA.items() if name != "payload"}


def merge_cells(
    db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str], raw: RawStore, now: datetime, thin_m: float = 0.0
) -> MergeReport:
    """Merge what the raw files of these cells hold; see `Catalog.merge`.

    What a clock that was ahead had removed was removed now: or it would be a loss of this week for a year.
    """
    keep_keys(db)
    db.execute("update removed_captures set removed_at = $1 where removed_at > $2", [now, now + AHEAD])
    cells, damaged = cells_to_merge(db, cell_ids, raw)
    reports, duplicates, added, was_m = [REPORT_SCHEMA.to_frame()], 0, 0, thinned_m(db)
    for some in pages(list(cells), {cell.cell_id: cell.captures for cell in cells.values()}, BATCH_CAPTURES):
        batch = [cells[cell_id] for cell_id in some]
        with rows_in_place(db):
            is_any = _decide_batch(db, batch, raw, now, damaged)
            db.begin()
            if is_any:
                _execute(db, _WRITE, now, number := next_batch(db))
                add_batch(db, number, "incoming")
                added += add_keys(db, "added")
                duplicates += db.execute(_DUPLICATES).fetchall()[0][0]
        others = _changed_elsewhere(db, batch)
        if thin_m or was_m:
            decide(db, [cell.key for cell in batch if cell.newer] + [cell.key for cell in others], thin_m)
            batch = [replace(cell, is_known=True) for cell in batch]
        reports.append(report(db, batch, others))
        db.execute(_UNWRITTEN)
        db.commit()
    keep_order(db, added)
    if thin_m != was_m:
        reports += _thin_everywhere(db, thin_m)
    for (source, cell_id), error in damaged.items():  # the next look at what is missing has it crawled again
        if isinstance(error, DamagedFileError):
            raw.objects.set_aside(raw.key(source, cell_id))
    unreadable = {cell_id: str(error) for (_, cell_id), error in damaged.items()}
    return MergeReport(one_row_per_cell(pl.concat(reports)), duplicates, unreadable)


def _thin_everywhere(db: duckdb.DuckDBPyConnection, thin_m: float) -> Iterator[pl.DataFrame]:
    """Another distance is noted when all cells follow it; all are reported, since an earlier attempt may have died."""
    counted = "select cell_id, md5_number_lower(cell_id) % 4294967296, count(*) from captures group by cell_id"
    found = {cell_id: (key, captures) for cell_id, key, captures in db.execute(counted).fetchall()}
    for some in pages(list(found), {cell_id: captures for cell_id, (_, captures) in found.items()}, BATCH_CAPTURES):
        cells = [CellToMerge(cell_id, found[cell_id][0], is_known=True) for cell_id in some]
        db.begin()
        decide(db, [cell.key for cell in cells], thin_m)
        _forget_changes(db)
        yield report(db, (), cells)
        db.commit()
    db.begin()
    db.execute("delete from thinning")
    db.execute("insert into thinning values (?)", [thin_m])
    db.commit()


def replace_takedowns(db: duckdb.DuckDBPyConnection, listed: pl.DataFrame, now: datetime) -> None:
    """Make the table `takedowns` this list, and have nothing of it in the catalog, all or nothing; tombstones stay."""
    db.begin()
    db.register("listed", listed)
    db.execute("delete from takedowns")
    db.execute("insert into takedowns by name select * from listed")
    db.execute(
        """insert into removed_captures by name
        select md5_number_lower(capture_id) as id_key, * replace (?::timestamptz as removed_at) from capture_history
        where removed_at is null and capture_id in (select capture_id from takedowns)""",
        [now],
    )
    changed = db.execute(
        "select distinct cell_key from captures where capture_id in (select capture_id from takedowns)"
    )
    cell_keys = [key for (key,) in changed.fetchall()]
    db.execute(
        "insert into unwritten_cells select distinct cell_id from captures semi join takedowns using (capture_id)"
    )
    for table in ("captures", "other_sights", "embedding_failures"):
        db.execute(f"delete from {table} where capture_id in (select capture_id from takedowns)")  # noqa: S608
    if within_m := thinned_m(db):
        decide(db, cell_keys, within_m)
    db.commit()


def _decide_batch(
    db: duckdb.DuckDBPyConnection, batch: Sequence[CellToMerge], raw: RawStore, now: datetime, damaged: Damaged
) -> bool:
    """Fill all tables that the second part of `merge.sql` writes from; False where there is nothing to merge."""
    _forget_changes(db)
    rows, accounts, files = [pl.DataFrame(schema=_COLUMNS | {"cell_key": pl.UInt32()})], [], []
    newer = [(cell, noted.source, merged) for cell in batch for noted, merged in cell.newer]
    with ThreadPoolExecutor(raw.objects.readers) as pool:
        read = pool.map(lambda one: _read(raw, one[1], one[0].cell_id), newer)
        for (cell, source, (number, complete_number, complete_at)), found in zip(newer, read, strict=True):
            if isinstance(found, GeoPinError):
                damaged[source, cell.cell_id] = found
                continue
            account, stored = found
            rows.append(stored.with_columns(cell_key=pl.lit(cell.key, pl.UInt32())))
            accounts.append(asdict(account) | {"rejected": orjson.dumps(account.rejected).decode()})
            is_evidence = account.complete_number is not None and account.number >= number
            of_file = account.source, cell.cell_id, account.number, account.complete_number, is_evidence
            files.append((*of_file, complete_number, complete_at, number < 0))
    db.register("file_rows", pl.DataFrame(files, _FILES, orient="row"))
    db.execute("create or replace temp table files as from file_rows")
    if not files:
        return False
    together = pl.concat(rows, rechunk=True)
    rows.clear()  # or all of it would be there twice
    _register(db, "rows", together.with_row_index("nth"))
    db.register("accounts", pl.DataFrame(accounts, infer_schema_length=None))
    _hold(db, [cell for cell in batch if cell.is_known])
    first, *parts = _DECIDE.split("-- fill ")
    _execute(db, first, now)
    for name, _, sql in (part.partition("\n") for part in parts):
        if name == "elsewhere":
            _fetch_elsewhere(db)
        else:
            _register(db, name, _picked(together, frame(db, _PICKED[name])))
        _execute(db, sql, now)
    return True


def _read(raw: RawStore, source: str, cell_id: str) -> tuple[CrawlAccount, pl.DataFrame] | GeoPinError:
    try:
        return raw.read(source, cell_id, _COLUMNS)
    except GeoPinError as error:
        return error


_FILES = {
    **{"source": pl.String(), "cell_id": pl.String(), "number": pl.Int64(), "complete_number": pl.Int64()},
    **{"is_evidence": pl.Boolean(), "was_complete": pl.Int64(), "was_complete_at": pl.Datetime("us", "UTC")},
    "is_new": pl.Boolean(),
}
_HELD = f"""insert into held {CLOSE}
select c.row_id, c.capture_id, c.cell_id, c.source, c.row_hash, c.image_url, c.first_seen_at, c.seen_in,
       greatest(c.seen_in, f.was_complete),
       case when c.seen_in >= f.was_complete then c.seen_at else f.was_complete_at end,
       not f.is_evidence
from close c join files f on f.source = c.source and f.cell_id = c.cell_id"""  # noqa: S608
_OF_HELD = "rowid as row_id, capture_id, cell_id, source, row_hash, image_url, first_seen_at, seen_in, seen_at"
_FOUND = f"""create or replace temp table found as {CLOSE}
select row_id from close where capture_id in (select capture_id from unknown)
-- what its own file does not show any more, though nothing says that it is gone, stays where it is
and row_id not in (select row_id from held where not stays);
from found"""  # noqa: S608
_ELSEWHERE = """insert into elsewhere by name
select c.* replace (
           greatest(c.seen_in, coalesce(k.complete_number, 0)) as seen_in,
           case when c.seen_in >= coalesce(k.complete_number, 0) then c.seen_at else k.complete_at end as seen_at),
       c.rowid as row_id, c.seen_in as noted_in
from captures c left join crawl_cells k on k.source = c.source and k.cell_id = c.cell_id
where c.rowid {which}"""
_PICKED = {
    "several": "select nth, id_key, row_hash from incoming semi join contested using (capture_id) order by nth",
    "chosen": """
        select i.nth, i.id_key, i.row_hash, coalesce(c.first_seen_at, b.first_seen_at, i.seen_at) as first_seen_at
        from incoming i left join changes c on c.capture_id = i.capture_id
        left join back b on b.capture_id = i.capture_id where i.nth is not null order by nth""",
}
_DUPLICATES = """select (select count(*) from doubled)
    + (select count(*) from sights where is_incoming and place > 1)"""
_UNWRITTEN = """insert into unwritten_cells
select cell_id from incoming anti join changes using (capture_id)
union select from_cell from changes where action <> 'SEEN'
union select to_cell from changes where action <> 'SEEN' and to_cell is not null
union select cell_id from files where is_new or (was_complete = 0 and complete_number is not null)"""


def _forget_changes(db: duckdb.DuckDBPyConnection) -> None:
    """And the rows of the batch before, which take 0.3 GB."""
    for name in ("rows", *_PICKED):
        db.unregister(name)
    db.execute(
        "create or replace temp table changes (capture_id varchar, from_cell varchar, to_cell varchar, action varchar)"
    )
    db.execute(
        "create or replace temp table incoming (cell_id varchar, source varchar, capture_id varchar, row_hash varchar)"
    )


def _hold(db: duckdb.DuckDBPyConnection, cells: Sequence[CellToMerge]) -> None:
    """What the catalog holds of these cells."""
    db.execute(
        """create or replace temp table held (
            row_id bigint, capture_id varchar, cell_id varchar, source varchar, row_hash varchar, image_url varchar,
            first_seen_at timestamptz, noted_in bigint, seen_in bigint, seen_at timestamptz, stays boolean)"""
    )
    if keys := [cell.key for cell in cells if cell.newer]:
        db.execute(_HELD.format(columns=_OF_HELD, is_near=near(db, keys)))


def _fetch_elsewhere(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(
        """create or replace temp table elsewhere as
        select *, 0::bigint as row_id, 0::bigint as noted_in from captures limit 0"""
    )
    keys = keys_of(db, "unknown")
    if not keys:
        return
    found = db.execute(_FOUND.format(columns="rowid as row_id, capture_id", is_near=near(db, keys))).fetchall()
    if len(found) <= _FEW:
        for (row_id,) in found:
            db.execute(_ELSEWHERE.format(which=f"= {row_id}"))
    else:
        db.execute(_ELSEWHERE.format(which="in (select row_id from found)"))


def _register(db: duckdb.DuckDBPyConnection, name: str, rows: pl.DataFrame) -> None:
    db.register(name, rows.to_arrow(compat_level=pl.CompatLevel.newest()))


def _picked(rows: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Some of the rows, or all, with what the catalog says of them; `places`: in order."""
    some = rows if places.height == rows.height else rows[places["nth"]]
    return some.hstack(places.drop("nth"))


def _execute(db: duckdb.DuckDBPyConnection, sql: str, now: datetime, batch: int = 0) -> None:
    given = {"now": now, "batch": batch}
    for statement in db.extract_statements(sql):
        db.execute(statement, {name: given[name] for name in statement.named_parameters} or None)


def _changed_elsewhere(db: duckdb.DuckDBPyConnection, batch: Sequence[CellToMerge]) -> list[CellToMerge]:
    """Cells outside a batch that captures came from or went to."""
    asked = {cell.cell_id for cell in batch}
    changed = db.execute(
        """select cell_id, md5_number_lower(cell_id) % 4294967296 from (
            select cell_id from incoming anti join changes using (capture_id)
            union select from_cell from changes where action <> 'SEEN'
            union select to_cell from changes where action <> 'SEEN')"""
    ).fetchall()
    return [CellToMerge(cell_id, key, is_known=True) for cell_id, key in changed if cell_id and cell_id not in asked]
