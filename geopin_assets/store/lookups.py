"""What other layers look up in the catalog: captures of some cells, and what became of captures by their ids.

Here: reads alone, each as of one moment. Not here: what reports count over all of it (`counts.py`), or how the catalog
comes to what it holds (`catalog.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import polars as pl

from geopin_assets.grid import Bbox
from geopin_assets.store.counts import Counts
from geopin_assets.store.database import Database, frame
from geopin_assets.store.failures import FAILURE_COLUMNS
from geopin_assets.store.places import CLOSE, near_cells
from geopin_assets.store.schema import CAPTURE_COLUMNS

IMAGE_COLUMNS = [
    *("capture_id", "cell_id", "source", "source_capture_id", "heading_deg"),
    *("is_pano", "image_url", "image_version"),
]
_IS_WANTED = "not_indexed_because is null"
_WANTED = f"(from captures where {_IS_WANTED})"
"""Those that the index should hold."""
_WITHIN = """and exists (
    select 1 from (select unnest(?::double[]) as west, unnest(?::double[]) as south,
                          unnest(?::double[]) as east, unnest(?::double[]) as north)
    where lon between west and east and lat between south and north)"""


class Lookups(Counts):
    """Of the captures in a database of `schema.sql`; each call is one short connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def captures(
        self, cell_ids: Sequence[str], within: Sequence[Bbox] | None = None, columns: Sequence[str] = CAPTURE_COLUMNS
    ) -> pl.DataFrame:
        """Canonical captures of some cells, ordered by capture_id; of those only what is in one of the boxes."""
        return self._select(columns, cell_ids, within=within)

    def places(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """capture_id and cell_id of the same."""
        return self._select(["capture_id", "cell_id"], cell_ids)

    def wanted(self, cell_ids: Sequence[str], columns: Sequence[str] = IMAGE_COLUMNS) -> pl.DataFrame:
        """Of those that the index should hold some columns, by default what embedding needs."""
        return self._select(columns, cell_ids, _IS_WANTED)

    def counts_by_cell(self, cell_ids: Sequence[str]) -> dict[str, int]:
        """Captures per cell; cells without one are not in it."""
        with self._database.connect(read_only=True) as db:
            close = CLOSE.format(columns="cell_id", is_near=near_cells(db, cell_ids))
            sql = "select cell_id, count(*) from close where cell_id in (select unnest(?::varchar[])) group by all"
            return dict(db.execute(f"{close} {sql}", [list(cell_ids)]).fetchall())

    def size(self, *, are_wanted: bool = False) -> tuple[int, int]:
        """How many captures there are, or should be in the index, and how many of them are panoramas."""
        sql = f"select count(*), count(*) filter (is_pano) from {_WANTED if are_wanted else 'captures'}"  # noqa: S608
        captures, panoramas = self.query(sql).row(0)
        return captures, panoramas

    def ids(self) -> pl.Series:
        """Every capture_id."""
        return self.query("select capture_id from captures order by capture_id")["capture_id"]

    def with_images(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """capture_id and cell_id of wanted captures whose image could be had at the last try, or was not tried yet."""
        had = f"{_IS_WANTED} and capture_id not in (select capture_id from embedding_failures)"  # noqa: S608
        return self._select(["capture_id", "cell_id"], cell_ids, had)

    def cells_with_images(self) -> list[str]:
        """Cells with a wanted capture whose image could be had at the last try, or was not tried yet."""
        sql = f"select distinct cell_id from {_WANTED} anti join embedding_failures using (capture_id)"  # noqa: S608
        return self.query(sql)["cell_id"].to_list()

    def failures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Embedding failures of some cells, ordered by capture_id."""
        columns, those = ", ".join(FAILURE_COLUMNS), "cell_id in (select unnest(?::varchar[])) order by capture_id"
        return self.query(f"select {columns} from embedding_failures where {those}", [list(cell_ids)])  # noqa: S608

    def cells_to_retry(self, now: datetime, longest_wait: timedelta) -> pl.Series:
        """The cells with images that failed and may be tried again; no right clock notes a time beyond the longest."""
        sql = "select distinct cell_id from embedding_failures where next_try_at <= ? or next_try_at > ?"
        return self.query(sql, [now, now + longest_wait])["cell_id"]

    def complete_crawls(self, cell_ids: Sequence[str]) -> set[tuple[str, str]]:
        """(source, cell_id) of merged crawls that found all there was: what they did not find is gone."""
        found = self.query(
            """select source, cell_id from crawl_cells
            where complete_number is not null and cell_id in (select unnest(?::varchar[]))""",
            [list(cell_ids)],
        )
        return set(found.iter_rows())

    def known(self, capture_ids: Sequence[str]) -> set[str]:
        """Those that were ever merged: where one of them is not any more, it left, or moved."""
        sql = "select capture_id from capture_history where capture_id in (select unnest(?::varchar[]))"
        return set(self.query(sql, [list(capture_ids)])["capture_id"])

    def last_seen(self, capture_ids: Sequence[str]) -> dict[str, datetime]:
        """When a crawl last showed captures; those that none ever did are not in it."""
        sql = "select capture_id, last_seen_at from capture_history where list_contains(?, capture_id)"
        found = self._if_there(sql, [list(capture_ids)])
        return {} if found is None else dict(found.iter_rows())

    def in_any_case(self, capture_ids: Sequence[str]) -> dict[str, str]:
        """Captures that were ever merged under one of these ids, written somehow: id in lower case -> as it is."""
        sql = "select lower(capture_id), capture_id from capture_history where list_contains(?, lower(capture_id))"
        found = self._if_there(sql, [[capture_id.lower() for capture_id in capture_ids]])
        return {} if found is None else dict(found.iter_rows())

    def cells_of(self, capture_ids: Sequence[str]) -> list[str]:
        """Where captures are, or were before they were removed."""
        sql = "select distinct cell_id from capture_history where list_contains(?, capture_id) and cell_id is not null"
        found = self._if_there(sql, [list(capture_ids)])
        return [] if found is None else found["cell_id"].to_list()

    def find_captures(self, capture_ids: Sequence[str]) -> pl.DataFrame:
        """Which tables still hold rows of these captures, and in which cell: held_in, capture_id, cell_id."""
        return self.query(
            """select 'captures' as held_in, capture_id, cell_id from captures where list_contains($1, capture_id)
            union all
            select 'other_sights', capture_id, cell_id from other_sights where list_contains($1, capture_id)
            union all
            select 'embedding_failures', capture_id, cell_id from embedding_failures where list_contains($1, capture_id)
            order by all""",
            [list(capture_ids)],
        )

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Several questions to the same pages of the file: what one of them read is not read again by the next."""
        with self._database.connect(read_only=True):
            yield

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Run a read-only query."""
        with self._database.connect(read_only=True) as db:
            return frame(db, sql, parameters)

    def _if_there(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame | None:
        """What a query finds; None where there is no catalog yet."""
        return self.query(sql, parameters) if self._database.path.exists() else None

    def _select(
        self, columns: Sequence[str], cell_ids: Sequence[str], which: str = "true", within: Sequence[Bbox] | None = None
    ) -> pl.DataFrame:
        """Of the captures of some cells those of which that is true. What is asked of other columns comes afterwards:
        DuckDB would read them of all captures."""
        sides = () if within is None else ("west", "south", "east", "north")
        boxes = [[getattr(box, side) for box in within or ()] for side in sides]
        asked = ", ".join(dict.fromkeys([*columns, "capture_id", "cell_id", "lon", "lat", "not_indexed_because"]))
        those = f"cell_id in (select unnest(?::varchar[])) and {which} {_WITHIN if boxes else ''}"
        with self._database.connect(read_only=True) as db:
            close = CLOSE.format(columns=asked, is_near=near_cells(db, cell_ids))
            sql = f"{close} select {', '.join(columns)} from close where {those} order by capture_id"  # noqa: S608
            return frame(db, sql, [list(cell_ids), *boxes])
