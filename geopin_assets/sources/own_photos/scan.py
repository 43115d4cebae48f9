"""One look at a folder of own photos: which have a place, where, and why the others have none.

Here: which files are photos, reading their headers many at a time, merged with what is stated beside them, and keeping
those of a bucket between runs. Not here: where the folder is, what a header says (`read.py`), what else states where a
photo was taken (`survey.py`), captures.

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
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar

import orjson
import PIL

from geopin_assets import sphere, xmp
from geopin_assets.capture import HeadingFrom, PositionFrom, Reason, Rejected
from geopin_assets.errors import ConfigurationError, DamagedFileError, GeoPinError, PermanentError
from geopin_assets.files.sqlite import opened, writing
from geopin_assets.grid import row_column
from geopin_assets.photo_folder import Lost, PhotoClosedError, PhotoFile, PhotoFolder, PhotoGoneError
from geopin_assets.photo_folder.names import NOT_READ, Ignored, is_photo, raw_of_others, suffix
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import clocks, directions, exif, packets, places, read
from geopin_assets.sources.own_photos.directions import along_sequences, to_true_north
from geopin_assets.sources.own_photos.read import HeaderCutError, PhotoHeader, read_header
from geopin_assets.sources.own_photos.stated import Position
from geopin_assets.sources.own_photos.survey import Survey, is_beside, read_survey

_PATIENCE_S = 10.0
_SCHEMA = """
create table if not exists headers (folder text, name text, version text, header blob, primary key (folder, name));
"""
HEADER_BYTES = (64 * 2**10, 2**20, 8 * 2**20, 32 * 2**20)
"""How much of a file is read for its header, one attempt after the other; more is not embedded either."""
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
    stated_in: str = ""
    """Which row places it, if one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the owner states about the folder as a whole."""

    ignored: Ignored = field(default_factory=Ignored)
    crs: str = ""
    """Of coordinates in tables that state none, `EPSG:…`."""
    clock_offset: timedelta = timedelta(0)
    """What the clocks of cameras were behind by, for tracks."""
    max_error_m: float = 100.0
    """A photo whose receiver states a larger error of its position is left out; 0: none is."""
    needs_fix: bool = True
    """Whether one is left out whose receiver says that it had no fix."""


@dataclass(slots=True)
class Scan:
    """Photos by (row, column), files with no place in the grid, and the photo whose name comes first."""

    by_cell: defaultdict[tuple[int, int], list[Photo]] = field(default_factory=lambda: defaultdict(list))
    unplaced: list[Rejected] = field(default_factory=list)
    first: Photo | None = None
    lost: set[Lost] = field(default_factory=set)
    """What is in them may be in any cell."""

    def add(self, photo: Photo | Rejected | Lost) -> None:
        """Sort in what was read of one file."""
        if isinstance(photo, Rejected):
            self.unplaced.append(photo)
        elif isinstance(photo, Lost):
            self.lost.add(photo)
        elif (place := row_column(photo.lon, photo.lat)) is None:
            row = f" ({photo.stated_in})" if photo.stated_in else ""
            self.unplaced.append(Rejected(Reason.OUTSIDE_CELL, photo.file.name + row))
        else:
            self.first = photo if self.first is None or photo.file.name < self.first.file.name else self.first
            self.by_cell[place].append(photo)


def scan(folder: PhotoFolder, now: datetime, memory: Memory, how: Reading | None = None) -> Scan:
    """Read the headers of all photos that the memory does not have.

    Raises TransientError or PermanentError if the folder, or what is stated about its photos, cannot be read.
    """
    how, found = how or Reading(), Scan()
    photos, beside = _listed(folder, how.ignored, found)
    survey = read_survey(folder, beside, [photo.name for photo in photos], crs=how.crs, now=now)
    found.unplaced += survey.said

    def look_at(file: PhotoFile) -> Photo | Rejected | Lost:
        stated = survey.positions.get(file.name) or Position()
        return read_photo(folder, file, stated, now, memory, survey=survey, how=how)

    wanted = [photo for photo in photos if survey.positions.get(photo.name, Position()) is not None]
    placed = list[Photo]()
    for file, photo in _ahead(look_at, wanted, folder.readers):
        if isinstance(photo, Photo):
            placed.append(photo)
        else:
            found.add(photo)
        if isinstance(photo, Rejected) and photo.reason is Reason.NO_IMAGE:
            found.lost.add(Lost(file.name))  # it was there a moment ago: its disk may be going
    for photo in along_sequences(placed):
        found.add(photo)
    memory.forget_others()
    found.unplaced.sort(key=lambda rejected: rejected.record)
    return found


def _listed(folder: PhotoFolder, ignored: Ignored, found: Scan) -> tuple[list[PhotoFile], list[str]]:
    """The photos, and the names of files that state something about them; all else is counted, if it is for us."""
    photos, beside = list[PhotoFile](), list[str]()
    for file in folder.files(ignored):
        if not isinstance(file, PhotoFile):
            found.add(file)
        elif is_photo(file.name):
            photos.append(file)
        elif is_beside(file.name):
            beside.append(file.name)
        elif (kind := suffix(file.name)) in NOT_READ:
            found.add(Rejected(Reason.UNSUPPORTED, file.name, kind[1:]))
    for name in (second := raw_of_others(photo.name for photo in photos)):
        found.add(Rejected(Reason.SECOND_FILE, name))
    return [photo for photo in photos if photo.name not in second], beside


def read_photo(
    folder: PhotoFolder,
    file: PhotoFile,
    stated: Position,
    now: datetime,
    memory: Memory,
    *,
    survey: Survey | None = None,
    how: Reading | None = None,
) -> Photo | Rejected | Lost:
    """One file with what is stated about it; Rejected if it is no photo or has no place, Lost if it cannot be read."""
    if not fields.source_id(file.name[:200]):
        return Rejected(Reason.UNREADABLE, ascii(file.name))
    try:
        file, header = _remembered(folder, file, memory)
    except PhotoGoneError:
        return Rejected(Reason.NO_IMAGE, file.name)
    except PhotoClosedError:
        return Lost(file.name)
    except ConfigurationError:
        raise
    except PermanentError:
        return Rejected(Reason.UNREADABLE, file.name)
    if header is None:
        return Rejected(Reason.UNREADABLE, ascii(file.name))
    how, clock = how or Reading(), stated.captured_at or _plausible(header, now)
    if survey and not stated.place and not header.has_position and clock:
        time = clock if stated.captured_at else clock + how.clock_offset
        if place := survey.track_place(file.name, time):
            stated = replace(stated, place=place, is_of_track=True, captured_at=time, states_time=True)
    return _placed(file, header, stated, now, how)


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


def _plausible(header: PhotoHeader, now: datetime) -> datetime | None:
    """What the first clock says that can be right."""
    return next((clock for clock in header.clocks if fields.plausible(clock, now)), None)


def _placed(file: PhotoFile, header: PhotoHeader, stated: Position, now: datetime, how: Reading) -> Photo | Rejected:
    place = stated.place or header.position
    if place is None:
        return Rejected(Reason.BAD_COORDINATES if header.has_position else Reason.NO_POSITION, file.name)
    error_m = stated.error_m if stated.place else header.position_error_m
    lacks_fix = not stated.place and not header.has_fix
    if (how.max_error_m and (error_m or 0) > how.max_error_m) or (how.needs_fix and lacks_fix):
        return Rejected(Reason.INEXACT, file.name)
    captured_at = fields.plausible(stated.captured_at, now) if stated.states_time else _plausible(header, now)
    heading_deg, heading_from = _heading(header, stated, place, captured_at or now)
    return Photo(
        file=file,
        lon=place[0],
        lat=place[1],
        position_from=_position_from(stated, lacks_fix=lacks_fix),
        position_error_m=error_m,
        heading_deg=heading_deg,
        heading_from=heading_from,
        captured_at=captured_at,
        header=header,
        stated_in=stated.where if stated.place else "",
    )


def _position_from(stated: Position, *, lacks_fix: bool) -> PositionFrom:
    if stated.place:
        return PositionFrom.TRACK if stated.is_of_track else PositionFrom.OWNER
    return PositionFrom.LAST_FIX if lacks_fix else PositionFrom.DEVICE


def _heading(
    header: PhotoHeader, stated: Position, place: tuple[float, float], at: datetime
) -> tuple[float | None, HeadingFrom | None]:
    if stated.states_heading:
        return stated.heading_deg, None if stated.heading_deg is None else HeadingFrom.OWNER
    if header.heading_deg is None or not header.is_magnetic:
        return header.heading_deg, header.heading_from
    how = HeadingFrom.MAGNETIC if header.heading_from == HeadingFrom.DEVICE else header.heading_from
    return to_true_north(header.heading_deg, *place, at), how


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
    modules = (read, exif, clocks, directions, packets, places, sphere, xmp, fields)
    code = "".join(map(inspect.getsource, modules)) + PIL.__version__
    return hashlib.sha256(code.encode()).hexdigest()[:16]
