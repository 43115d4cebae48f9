"""One look at a folder of own photos: which have a place, where, and why the others have none.

Here: reading headers many at a time, merged with `positions.csv`, and keeping those of a bucket between runs. Not
here: where the folder is, what a header says (`read.py`), captures.

Only headers are read: 64 KiB of a photo hold them nearly always, and of the others more is read. A region is crawled
by many runs, and each looks at the whole bucket: a hundred thousand headers take minutes and as many requests, their
listing seconds and a hundred. So a photo that has not changed is not asked for again. The file that keeps headers is a
help and never a need: whatever is wrong with it, headers are read again. They are forgotten with their photo, and with
the code that read them.
"""

import hashlib
import inspect
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import orjson
import PIL

from geopin_assets import xmp
from geopin_assets.capture import HeadingFrom, PositionFrom, Reason, Rejected
from geopin_assets.errors import ConfigurationError, DamagedFileError, GeoPinError, PermanentError
from geopin_assets.files.sqlite import opened, writing
from geopin_assets.grid import row_column
from geopin_assets.photo_folder import PhotoFile, PhotoFolder, PhotoGoneError
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import clocks, directions, exif, packets, places, read
from geopin_assets.sources.own_photos.directions import along_sequences, to_true_north
from geopin_assets.sources.own_photos.read import HeaderCutError, PhotoHeader, Position, read_header, read_positions

_PATIENCE_S = 10.0
_SCHEMA = """
create table if not exists headers (folder text, name text, version text, header blob, primary key (folder, name));
"""
HEADER_BYTES = (64 * 2**10, 2**20, 8 * 2**20)
"""How much of a file is read for its header, one attempt after the other."""
_FIXES = {True: PositionFrom.DEVICE, False: PositionFrom.LAST_FIX}
_AHEAD = 4  # files asked for, per reader: listing the next page must not leave readers idle
T = TypeVar("T")
R = TypeVar("R")


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
            return (_restored(stored),)
        return None

    def keep(self, file: PhotoFile, header: PhotoHeader | None) -> None:
        if file.version:
            self.new[file.name] = (file.version, orjson.dumps(header))

    def forget_others(self) -> None:
        """The whole folder has been seen: what was not is not there any more."""
        self.gone = self._known.keys() - self._seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """What is asked of positions, by what their receivers say of them."""

    max_error_m: float = 100.0
    """0: whatever it is."""
    needs_fix: bool = False

    def is_met_by(self, header: PhotoHeader) -> bool:
        """Whether a position is good enough."""
        is_near = not self.max_error_m or (header.position_error_m or 0) <= self.max_error_m
        return is_near and (header.has_fix or not self.needs_fix)


EXACT_ENOUGH = Exactness()


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photo that has a place."""

    file: PhotoFile
    lon: float
    lat: float
    position_from: PositionFrom
    position_error_m: float | None
    heading_deg: float | None
    heading_from: HeadingFrom | None
    captured_at: datetime | None
    header: PhotoHeader


@dataclass(slots=True)
class Scan:
    """Photos by (row, column), files with no place in the grid, and the photo whose name comes first."""

    by_cell: defaultdict[tuple[int, int], list[Photo]] = field(default_factory=lambda: defaultdict(list))
    unplaced: list[Rejected] = field(default_factory=list)
    first: Photo | None = None
    lost: set[str] = field(default_factory=set)
    """Subfolders that could not be read: what is in them may be in any cell."""

    def add(self, photo: Photo) -> None:
        """Sort in a photo."""
        if (place := row_column(photo.lon, photo.lat)) is None:
            self.unplaced.append(Rejected(Reason.OUTSIDE_CELL, photo.file.name))
        else:
            self.first = photo if self.first is None or photo.file.name < self.first.file.name else self.first
            self.by_cell[place].append(photo)


def scan(folder: PhotoFolder, now: datetime, memory: Memory, exactness: Exactness = EXACT_ENOUGH) -> Scan:
    """Read the headers of all photos that the memory does not have.

    Raises TransientError or PermanentError if the folder cannot be read.
    """
    positions, unusable = read_positions(folder)
    found, unseen = Scan(unplaced=unusable), set(positions)
    photos: list[Photo] = []

    def look_at(file: PhotoFile) -> Photo | Rejected:
        return read_photo(folder, file, positions.get(file.name, Position()), now, memory, exactness)

    for file, photo in _ahead(look_at, folder.photos(found.lost.add), folder.readers):
        unseen.discard(file.name)
        if isinstance(photo, Photo):
            photos.append(photo)
        else:
            found.unplaced.append(photo)
    for photo in along_sequences(photos):
        found.add(photo)
    memory.forget_others()
    found.unplaced += [Rejected(Reason.NO_IMAGE, name) for name in unseen]
    found.unplaced.sort(key=lambda rejected: rejected.record)
    return found


def read_photo(
    folder: PhotoFolder,
    file: PhotoFile,
    stated: Position,
    now: datetime,
    memory: Memory,
    exactness: Exactness = EXACT_ENOUGH,
) -> Photo | Rejected:
    """One file with what `positions.csv` states about it; Rejected if it is no JPEG, has no place or went away."""
    if not fields.source_id(file.name[:200]):
        return Rejected(Reason.UNREADABLE, ascii(file.name))
    try:
        file, header = _remembered(folder, file, memory)
    except PhotoGoneError:
        return Rejected(Reason.NO_IMAGE, file.name)
    except ConfigurationError:
        raise
    except PermanentError:
        return Rejected(Reason.UNREADABLE, file.name)
    return _placed(file, header, stated, now, exactness) if header else Rejected(Reason.UNREADABLE, ascii(file.name))


def _remembered(folder: PhotoFolder, file: PhotoFile, memory: Memory) -> tuple[PhotoFile, PhotoHeader | None]:
    if (known := memory.recall(file)) is not None:
        return file, known[0]
    file, header = _header(folder, file)
    memory.keep(file, header)
    return file, header


def _header(folder: PhotoFolder, file: PhotoFile) -> tuple[PhotoFile, PhotoHeader | None]:
    """The header, and the file as it was when that was read: each attempt reads it from the start, in one piece."""
    for size in HEADER_BYTES:
        file, data = folder.head(file, size)
        try:
            return file, read_header(data)
        except HeaderCutError:
            if len(data) < size:
                break  # that was all of it
    return file, None


def _placed(
    file: PhotoFile, header: PhotoHeader, stated: Position, now: datetime, exactness: Exactness
) -> Photo | Rejected:
    place = stated.place or header.position
    if place is None:
        return Rejected(Reason.BAD_COORDINATES if header.has_position else Reason.NO_POSITION, file.name)
    if not stated.place and not exactness.is_met_by(header):
        return Rejected(Reason.INEXACT, file.name)
    times = (fields.plausible(time, now) for time in (stated.captured_at, *header.clocks))
    captured_at = next(filter(None, times), None)
    heading_deg, heading_from = header.heading_deg, header.heading_from
    if stated.heading_deg is not None:
        heading_deg, heading_from = stated.heading_deg, HeadingFrom.OWNER
    elif heading_deg is not None and header.is_magnetic:
        heading_deg = to_true_north(heading_deg, *place, captured_at or now)
        heading_from = HeadingFrom.MAGNETIC if heading_from == HeadingFrom.DEVICE else heading_from
    return Photo(
        file=file,
        lon=place[0],
        lat=place[1],
        position_from=PositionFrom.OWNER if stated.place else _FIXES[header.has_fix],
        position_error_m=None if stated.place else header.position_error_m,
        heading_deg=heading_deg,
        heading_from=heading_from,
        captured_at=captured_at,
        header=header,
    )


def _ahead(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """`work` of each item in threads, in order; items are taken only a little ahead of what is yielded."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > _AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


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


def _restored(stored: bytes) -> PhotoHeader | None:
    found = orjson.loads(stored)
    if found is None:
        return None
    return replace(
        PhotoHeader(**found),
        position=tuple(found["position"]) if found["position"] else None,
        heading_from=HeadingFrom(found["heading_from"]) if found["heading_from"] else None,
        clocks=tuple(map(datetime.fromisoformat, found["clocks"])),
    )


@cache
def _reader() -> str:
    """Changes with the code that reads headers, so that a correction there reaches every photo."""
    modules = (read, exif, clocks, directions, packets, places, xmp, fields)
    code = "".join(map(inspect.getsource, modules)) + PIL.__version__
    return hashlib.sha256(code.encode()).hexdigest()[:16]
