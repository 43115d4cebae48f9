"""The merge: bring cells of the catalog up to date with their raw files, set by set, in one transaction.

Here: which files are read, the order of the statements, and what came of it. The heart of it is `merge.sql`, the
tables are in `schema.sql`. Not here: connections (`database.py`), or what else is asked of the catalog (`catalog.py`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import duckdb
import orjson
import polars as pl

from geopin_assets.errors import PayloadError
from geopin_assets.store.database import SQL, frame
from geopin_assets.store.raw import CrawlAccount, RawStore
from geopin_assets.store.schema import CAPTURE_COLUMNS


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What one merge did. `cells` has one row per merged cell, see `_PER_CELL`."""

    cells: pl.DataFrame
    duplicates: int
    unreadable: dict[str, str]
    """cell_id -> why a raw file there could not be read; its captures of earlier merges stay."""


_PER_CELL = """
select k.cell_id, coalesce(n.captures, 0) as captures, coalesce(n.sources, 0) as sources,
       coalesce(n.version, 'empty') as data_version,
       (select count(*) from changed x where x.cell_id = k.cell_id and x.action = 'INSERT') as inserted,
       (select count(*) from changed x where x.cell_id = k.cell_id and x.action = 'UPDATE') as updated,
       (select count(*) from removed x where x.cell_id = k.cell_id) as removed
from cells k left join (
    select cell_id, count(*) as captures, count(distinct source) as sources,
           md5(string_agg(capture_id || row_hash, ',' order by capture_id)) as version
    from captures where cell_id in (select cell_id from cells) group by cell_id) n using (cell_id)
order by k.cell_id
"""


def merge_cells(db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str], raw: RawStore) -> MergeReport:
    """Merge what the raw files of these cells hold, all or nothing; see `Catalog.merge`."""
    newer, unreadable = _newer_files(db, cell_ids, raw)
    db.begin()
    db.register("cells", pl.DataFrame({"cell_id": list(cell_ids)}, schema={"cell_id": pl.String}))
    duplicates = _merge_files(db, newer, raw) if newer else _merge_nothing(db)
    cells = frame(db, _PER_CELL)
    db.commit()
    return MergeReport(cells, duplicates, unreadable)


def _newer_files(
    db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str], raw: RawStore
) -> tuple[list[CrawlAccount], dict[str, str]]:
    merged = {
        (source, cell_id): (crawled_at, data_version)
        for source, cell_id, crawled_at, data_version in frame(
            db,
            """select source, cell_id, crawled_at, data_version from crawl_cells
            where cell_id in (select unnest(?::varchar[]))""",
            [list(cell_ids)],
        ).iter_rows()
    }
    newer, unreadable = [], {}
    for source, cell_id in raw.sources_of(cell_ids):
        try:
            account = raw.account(source, cell_id)
        except PayloadError as error:
            unreadable[cell_id] = str(error)
            continue
        before = merged.get((source, cell_id))
        now = (account.crawled_at, account.data_version)
        # the same crawl with other content is one that something was taken out of
        if before is None or (now[0] >= before[0] and now != before):
            newer.append(account)
    return newer, unreadable


def _merge_files(db: duckdb.DuckDBPyConnection, newer: Sequence[CrawlAccount], raw: RawStore) -> int:
    """Merge the raw files of these crawls; returns how many rows were duplicates."""
    accounts = pl.DataFrame(
        [asdict(a) | {"rejected": orjson.dumps(a.rejected).decode()} for a in newer], infer_schema_length=None
    )
    with raw.objects.as_files(raw.key(a.source, a.cell_id) for a in newer) as files:
        paths = [str(file) for file in files]
        db.register("accounts", accounts.with_columns(path=pl.Series(paths, dtype=pl.String)))
        db.execute(
            "create or replace temp table files as select path, source, cell_id, crawled_at, is_complete from accounts"
        )
        for statement in db.extract_statements((SQL / "merge.sql").read_text()):
            db.execute(statement, {"paths": paths} if "paths" in statement.named_parameters else None)
    _apply(db)
    (stored,), (kept,) = db.execute("select count(*) from staged union all select count(*) from incoming").fetchall()
    db.execute(
        """delete from crawl_cells using accounts a
        where crawl_cells.source = a.source and crawl_cells.cell_id = a.cell_id"""
    )
    db.execute("insert into crawl_cells by name select * exclude (path) from accounts")
    return int(stored - kept)


def _apply(db: duckdb.DuckDBPyConnection) -> None:
    """Bring captures and their history to `incoming` minus `removed`."""
    assignments = ", ".join(f"{c} = incoming.{c}" for c in CAPTURE_COLUMNS if c != "capture_id")
    names, values = ", ".join(CAPTURE_COLUMNS), ", ".join(f"incoming.{c}" for c in CAPTURE_COLUMNS)
    merged = frame(
        db,
        f"""merge into captures using incoming on captures.capture_id = incoming.capture_id
        when matched and (captures.row_hash <> incoming.row_hash or captures.image_url <> incoming.image_url)
            then update set {assignments}
        when not matched then insert ({names}) values ({values})
        returning merge_action, capture_id, cell_id""",  # noqa: S608
    )
    db.register("merged", merged)
    db.execute("insert into changed select * from merged")
    db.execute("delete from captures using removed where captures.capture_id = removed.capture_id")
    db.execute(
        """update capture_history set removed_at = now() from removed
        where capture_history.capture_id = removed.capture_id"""
    )
    db.execute(
        """merge into capture_history h using incoming i on h.capture_id = i.capture_id
        when matched then update set last_seen_at = i.crawled_at, removed_at = null
        when not matched then insert (capture_id, source, first_seen_at, last_seen_at)
            values (i.capture_id, i.source, i.crawled_at, i.crawled_at)"""
    )


def _merge_nothing(db: duckdb.DuckDBPyConnection) -> int:
    db.execute("create or replace temp table changed (action varchar, capture_id varchar, cell_id varchar)")
    db.execute("create or replace temp table removed (capture_id varchar, cell_id varchar)")
    return 0


def unmerged_cells(db: duckdb.DuckDBPyConnection, raw: RawStore) -> list[str]:
    """Cells with raw files that `merge_cells` would read; one that cannot be read is not among them."""
    crawls = raw.crawls().drop_nulls("crawled_at")
    newer, _ = _newer_files(db, crawls["cell_id"].unique().to_list(), raw)
    return sorted({account.cell_id for account in newer})


def replace_takedowns(db: duckdb.DuckDBPyConnection, listed: pl.DataFrame, now: datetime) -> None:
    """Make the table `takedowns` this list, and have nothing of it in the catalog, all or nothing; tombstones stay."""
    db.begin()
    db.register("listed", listed)
    db.execute("delete from takedowns")
    db.execute("insert into takedowns by name select * from listed")
    db.execute("delete from captures where capture_id in (select capture_id from takedowns)")
    db.execute("delete from embedding_failures where capture_id in (select capture_id from takedowns)")
    db.execute(
        """update capture_history set removed_at = ?
        where removed_at is null and capture_id in (select capture_id from takedowns)""",
        [now],
    )
    db.commit()
