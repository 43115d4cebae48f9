"""The catalog: the canonical captures in DuckDB, merged from the raw files of every source.

Here: the few reads and writes that other layers need. The tables are in `schema.sql`. Not here: connections
(`database.py`), the merge itself (`merge.py`), crawling, embedding, publishing.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from geopin_assets.store.database import Database, DatabaseSpace, frame
from geopin_assets.store.merge import MergeReport, merge_cells
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import CAPTURE_COLUMNS
from geopin_assets.store.takedowns import Takedowns

IMAGE_COLUMNS = [
    *("capture_id", "cell_id", "source", "source_capture_id", "heading_deg"),
    *("is_pano", "image_url", "image_version"),
]
COVERAGE_COLUMNS = ["cell_id", "source", "captured_at", "heading_deg", "is_pano"]
"""What coverage and diversity are judged by."""
FAILURE_COLUMNS = [
    *("capture_id", "cell_id", "source", "image_version"),
    *("reason", "attempts", "last_tried_at", "next_try_at"),
]


class Catalog:
    """The DuckDB file at `path`. Safe to use from several processes; each call is one short connection."""

    def __init__(self, path: Path, *, patience_s: float = 300.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self._database = Database(path, patience_s=patience_s, sleep=sleep)

    def merge(self, cell_ids: Sequence[str], raw: RawStore) -> MergeReport:
        """Bring the cells up to date with their raw files, all or nothing.

        Only files newer than the last merge are read: the cost follows what changed. Captures that a
        complete crawl no longer returned are removed and tombstoned; an incomplete crawl removes nothing.
        What is on the takedown list is left out, whatever the files hold.
        """
        with self._database.connect() as db:
            return merge_cells(db, cell_ids, raw)

    def takedowns(self) -> Takedowns:
        """The captures that never come back."""
        return Takedowns(self._database)

    def tidy(self) -> DatabaseSpace:
        """Give back what the file does not need; what it takes then."""
        return self._database.tidy()

    def find_captures(self, capture_ids: Sequence[str]) -> pl.DataFrame:
        """Which tables still hold rows of these captures, and in which cell: held_in, capture_id, cell_id."""
        return self.query(
            """select 'captures' as held_in, capture_id, cell_id from captures where list_contains(?, capture_id)
            union all
            select 'embedding_failures', capture_id, cell_id from embedding_failures where list_contains(?, capture_id)
            order by all""",
            [list(capture_ids), list(capture_ids)],
        )

    def captures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Canonical captures of some cells, ordered by capture_id."""
        return self._select("captures", CAPTURE_COLUMNS, cell_ids)

    def images(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Of the captures of some cells, the columns that embedding needs, and `cell_id`."""
        return self._select("captures", IMAGE_COLUMNS, cell_ids)

    def counts_by_cell(self, cell_ids: Sequence[str]) -> dict[str, int]:
        """Captures per cell; cells without one are not in it."""
        counted = self.query(
            "select cell_id, count(*) from captures where cell_id in (select unnest(?::varchar[])) group by cell_id",
            [list(cell_ids)],
        )
        return dict(counted.iter_rows())

    def failures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Embedding failures of some cells, ordered by capture_id."""
        return self._select("embedding_failures", FAILURE_COLUMNS, cell_ids)

    def all_captures(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns of every capture. Name few: of 5 million captures COVERAGE_COLUMNS are 0.9 GB."""
        return self.query(f"select {', '.join(columns)} from captures")  # noqa: S608

    def crawls(self) -> pl.DataFrame:
        """The newest merged crawl of every (source, cell): table `crawl_cells`."""
        return self.query("from crawl_cells order by source, cell_id")

    def crawl_totals(self) -> pl.DataFrame:
        """Per source: its crawled cells, what their crawls took, the newest of them, and what each left out (JSON)."""
        return self.query(
            """select source, count(*) as cells, sum(requests)::bigint as requests,
                      sum(duplicates)::bigint as duplicates, max(crawled_at) as crawled_at,
                      coalesce(list(rejected) filter (rejected <> '{}'), []) as rejected
               from crawl_cells group by source order by source"""
        )

    def size(self) -> tuple[int, int]:
        """How many captures there are, and how many of them are panoramas."""
        captures, panoramas = self.query("select count(*), count_if(is_pano) from captures").row(0)
        return int(captures), int(panoramas)

    def empty_cells(self, source: str) -> pl.Series:
        """The cells in which the last crawl of a source was complete and found nothing."""
        sql = "select cell_id from crawl_cells where source = ? and is_complete and captures = 0"
        return self.query(sql, [source])["cell_id"]

    def cells_to_retry(self, now: datetime) -> pl.Series:
        """The cells with images that failed and may be tried again."""
        return self.query("select distinct cell_id from embedding_failures where next_try_at <= ?", [now])["cell_id"]

    def counts_by_source(self) -> pl.DataFrame:
        """source, cell_id and how many captures of it are in the catalog."""
        return self.query("select source, cell_id, count(*) as captures from captures group by all order by all")

    def losses(self, since: datetime) -> pl.DataFrame:
        """What each source has lost since a moment: source, had, lost; sources that lost nothing are not in it.

        Both count from when the loss began: what had existed just before its first removal after `since`. What was
        taken down is as if it had never been.
        """
        return self.query(
            """with known as (
                select source, first_seen_at, removed_at from capture_history
                where removed_at is null
                   or (removed_at > $1 and capture_id not in (select capture_id from takedowns))
            ), begun as (select source, min(removed_at) as began_at from known group by source)
            select source, count(*) as had, count(removed_at) as lost
            from known join begun using (source) where first_seen_at <= began_at group by source order by source""",
            [since],
        )

    def licenses(self) -> pl.DataFrame:
        """Captures per source, license and whether all of attribution, page link and license are there."""
        return self.query(
            """select source, license, count(*) as captures,
                      count(*) filter (trim(attribution) = '' or trim(page_url) = '') as unattributed
               from captures group by all order by source, license"""
        )

    def attributions(self) -> pl.DataFrame:
        """Captures per source, license and creator, most first, with one of their attribution texts."""
        return self.query("from attribution_summary order by captures desc, source, license, creator")

    def duplicates(self) -> int:
        """Rows beyond the first per (source, source_capture_id); 0 in a sound catalog."""
        found = self.query("select count(*) - count(distinct (source, source_capture_id)) as n from captures")
        return int(found.item())

    def ids(self) -> pl.Series:
        """Every capture_id."""
        return self.query("select capture_id from captures order by capture_id")["capture_id"]

    def failed_ids(self) -> pl.Series:
        """Every capture whose image could not be embedded at the last try."""
        return self.query("select distinct capture_id from embedding_failures")["capture_id"]

    def image_failures(self) -> pl.DataFrame:
        """source, reason, is_final (never tried again) and captures of what could not be embedded at the last try."""
        return self.query(
            """select source, reason, next_try_at is null as is_final, count(distinct capture_id) as captures
            from embedding_failures semi join captures using (capture_id) group by all order by all"""
        )

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
