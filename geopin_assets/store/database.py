"""Short connections to the one DuckDB file.

Not here: its tables (`schema.sql`) or what is asked of them (`lookups.py`, `counts.py`).

DuckDB takes one writing process and no readers beside it: whoever finds the file locked waits, says so
in the log, and tries again. The file is born whole: made with its tables under another name, then put in its place,
since a kill or a full disk in between would leave one that can never be opened again.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from secrets import token_hex

import duckdb
import polars as pl
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_exponential_jitter

from geopin_assets.errors import ConfigurationError, DamagedFileError, TransientError
from geopin_assets.files.atomic import creating
from geopin_assets.files.damage import of_disk
from geopin_assets.files.plain import NotPlainError, refuse_no_file
from geopin_assets.store.keys import sort_keys
from geopin_assets.store.places import list_batches
from geopin_assets.store.reading import WRITING, of_this_process, quoted

SQL = files("geopin_assets.store")
REBUILD = "Move it away and materialize `catalog`: everything in it is made again from the raw files"
_IS_NOT_OLDER = """select captures.batch, capture_history.cell_id
from captures, capture_history, other_sights, removed_captures, generations, thinning, takedowns, crawl_cells,
    unwritten_cells, embedding_failures, failure_files, capture_keys, recent_keys, keyed_crawls,
    cell_batches limit 0"""
"""Names all that `schema.sql` makes."""
_of_this_version: dict[Path, tuple[int, int]] = {}
"""Files that were found to be, as long as they are not written: asking takes about a millisecond of CPU."""
_AT_REST_NS = 100_000_000
"""What was written since has another time: those of files are as coarse as 10 ms."""
_DAMAGE = ("Corrupt database file", "not a valid DuckDB database file", "Could not read enough bytes from file")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseSpace:
    """Bytes of the file, and those of them that the next writes will use before it grows."""

    bytes: int
    unused_bytes: int


class Database:
    """The file at `path`, made by its first use. Safe to use from several processes."""

    def __init__(self, path: Path, *, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self.path = path
        self._patience_s, self._sleep = patience_s, sleep

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """One connection, closed at the end; what the file holds is all or nothing of each transaction.

        Raises TransientError when the file stays locked, StorageFullError, ConfigurationError, and DamagedFileError,
        whatever statement met the trouble; what is wrong with a statement stays DuckDB's own error.
        """
        if "?" in str(self.path):
            raise ConfigurationError(f"no catalog can be kept in {self.path}: DuckDB loses its journal where a ? is")
        try:
            refuse_no_file(self.path)
        except NotPlainError as error:
            raise DamagedFileError(f"the catalog: {error}. {REBUILD}") from error
        if not self.path.exists():
            self._make()
        seen = self._look()
        with self._understood(), ExitStack() as stack:
            db = self._open(stack, read_only)
            if read_only and self._is_older(db, seen):
                stack.close()
                with self.connect():
                    pass  # which brings it up to date
                db = self._open(stack, read_only)
            if not read_only and self._is_older(db, seen):
                _bring_up_to_date(db)
            yield db

    def tidy(self) -> DatabaseSpace:
        """Have keys and batches in order, groups of rows full, all in the file, and no end of that unused; alone."""
        with self.connect() as db:
            sort_keys(db)
            list_batches(db)
            with _all_at_once(db):
                db.execute("checkpoint")
            space = frame(db, "select block_size, total_blocks, free_blocks from pragma_database_size()")
        unused = space["free_blocks"][0] * space["block_size"][0]
        return DatabaseSpace(self.path.stat().st_size, unused)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes it meanwhile, and all that was written is in the file. Raises as `connect` does."""
        with self._understood(), ExitStack() as stack:
            self._open(stack, read_only=False).execute("checkpoint")
            yield

    def _make(self) -> None:
        with creating(self.path) as partial, self._understood():
            try:
                with of_this_process().writing(partial.absolute()) as db:
                    _bring_up_to_date(db)
                    db.execute("checkpoint")  # closing does it too, and says nothing when the disk is full
            finally:
                partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Only what is about the file is its damage: a merge reads other files, whose reader says so itself."""
        try:
            yield
        except duckdb.Error as error:
            what = f"the catalog {self.path}"
            if _is_locked(error):
                raise TransientError(f"{what} stayed locked by another process: {error}") from error
            if meaning := of_disk(error, what):
                raise meaning from error
            if any(said in str(error) for said in _DAMAGE) or isinstance(error, duckdb.FatalException):
                raise DamagedFileError(f"{what} is damaged: {error}. {REBUILD}") from error
            raise

    def _look(self) -> tuple[int, int]:
        """Which file it is, and when it was written last."""
        try:
            file = self.path.stat()
        except FileNotFoundError:  # which DuckDB says next
            return 0, time.time_ns()
        return file.st_ino, file.st_mtime_ns

    def _is_older(self, db: duckdb.DuckDBPyConnection, seen: tuple[int, int]) -> bool:
        """Whether it lacks a table, or the newest columns; asking the lists of both, or making what is there, takes ten
        times as long."""
        if _of_this_version.get(self.path) == seen:
            return False
        try:
            db.execute(_IS_NOT_OLDER)
        except (duckdb.CatalogException, duckdb.BinderException):
            return True
        if time.time_ns() - seen[1] > _AT_REST_NS:
            _of_this_version[self.path] = seen
        return False

    def _open(self, stack: ExitStack, read_only: bool) -> duckdb.DuckDBPyConnection:
        """A connection until `stack` ends."""
        retry = Retrying(
            retry=retry_if_exception(_is_locked),
            stop=stop_after_delay(self._patience_s),
            wait=wait_exponential_jitter(multiplier=0.05, max=2.0),
            sleep=self._sleep,
            before_sleep=before_sleep_log(_log, logging.INFO),
            reraise=True,
        )
        using = of_this_process().reading if read_only else of_this_process().writing
        return retry(lambda: stack.enter_context(using(self.path.absolute())))


@contextmanager
def _all_at_once(db: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Checkpoints fill groups of rows, on all cores."""
    db.execute(f"set max_vacuum_tasks = 100; set threads = {os.cpu_count() or 1}")
    try:
        yield
    finally:
        db.execute("; ".join(f"set {name} = {value}" for name, value in WRITING.items()))


def _bring_up_to_date(db: duckdb.DuckDBPyConnection) -> None:
    """Make what tables there are not, and those of an older version what they are now, keeping what they hold."""
    tables = set(frame(db, "select table_name from duckdb_tables()")["table_name"])
    schema = (SQL / "schema.sql").read_text()
    if "capture_history" in tables:
        before, after = (SQL / "migrate.sql").read_text().split("-- schema.sql\n")
        schema = f"begin; {before} {schema} {after} commit;"
    db.execute(schema)
    if tables and "cell_batches" not in tables:
        list_batches(db)
    if tables and "unwritten_cells" not in tables:
        db.execute("insert into unwritten_cells select distinct cell_id from crawl_cells")
        db.execute("delete from embedding_failures")  # files say it now; what failed before is tried once more


def frame(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
    """The result of one question. Not `.pl()`: that takes pyarrow and numpy, a third of a listing's time.

    With parameters by way of a table: DuckDB makes a Python object of each value of such a relation, 0.6 µs each.
    """
    if parameters:
        db.execute(f"create or replace temp table asked_for as {sql}", list(parameters))
        sql = "from asked_for"
    try:
        return pl.DataFrame(db.sql(sql))
    except pl.exceptions.ComputeError as error:
        raise duckdb.Error(str(error)) from error


@contextmanager
def rows_in_place(db: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Row ids stay what they are meanwhile: a checkpoint, after others of this process wrote, closes gaps of rows."""
    (name,) = db.execute("select current_database()").fetchone() or ("",)
    with db.cursor() as other:
        other.execute(f"use {name}; begin; from crawl_cells limit 1")
        yield


def copy_captures(
    db: duckdb.DuckDBPyConnection, files: Mapping[Path, Sequence[str]], columns: Sequence[str]
) -> pl.DataFrame:
    """Captures of cells into Parquet files, all as of one moment; `crawl_cells` of the same."""
    db.begin()
    for path, cell_ids in files.items():
        chosen = "where cell_id in (select unnest(?::varchar[])) order by cell_id, capture_id"
        found = f"select {', '.join(columns)} from captures {chosen}"  # noqa: S608
        db.execute(f"copy ({found}) to {quoted(path)} (format parquet, row_group_size 16384)", [list(cell_ids)])
    crawled = [cell_id for cell_ids in files.values() for cell_id in cell_ids]
    crawls = frame(db, "from crawl_cells where cell_id in (select unnest(?::varchar[]))", [crawled])
    db.commit()
    return crawls


def _is_locked(error: BaseException) -> bool:
    """DuckDB's own words; the path stands in the message too, and may hold any others."""
    return isinstance(error, duckdb.IOException) and str(error).startswith("IO Error: Could not set lock on file")


def copy_database(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make a database at `path` of all that the connection's holds."""
    (here,), name = db.execute("select current_database()").fetchone() or ("",), f"copy_{token_hex(4)}"
    db.execute(f"attach {quoted(path)} as {name}")
    try:
        db.execute(f"copy from database {here} to {name}")
    finally:
        db.execute(f"detach {name}")
