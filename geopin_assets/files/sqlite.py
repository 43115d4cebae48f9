"""The one way an SQLite file is opened: for a moment, by any number of threads and processes at once.

Here: opening, one transaction, and what SQLite's errors mean. Not here: tables; whoever opens a file brings its schema.

Connections are in autocommit mode and short. Readers go on while one writes (WAL); writers wait for each other, up to
a timeout, at the beginning of a transaction and so never in its middle.
"""

import logging
import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from geopin_assets.errors import (
    ConfigurationError,
    DamagedFileError,
    GeoPinError,
    StorageFullError,
    TransientError,
)
from geopin_assets.files.damage import writing as writing_on_disk

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0
_OF_DAMAGE = ("Could not decode to UTF-8", "unsupported file format")
"""What Python or SQLite says of a damaged file without a code that tells it from a wrong statement."""
_log = logging.getLogger(__name__)


@contextmanager
def opened(
    path: Path, schema: str = "", *, is_durable: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Iterator[sqlite3.Connection]:
    """A connection, closed at the end; the file is made by its first use, `schema` (`… if not exists`) run each time.

    Not durable: a power cut may take the last transactions or the file, for budgets and caches that are opened for
    every request (0.3 ms instead of 10). What is mounted to be read only is read, as it is. Raises TransientError if
    others write longer than the timeout or the disk is full, DamagedFileError, ConfigurationError where nothing may be
    written; what is wrong with a statement stays sqlite3's own error.
    """
    with writing_on_disk(str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
    is_fixed = _is_fixed(path)
    place = f"{path.resolve().as_uri()}?immutable=1" if is_fixed else path
    try:
        with closing(sqlite3.connect(place, timeout=busy_timeout_s, isolation_level=None, uri=is_fixed)) as connection:
            if not is_fixed:
                connection.execute("pragma journal_mode = wal" if is_durable else "pragma synchronous = off")
                connection.executescript(schema)
            yield connection
    except sqlite3.Error as error:
        if known := meaning(path, error):
            raise known from error
        raise
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot make sense of
        raise DamagedFileError(f"{path}: not a sound database: {error.reason}") from error


def _is_fixed(path: Path) -> bool:
    """Whether it can only be read, and all that was written is in it: then nothing is needed beside it."""
    if not path.is_file() or not os.statvfs(path).f_flag & os.ST_RDONLY:
        return False
    journal = path.with_name(f"{path.name}-wal")
    return not (journal.exists() and journal.stat().st_size)


def serialized(path: Path) -> bytes:
    """What the database is, as the content of one file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.serialize()


def complaints(path: Path, most: int = 3) -> list[str]:
    """What SQLite finds wrong with a file, empty if nothing; changes nothing.

    Raises TransientError or ConfigurationError where it cannot tell: reading a file takes room for another beside it.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            said = [text for (text,) in connection.execute(f"pragma quick_check({most:d})")]
            if said == ["ok"]:
                _read_all(connection)
    except UnicodeDecodeError as error:
        said = [str(error)]
    except sqlite3.DatabaseError as error:
        known = meaning(path, error)
        if known and not isinstance(known, DamagedFileError) and path.is_file() and not _is_unread(error):
            raise known from error
        said = [str(error)]
    return [] if said == ["ok"] else said


def _read_all(connection: sqlite3.Connection) -> None:
    """SQLite itself does not care whether text is UTF-8."""
    for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
        deque(connection.execute(f'select * from "{table}"'), maxlen=0)  # noqa: S608


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction: all or nothing, and nobody else writes from its beginning on."""
    connection.execute("begin immediate")
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@contextmanager
def transaction(path: Path, schema: str = "", *, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
    """`opened` for a single transaction."""
    with opened(path, schema, is_durable=is_durable) as connection, writing(connection):
        yield connection


def meaning(path: Path, error: sqlite3.Error) -> GeoPinError | None:
    """The project's error for what is wrong with the file; None for what is wrong with a statement."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the plain code of an extended one
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TransientError(f"{path.name}: {error}; another process is writing")
        case sqlite3.SQLITE_FULL:
            return StorageFullError(f"{path}: {error}")
        case sqlite3.SQLITE_IOERR:
            return TransientError(f"{path}: {error}; is there space left?")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DamagedFileError(f"{path}: {error}")
        case 0 | sqlite3.SQLITE_ERROR if str(error).startswith(_OF_DAMAGE):
            return DamagedFileError(f"{path}: {error}")
        case sqlite3.SQLITE_CANTOPEN if _may_write(path):
            return TransientError(f"{path}: {error}; is there space left?")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return ConfigurationError(f"{path}: {error}; may this user write there?")
    return None


def _is_unread(error: sqlite3.Error) -> bool:
    """Whether the disk does not give what is in the file."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)


def _may_write(path: Path) -> bool:
    return not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
