"""The catalog: the canonical captures in DuckDB, merged from the raw files of every source.

Here: the few reads and writes that other layers need. The tables are in `schema.sql`. Not here: connections
(`database.py`), what reports count (`counts.py`), the merge itself (`merge.py`), crawling, embedding, publishing.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from uuid import uuid4

import duckdb
import polars as pl

from geopin_assets.errors import StaleCatalogError
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.grid import Bbox
from geopin_assets.installation import Mark
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.counts import Counts
from geopin_assets.store.database import Database, DatabaseSpace, copy_captures, copy_database, frame
from geopin_assets.store.failures import FAILURE_COLUMNS, follow_failures
from geopin_assets.store.merge import MergeReport, merge_cells, replace_takedowns
from geopin_assets.store.pending import unmerged_cells, unwritten_cells
from geopin_assets.store.places import near_cells
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import CAPTURE_COLUMNS
from geopin_assets.store.takedowns import TAKEDOWN_SCHEMA, TAKEDOWNS, Takedowns

IMAGE_COLUMNS = [
    *("capture_id", "cell_id", "source", "source_capture_id", "heading_deg"),
    *("is_pano", "image_url", "image_version"),
]
REBUILD = "`geopin merge` makes it anew from the raw files, and sets this one aside"
_IS_WANTED = "not_indexed_because is null"
_WANTED = f"(from captures where {_IS_WANTED})"
"""Those that the index should hold."""
_WITHIN = """and exists (
    select 1 from (select unnest(?::double[]) as west, unnest(?::double[]) as south,
                          unnest(?::double[]) as east, unnest(?::double[]) as north)
    where lon between west and east and lat between south and north)"""
_NEWEST = "select installation_id, generation, merge_id from generations order by generation desc limit 1"


class Catalog(Counts):
    """The DuckDB file at `path`. Safe to use from several processes; each call is one short connection."""

    def __init__(
        self,
        path: Path,
        takedowns: Takedowns | None = None,
        cells: CellFiles | None = None,
        *,
        patience_s: float = 300.0,
        thin_m: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`takedowns`: the list that is kept out, by default beside the catalog. `cells`: what follows it."""
        self._database = Database(path, patience_s=patience_s, sleep=sleep)
        self._takedowns = takedowns or Takedowns(path.with_name(TAKEDOWNS))
        self._cells = cells
        self._thin_m, self._clock = thin_m, clock

    def merge(self, cell_ids: Sequence[str], raw: RawStore) -> MergeReport:
        """Bring the cells up to date with their raw files, some at a time, each of them whole or not at all.

        Only files of other crawls than were merged before are read: the cost follows what changed. Captures that a
        complete crawl no longer returned are removed and tombstoned; an incomplete crawl removes nothing.
        What is on the takedown list is left out, whatever the files hold. Another `thin_m` changes every cell.

        Raises StaleCatalogError for the catalog of another installation.
        """
        with self._database.connect() as db:
            self._apply_takedowns(db)
            self._count_generation(db)
            report = merge_cells(db, cell_ids, raw, self._clock(), self._thin_m)
            self._note_lost_files(db, cell_ids)
            self._write_cells(db)
            return report

    def unmerged(self, raw: RawStore, before: datetime | None = None, source: str = "") -> dict[str, set[str]]:
        """The cells whose raw files hold something that was not merged, and of which sources these are.

        Without a source those whose own file is not there. `before`: what was crawled later has time. `source`: only
        what is of this one. Lists all files, and reads the ends of those that changed since somebody last did; nobody
        waits for that.
        """
        accounts = {
            cell: account
            for cell, account in raw.accounts(source).items()
            if not (before and account and account.crawled_at and account.crawled_at >= before)
        }
        with self._database.connect(read_only=True) as db:
            found = unmerged_cells(db, accounts)
            merged = {
                cell_id
                for (cell_id,) in db.execute(
                    "select distinct cell_id from crawl_cells where source = $1 or $1 = ''", [source]
                ).fetchall()
            }
        lost = merged - self._cells.there(merged) if self._cells else set()
        return {cell_id: set() for cell_id in sorted(lost)} | found

    def mark(self) -> Mark | None:
        """The newest merge; None before anything was merged, and until `continue_from`."""
        return self.compared([])[0]

    def compared(self, seen: Sequence[Mark]) -> tuple[Mark | None, list[Mark]]:
        """The newest merge as `mark` says it, and those of `seen` that did not lead to this catalog."""
        found = self._if_there(
            """from generations where list_contains(?, merge_id)
            or generation = (select max(generation) from generations) order by generation desc""",
            [[mark.merge_id for mark in seen]],
        )
        if found is None or found.is_empty():
            return None, [*seen]
        known = set(found["merge_id"])
        return Mark.of(found.row(0, named=True)), [mark for mark in seen if mark.merge_id not in known]

    def is_empty(self) -> bool:
        """Whether no crawl was ever merged into it: it was just made, whatever there may have been before."""
        found = self._if_there("select 1 from crawl_cells limit 1")
        return found is None or found.is_empty()

    def continue_from(self, installation_id: str, marks: Sequence[Mark]) -> None:
        """Take these merges for its own: what they merged is in this catalog too."""
        last = max([0, *(mark.generation for mark in marks)])
        with self._database.connect() as db:
            db.begin()
            for mark in marks:
                db.execute(
                    "insert into generations values (?, ?, ?)", [installation_id, mark.generation, mark.merge_id]
                )
            db.execute("insert into generations values (?, ?, ?)", [installation_id, last + 1, uuid4().hex])
            db.commit()

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

    def takedowns(self) -> Takedowns:
        """The captures that never come back."""
        return self._takedowns

    def apply_takedowns(self) -> None:
        """Restore the list where a copy of it holds more, and have nothing here that is on it. Makes no catalog.

        Files of cells that a killed merge, or one from before there were such files, left unwritten are written too.
        """
        self._takedowns.adopt(here := self._listed_here())
        self._takedowns.sync()
        if self._database.path.exists() and (self._lacks_files() or not self._takedowns.listed().equals(here)):
            with self._database.connect() as db:
                self._apply_takedowns(db)
                self._write_cells(db)

    def _lacks_files(self) -> bool:
        found = self._if_there("from unwritten_cells limit 1")
        return self._cells is not None and found is not None and not found.is_empty()

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

    def copy_to(self, path: Path) -> None:
        """Another database with all that it holds now, without the room that nothing uses."""
        with self._database.connect(read_only=True) as db:
            copy_database(db, path)

    def tidy(self) -> DatabaseSpace:
        """Give back what the file does not need; what it takes then."""
        return self._database.tidy()

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
            sql = f"""with close as materialized (select cell_id from captures where {near_cells(db, cell_ids)})
                      select cell_id, count(*) from close where cell_id in (select unnest(?::varchar[])) group by all"""  # noqa: S608
            return dict(db.execute(sql, [list(cell_ids)]).fetchall())

    def failures(self, cell_ids: Sequence[str]) -> pl.DataFrame:
        """Embedding failures of some cells, ordered by capture_id."""
        columns, those = ", ".join(FAILURE_COLUMNS), "cell_id in (select unnest(?::varchar[])) order by capture_id"
        return self.query(f"select {columns} from embedding_failures where {those}", [list(cell_ids)])  # noqa: S608

    def size(self, *, are_wanted: bool = False) -> tuple[int, int]:
        """How many captures there are, or should be in the index, and how many of them are panoramas."""
        sql = f"select count(*), count(*) filter (is_pano) from {_WANTED if are_wanted else 'captures'}"  # noqa: S608
        captures, panoramas = self.query(sql).row(0)
        return captures, panoramas

    def cells_to_retry(self, now: datetime, longest_wait: timedelta) -> pl.Series:
        """The cells with images that failed and may be tried again; no right clock notes a time beyond the longest."""
        sql = "select distinct cell_id from embedding_failures where next_try_at <= ? or next_try_at > ?"
        return self.query(sql, [now, now + longest_wait])["cell_id"]

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

    def follow_failures(self, objects: ObjectStore) -> None:
        """Have the table of embedding failures say what the files of all cells say; those that changed are read."""
        if not self._database.path.exists():
            return
        stored = {PurePosixPath(one.key).stem: one for one in objects.look()[1] if one.key.endswith(".parquet")}
        known = dict(self.query("from failure_files").iter_rows())
        changed = [cell_id for cell_id, one in stored.items() if known.get(cell_id) != one.version]
        if changed or known.keys() - stored.keys():
            with self._database.connect() as db:
                follow_failures(db, objects, {cell_id: stored[cell_id] for cell_id in changed}, known.keys() - stored)
                self._write_cells(db)

    def snapshot(self, files: Mapping[Path, Sequence[str]], columns: Sequence[str]) -> pl.DataFrame:
        """Write captures of cells to Parquet files, by cell and capture, all as of one moment; `crawl_cells` of then.

        Takes 1 GB at most, and what does not fit on the disk beside the catalog.
        """
        with self._database.connect(read_only=True) as db:
            return copy_captures(db, files, columns)

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

    def _listed_here(self) -> pl.DataFrame:
        found = self._if_there("from takedowns order by taken_down_at, capture_id")
        return (TAKEDOWN_SCHEMA.to_frame() if found is None else found).cast(TAKEDOWN_SCHEMA)

    def _apply_takedowns(self, db: duckdb.DuckDBPyConnection) -> None:
        """The table is a copy of the list too: what only it holds goes on the list first."""
        held = frame(db, "from takedowns order by taken_down_at, capture_id").cast(TAKEDOWN_SCHEMA)
        self._takedowns.adopt(held)
        self._takedowns.sync()
        listed = self._takedowns.listed()
        if not listed.equals(held):
            replace_takedowns(db, listed, self._clock())

    def _note_lost_files(self, db: duckdb.DuckDBPyConnection, cell_ids: Sequence[str]) -> None:
        """Of these cells, files that were there once."""
        if self._cells is not None:
            lost = sorted(set(cell_ids) - self._cells.there(cell_ids))
            sql = "insert into unwritten_cells select distinct cell_id from crawl_cells where list_contains(?, cell_id)"
            db.execute(sql, [lost])

    def _write_cells(self, db: duckdb.DuckDBPyConnection) -> None:
        """Have the files of cells follow. A kill in between leaves the cells on the list of the next merge."""
        if self._cells is None:
            return
        written = list(self._cells.write(unwritten_cells(db)))
        db.execute("delete from unwritten_cells")
        if written and (row := db.execute(_NEWEST).fetchone()):
            self._cells.put_mark(Mark(*row))

    def _count_generation(self, db: duckdb.DuckDBPyConnection) -> None:
        """Write the merge down. One that was never marked, as it was just made or is older than this, is not counted
        until it is known to continue what was there (`continue_from`)."""
        found = frame(db, "from generations order by generation desc limit 1")
        if found.is_empty():
            return
        mark = Mark.of(found.row(0, named=True))
        if mark.installation_id != self._takedowns.installation_id(candidate=mark.installation_id):
            raise StaleCatalogError(f"the catalog {self._database.path} is another installation's: {REBUILD}")
        row = [mark.installation_id, mark.generation + 1, uuid4().hex]
        db.execute("insert into generations values (?, ?, ?)", row)

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
            sql = f"""with close as materialized (select {asked} from captures where {near_cells(db, cell_ids)})
                      select {", ".join(columns)} from close where {those} order by capture_id"""  # noqa: S608
            return frame(db, sql, [list(cell_ids), *boxes])
