"""The catalog: the canonical captures in DuckDB, merged from the raw files of every source.

Here: the merge transaction and the few reads that other layers need. The tables are in `schema.sql`,
the heart of the merge in `merge.sql`. Not here: connections (`database.py`), crawling, embedding, publishing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import orjson
import polars as pl

from geopin_assets.errors import PayloadError
from geopin_assets.store.database import SQL, Database, frame
from geopin_assets.store.raw import CrawlAccount, RawStore
from geopin_assets.store.schema import CAPTURE_SCHEMA

CAPTURE_COLUMNS = ["capture_id", "cell_id", *CAPTURE_SCHEMA.names()[1:-1], "row_hash"]
"""Columns of `captures`: everything a capture has but its payload, which stays in the raw files."""
FAILURE_COLUMNS = [
    *("capture_id", "cell_id", "source", "image_version"),
    *("reason", "attempts", "last_tried_at", "next_try_at"),
]


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


class Catalog:
    """The DuckDB file at `path`. Safe to use from several processes; each call is one short connection."""

    def __init__(self, path: Path, *, patience_s: float = 300.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self._database = Database(path, patience_s=patience_s, sleep=sleep)

    def merge(self, cell_ids: Sequence[str], raw: RawStore) -> MergeReport:
        """Bring the cells up to date with their raw files, all or nothing.

        Only files newer than the last merge are read: the cost follows what changed. Captures that a
        complete crawl no longer returned are removed and tombstoned; an incomplete crawl removes nothing.
        """
        with self._database.connect() as db:
            newer, unreadable = self._newer_files(db, cell_ids, raw)
            db.begin()
            db.register("cells", pl.DataFrame({"cell_id": list(cell_ids)}, schema={"cell_id": pl.String}))
            duplicates = _merge_files(db, newer, raw) if newer else _merge_nothing(db)
            cells = frame(db, _PER_CELL)
            db.commit()
        return MergeReport(cells, duplicates, unreadable)

    def captures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Canonical captures of some cells, ordered by capture_id."""
        return self._select("captures", CAPTURE_COLUMNS, cell_ids)

    def failures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Embedding failures of some cells, ordered by capture_id."""
        return self._select("embedding_failures", FAILURE_COLUMNS, cell_ids)

    def sightings(self) -> pl.DataFrame:
        """Where, when and in which direction every capture was taken: what coverage is judged by."""
        return self.query("select capture_id, cell_id, source, captured_at, heading_deg, is_pano from captures")

    def crawls(self) -> pl.DataFrame:
        """The newest merged crawl of every (source, cell): table `crawl_cells`."""
        return self.query("from crawl_cells order by source, cell_id")

    def licenses(self) -> pl.DataFrame:
        """Captures per source, license and whether all of attribution, page link and license are there."""
        return self.query(
            """select source, license, count(*) as captures,
                      count(*) filter (trim(attribution) = '' or trim(page_url) = '') as unattributed
               from captures group by all order by source, license"""
        )

    def duplicates(self) -> int:
        """Rows beyond the first per (source, source_capture_id); 0 in a sound catalog."""
        found = self.query("select count(*) - count(distinct (source, source_capture_id)) as n from captures")
        return int(found.item())

    def ids(self) -> pl.Series:
        """Every capture_id."""
        return self.query("select capture_id from captures order by capture_id")["capture_id"]

    def replace_failures(self, cell_id: str, failures: pl.DataFrame) -> None:
        """Make `failures` (without cell_id) the embedding failures of one cell."""
        with self._database.connect() as db:
            db.begin()
            db.execute("delete from embedding_failures where cell_id = ?", [cell_id])
            db.register("failures", failures.with_columns(cell_id=pl.lit(cell_id)).select(FAILURE_COLUMNS))
            db.execute("insert into embedding_failures by name select * from failures")
            db.commit()

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Run a read-only query."""
        with self._database.connect(read_only=True) as db:
            return frame(db, sql, parameters)

    def _select(self, table: str, columns: Sequence[str], cell_ids: Sequence[str]) -> pl.DataFrame:
        names = ", ".join(columns)
        return self.query(
            f"select {names} from {table} where cell_id in (select unnest(?::varchar[])) order by capture_id",  # noqa: S608
            [list(cell_ids)],
        )

    def _newer_files(
        self, db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str], raw: RawStore
    ) -> tuple[list[CrawlAccount], dict[str, str]]:
        merged = {
            (source, cell_id): crawled_at
            for source, cell_id, crawled_at in frame(
                db,
                "select source, cell_id, crawled_at from crawl_cells where cell_id in (select unnest(?::varchar[]))",
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
            if before is None or account.crawled_at > before:
                newer.append(account)
        return newer, unreadable


def _merge_files(db: duckdb.DuckDBPyConnection, newer: Sequence[CrawlAccount], raw: RawStore) -> int:
    """Merge the raw files of these crawls; returns how many rows were duplicates."""
    paths = [str(raw.path(a.source, a.cell_id)) for a in newer]
    accounts = pl.DataFrame(
        [asdict(a) | {"rejected": orjson.dumps(a.rejected).decode()} for a in newer], infer_schema_length=None
    )
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
