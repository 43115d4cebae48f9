"""What errors about our own files mean: a full disk, a place that may not be written, damage.

Here: the one table from what the operating system, polars, pyarrow and DuckDB say to the project's errors, and the
name under which a damaged file is set aside. Not here: what is made anew (whoever owns the file decides: a cell's
file is, a ledger never silently), SQLite's codes (`sqlite.py`), or S3's answers (`object_store.py`).
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePath

from geopin_assets.errors import ConfigurationError, DamagedFileError, GeoPinError, StorageFullError, TransientError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_READERS = {"polars", "pyarrow", "duckdb", "_duckdb", "orjson", "pyo3_runtime"}
"""The last is how libraries in Rust give up, polars on a footer's broken UTF-8: no `Exception`, but damage as well."""
_NOT_ABOUT_FILES = {"BinderException", "CatalogException", "ConstraintException", "ParserException", "SyntaxException"}
_LONGEST = 300
_SET_ASIDE, _ASIDE_AT = ".damaged-", "%Y%m%dT%H%M%S"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Read a file of ours: whatever the libraries cannot make sense of is a DamagedFileError that names `what`.

    Raises StorageFullError, ConfigurationError or TransientError where it is the disk's fault. Keep what is inside
    short: a mistake of ours in there would look like damage. A file that is not there stays FileNotFoundError.
    """
    try:
        yield
    except (GeoPinError, FileNotFoundError):
        raise
    except BaseException as error:
        if meaning := of_disk(error, what) or _of_reader(error, what):
            raise meaning from error
        raise


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Write a file of ours: what the disk refuses becomes the project's error, whichever library met it."""
    try:
        yield
    except (GeoPinError, FileNotFoundError):
        raise
    except Exception as error:
        if meaning := of_disk(error, what):
            raise meaning from error
        raise


def of_disk(error: BaseException, what: str) -> GeoPinError | None:
    """The project's error for what the operating system said, to us or to a library; None if it said nothing.

    Libraries pass the code on (pyarrow), or only the words, with it (polars, "os error 28") or without (DuckDB).
    """
    code, text = getattr(error, "errno", None), str(error)
    if code in _FULL or _says(text, _FULL):
        return StorageFullError(f"{what}: no space left; free some and repeat, nothing that was there is lost")
    if code in _REFUSED or _says(text, _REFUSED):
        return ConfigurationError(f"{what}: {_short(error)}; may this user read and write there?")
    if (code is not None and isinstance(error, OSError)) or _says(text, {errno.EIO}):
        return TransientError(f"{what}: {_short(error)}")
    return None


def aside(name: str) -> str:
    """Another name for a damaged file, which keeps it out of everyone's way."""
    return f"{name}{_SET_ASIDE}{datetime.now(UTC):{_ASIDE_AT}}-{secrets.token_hex(2)}"


def set_aside_before(names: Iterable[str], moment: datetime) -> Iterator[str]:
    """Those of the names that damaged files got before a moment."""
    for name in names:
        with suppress(ValueError):
            told = name.rpartition(_SET_ASIDE)[2].partition("-")[0]
            if datetime.strptime(told, _ASIDE_AT).replace(tzinfo=UTC) < moment:
                yield name


def is_aside(path: PurePath) -> bool:
    """Whether a file was set aside."""
    return _SET_ASIDE in path.name


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file, with what a database keeps beside it; None if another process was faster."""
    place = path.with_name(aside(path.name))
    try:
        path.rename(place)
        with suppress(OSError):  # a link that leads to itself
            place.touch()  # from now on it is this old
    except FileNotFoundError:
        return None
    for suffix in ("-wal", "-shm", "-journal", ".wal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(place.with_name(place.name + suffix))
    return place


def _of_reader(error: BaseException, what: str) -> GeoPinError | None:
    library = type(error).__module__.partition(".")[0]
    if library in _READERS and type(error).__name__ not in _NOT_ABOUT_FILES:
        return DamagedFileError(f"{what}: {_short(error)}")
    # pyarrow says "CRC checksum verification failed" with an OSError that has no code, and lets Python meet what should
    # have been the name of a column
    of_pyarrow = isinstance(error, OSError | UnicodeDecodeError)
    return DamagedFileError(f"{what}: {_short(error)}") if of_pyarrow else None


def _says(text: str, codes: set[int]) -> bool:
    return any(os.strerror(code) in text for code in codes)


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("\n", 1)[0][:_LONGEST]
