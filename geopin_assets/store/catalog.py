"""The catalog: the canonical captures in DuckDB, merged from the raw files of every source.

Here: what changes it, which merge it is of, and copies. The tables are in `schema.sql`. Not here: connections
(`database.py`), what others look up (`lookups.py`) and reports count (`counts.py`) in it, the merge itself
(`merge.py`), crawling, embedding, publishing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from uuid import uuid4

import duckdb
import polars as pl

from geopin_assets.errors import StaleCatalogError
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.installation import Mark
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.database import Database, DatabaseSpace, copy_captures, copy_database, frame
from geopin_assets.store.failures import follow_failures
from geopin_assets.store.lookups import Lookups
from geopin_assets.store.merge import MergeReport, merge_cells, replace_takedowns
from geopin_assets.store.pending import unmerged_cells, unwritten_cells
from geopin_assets.store.raw import RawStore
from geopin_assets.store.takedowns import TAKEDOWN_SCHEMA, TAKEDOWNS, Takedowns

REBUILD = "`geopin merge` makes it anew from the raw files, and sets this one aside"
_NEWEST = "select installation_id, generation, merge_id from generations order by generation desc limit 1"


class Catalog(Lookups):
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
        super().__init__(Database(path, patience_s=patience_s, sleep=sleep))
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

    def copy_to(self, path: Path) -> None:
        """Another database with all that it holds now, without the room that nothing uses."""
        with self._database.connect(read_only=True) as db:
            copy_database(db, path)

    def tidy(self) -> DatabaseSpace:
        """Give back what the file does not need; what it takes then."""
        return self._database.tidy()

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
