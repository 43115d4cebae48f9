"""Short connections to the one DuckDB file.

Not here: its tables (`schema.sql`) or what is asked of them (`catalog.py`).

DuckDB takes one writing process and no readers beside it: whoever finds the file locked waits, says so
in the log, and tries again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_exponential_jitter

from geopin_assets.errors import TransientError

SQL = files("geopin_assets.store")
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
        """One connection, closed at the end. Raises TransientError when the file stays locked."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            read_only = False
        db = self._open(read_only)
        try:
            db.execute("set TimeZone = 'UTC'")
            if not read_only:
                db.execute((SQL / "schema.sql").read_text())
            yield db
        finally:
            db.close()

    def tidy(self) -> DatabaseSpace:
        """Write everything into the file and shorten it where its end is unused. As any write, alone."""
        with self.connect() as db:
            db.execute("checkpoint")
            space = frame(db, "select block_size, total_blocks, free_blocks from pragma_database_size()")
        unused = space["free_blocks"][0] * space["block_size"][0]
        return DatabaseSpace(self.path.stat().st_size, unused)

    def _open(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        retry = Retrying(
            retry=retry_if_exception(_is_locked),
            stop=stop_after_delay(self._patience_s),
            wait=wait_exponential_jitter(multiplier=0.05, max=2.0),
            sleep=self._sleep,
            before_sleep=before_sleep_log(_log, logging.INFO),
            reraise=True,
        )
        try:
            return retry(duckdb.connect, str(self.path), read_only=read_only)
        except duckdb.IOException as error:
            raise TransientError(f"the catalog {self.path.name} stayed locked by another process: {error}") from error


def frame(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
    """The result of one statement."""
    return db.sql(sql, params=list(parameters)).pl()


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and "lock" in str(error)
