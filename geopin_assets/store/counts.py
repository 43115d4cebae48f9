"""What reports count in the catalog: captures by cell, source, license and creator, crawls, losses, images without one.

Here: questions over all of it. Not here: what other layers look up (`lookups.py`), or judging (`quality/`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

_SECTOR = "floor(heading_deg % 360 / 45)::integer"
"""Eighths of a turn."""


class Counts(ABC):
    """Whatever answers a query over the tables of `schema.sql`."""

    @abstractmethod
    def query(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Run a read-only query."""

    def coverage(self) -> pl.DataFrame:
        """One row per cell and source, sorted: captures, panos, newest, and heading_sectors, the eighths of a turn that
        are looked into; a panorama looks into all of them."""
        return self.query(
            f"""select cell_id, source, count(*) as captures, count(*) filter (is_pano) as panos,
                       max(captured_at) as newest,
                       if(bool_or(is_pano), 8, coalesce(bit_count(bit_or(1 << {_SECTOR})), 0))::bigint
                       as heading_sectors
                from captures group by cell_id, source order by cell_id, source"""  # noqa: S608
        )

    def tally(self) -> pl.DataFrame:
        """Captures by place (province, region), season (0: winter), year, sector (eighth of a turn) and kind (is_pano):
        all that diversity is judged by, in few rows."""
        return self.query(
            f"""select split_part(cell_id, '-', 1) as province, left(cell_id, -9) as region, -- without "-r090c052"
                       month(captured_at) % 12 // 3 as season, year(captured_at) as year, {_SECTOR} as sector, is_pano,
                       count(*) as captures
                from captures group by all order by all"""  # noqa: S608
        )

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

    def counts_by_source(self) -> pl.DataFrame:
        """source, cell_id and how many captures of it are in the catalog."""
        return self.query("select source, cell_id, count(*) as captures from captures group by all order by all")

    def losses(self, since: datetime, now: datetime | None = None) -> pl.DataFrame:
        """What each source has lost since a moment: source, had, lost; sources that lost nothing are not in it.

        Both count from when the loss began: what had existed just before its first removal after `since`. What was
        taken down is as if it had never been. What was first seen at a time that has not come yet was there before.
        """
        return self.query(
            """with known as (
                select source, first_seen_at, removed_at from capture_history
                where removed_at is null
                   or (removed_at > $1 and capture_id not in (select capture_id from takedowns))
            ), begun as (select source, min(removed_at) as began_at from known group by source)
            select source, count(*) as had, count(removed_at) as lost
            from known join begun using (source)
            where first_seen_at <= began_at or (first_seen_at > $2 and began_at is not null)
            group by source order by source""",
            [since, now or datetime.now(UTC)],
        )

    def licenses(self) -> pl.DataFrame:
        """Captures per source and license, and how many of them lack the text of an attribution or a page link.

        Blank is less than '!': groups of rows whose least text is not are passed over, and none of their texts read.
        """
        return self.query(
            """with bare as (
                select rowid, source, license from captures where attribution < '!' and trim(attribution) = ''
                union select rowid, source, license from captures where page_url < '!' and trim(page_url) = '')
            from (select source, license, count(*) as captures from captures group by all)
            left join (select source, license, count(*) as bare from bare group by all) using (source, license)
            select source, license, captures, coalesce(bare, 0) as unattributed order by source, license"""
        )

    def attributions(self) -> pl.DataFrame:
        """Captures per source, license and creator, most first, with one of their attribution texts."""
        return self.query("from attribution_summary order by captures desc, source, license, creator")

    def duplicates(self) -> int:
        """Rows beyond the first per (source, source_capture_id); 0 in a sound catalog."""
        found = self.query(
            """select coalesce(sum(n - 1), 0)::bigint as n from (
                select count(*) as n from captures
                where id_key in (select id_key from captures group by id_key having count(*) > 1)
                group by source, source_capture_id)"""
        )
        return int(found.item())

    def cell_counts(self) -> dict[str, int]:
        """Captures per cell."""
        return dict(self.query("select cell_id, count(*) from captures group by cell_id").iter_rows())

    def image_failures(self) -> pl.DataFrame:
        """source, reason, is_final (never tried again) and captures of what could not be embedded at the last try."""
        return self.query(
            """select source, reason, next_try_at is null as is_final, count(distinct capture_id) as captures
            from embedding_failures semi join captures using (capture_id) group by all order by all"""
        )
