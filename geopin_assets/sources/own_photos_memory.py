"""Headers of photos in a bucket, kept between runs: a photo that has not changed is not asked for again.

A region is crawled by many runs, and each looks at the whole bucket: a hundred thousand headers take minutes and as
many requests, their listing seconds and a hundred. Here: the file of headers. Not here: reading them.

It is a help and never a need: whatever is wrong with the file, headers are read again. They are forgotten with their
photo, and with the code that read them.
"""

import hashlib
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import orjson
import PIL

from geopin_assets.errors import DamagedFileError, GeoPinError
from geopin_assets.files.sqlite import opened, writing
from geopin_assets.photo_folder import PhotoFile
from geopin_assets.sources import exif, fields
from geopin_assets.sources.exif import PhotoHeader

_PATIENCE_S = 10.0
_SCHEMA = """
create table if not exists headers (folder text, name text, version text, header blob, primary key (folder, name));
"""


class Memory:
    """Headers by name and version. What is not asked for again until `forget_others` is forgotten then."""

    def __init__(self, known: dict[str, tuple[str, bytes]]) -> None:
        self._known = known
        self.new: dict[str, tuple[str, bytes]] = {}
        self.gone: set[str] = set()
        self._seen: set[str] = set()

    def recall(self, file: PhotoFile) -> tuple[PhotoHeader | None] | None:
        """What was read of this very content: its header, or None in its place if it has none. None: never read."""
        self._seen.add(file.name)
        version, stored = self._known.get(file.name, ("", b""))
        if not file.version or file.version != version:
            return None
        with suppress(ValueError, TypeError, KeyError):
            return (_header(stored),)
        return None

    def keep(self, file: PhotoFile, header: PhotoHeader | None) -> None:
        if file.version:
            self.new[file.name] = (file.version, orjson.dumps(header))

    def forget_others(self) -> None:
        """The whole folder has been seen: what was not is not there any more."""
        self.gone = self._known.keys() - self._seen


@contextmanager
def remembered(path: Path | None, folder: str) -> Iterator[Memory]:
    """The memory of one folder, stored at the end, after an error too; without a path nothing is kept."""
    folder = f"{folder} {_reader()}"
    memory = Memory(_load(path, folder) if path and path.is_file() else {})
    try:
        yield memory
    finally:
        if path and (memory.new or memory.gone):
            _save(path, folder, memory)


def _load(path: Path, folder: str) -> dict[str, tuple[str, bytes]]:
    with suppress(sqlite3.Error, GeoPinError), opened(path, is_durable=False, busy_timeout_s=_PATIENCE_S) as db:
        rows = db.execute("select name, version, header from headers where folder = ?", (folder,))
        return {name: (version, header) for name, version, header in rows}
    return {}


def _save(path: Path, folder: str, memory: Memory) -> None:
    """Store what is new, and drop what is gone and what other code read; a damaged file is begun anew."""
    for _ in range(2):
        try:
            with opened(path, _SCHEMA, is_durable=False, busy_timeout_s=_PATIENCE_S) as db, writing(db):
                db.execute("delete from headers where folder not like ?", (f"% {_reader()}",))
                db.executemany("delete from headers where folder = ? and name = ?", ((folder, n) for n in memory.gone))
                db.executemany(
                    "insert or replace into headers values (?, ?, ?, ?)",
                    ((folder, name, version, header) for name, (version, header) in memory.new.items()),
                )
            return
        except DamagedFileError:
            path.unlink(missing_ok=True)
        except (sqlite3.Error, GeoPinError):
            return  # busy, or a disk that is full: the next run tries again


def _header(stored: bytes) -> PhotoHeader | None:
    found = orjson.loads(stored)
    if found is None:
        return None
    header, place, time = PhotoHeader(**found), found["position"], found["captured_at"]
    return replace(
        header,
        position=(place[0], place[1]) if place else None,
        captured_at=datetime.fromisoformat(time) if time else None,
    )


@cache
def _reader() -> str:
    """Changes with the code that reads headers, so that a correction there reaches every photo."""
    code = inspect.getsource(exif) + inspect.getsource(fields) + PIL.__version__
    return hashlib.sha256(code.encode()).hexdigest()[:16]
