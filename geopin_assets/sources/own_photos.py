"""Own photos: a folder of geotagged JPEGs, as a municipality or survey brings them.

API: none; `GEOPIN_OWN_PHOTOS_DIR` is searched with its subfolders. Position, direction and time come
from EXIF (GPS, GPSImgDirection to true north, DateTimeOriginal with its offset, else Dutch local time)
and XMP GPano (360-degree, PoseHeadingDegrees). A file `positions.csv` in the folder (columns file, lat,
lon, heading_deg, captured_at) wins over EXIF where a field is not empty.

License: one for the folder, stated by its owner: `GEOPIN_OWN_PHOTOS_LICENSE` and
`GEOPIN_OWN_PHOTOS_ATTRIBUTION` are required; `GEOPIN_OWN_PHOTOS_CREATOR` and
`GEOPIN_OWN_PHOTOS_PAGE_URL` (a base that the file name is appended to) are optional.

Quirks: the folder is read once per run. Files without a usable position belong to no cell; they are
counted by reason on the cell of the folder's first photo. Links that lead out of the folder are not followed.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import ConfigurationError, TransientError
from geopin_assets.grid import Cell, row_column, rows_columns
from geopin_assets.http_client import HttpClient
from geopin_assets.licenses import OPEN_LICENSES, open_license
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.exif import PhotoHeader, read_header
from geopin_assets.sources.positions import Position, read_positions

SCHEME = "own-photos"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._/-]{1,40}")  # short enough for a vector id beside the source's name
_SUFFIXES = {".jpg", ".jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the owner of the folder states about all of its photos."""

    license: str
    attribution: str
    creator: str | None = None
    page_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Photo:
    file: str
    lon: float
    lat: float
    heading_deg: float | None
    captured_at: datetime | None
    header: PhotoHeader


@dataclass(frozen=True, slots=True)
class _Folder:
    """What one look at the folder found: photos by (row, column), files with no place in the grid, the first photo."""

    by_cell: dict[tuple[int, int], list[_Photo]]
    unplaced: list[Rejected]
    first: _Photo | None


class OwnPhotos(Source):
    """The photos of a folder whose position lies in the cell."""

    name = "own_photos"
    title = "Own photos"
    homepage = "https://exiftool.org/geotag.html"
    contribute_url = "https://exiftool.org/geotag.html"
    license = None
    attribution = "{stated by the owner}"
    requests_per_second = 100.0

    def __init__(
        self, folder: Path, rights: Rights, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._folder, self._rights, self._now = folder, rights, now
        self._lock = Lock()
        self._found: _Folder | None = None
        self._has_told = False

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        if photo_folder(settings) is None:
            return "set GEOPIN_OWN_PHOTOS_DIR to a folder of geotagged JPEGs"
        try:
            _rights(settings)
        except ConfigurationError as error:
            return str(error)
        return None

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "OwnPhotos":
        """`client` is not used. Raises ConfigurationError if folder or license are not stated."""
        if (folder := photo_folder(settings)) is None:
            raise ConfigurationError("own_photos: set GEOPIN_OWN_PHOTOS_DIR to a folder of geotagged JPEGs")
        return cls(folder, _rights(settings))

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        folder = self._scan_once()
        if self._accounts_for_unplaced(cell, folder):
            yield from folder.unplaced
        for photo in (photo for key in rows_columns(cell.bbox) for photo in folder.by_cell.get(key, ())):
            if cell.bbox.contains(photo.lon, photo.lat):
                yield self._capture(photo)

    def _accounts_for_unplaced(self, cell: Cell, folder: _Folder) -> bool:
        """True for one cell, the same in every run: counts of cells crawled by several runs are added up."""
        if folder.first is not None:
            return cell.bbox.contains(folder.first.lon, folder.first.lat)
        with self._lock:  # no photo can be placed: whoever asks first must learn why
            is_first, self._has_told = not self._has_told, True
            return is_first

    def _scan_once(self) -> _Folder:
        with self._lock:
            if self._found is None:
                self._found = self._scan()
            return self._found

    def _scan(self) -> _Folder:
        if not self._folder.is_dir():
            raise ConfigurationError(f"own_photos: GEOPIN_OWN_PHOTOS_DIR: no folder {self._folder}")
        positions, unplaced = read_positions(self._folder)
        by_cell: dict[tuple[int, int], list[_Photo]] = defaultdict(list)
        first: _Photo | None = None
        files = _files(self._folder)
        unplaced += [Rejected(Reason.NO_IMAGE, name) for name in positions if name not in files]
        for name, path in files.items():
            photo = read_photo(name, path, positions.get(name, Position()), self._now())
            place = row_column(photo.lon, photo.lat) if isinstance(photo, _Photo) else None
            if isinstance(photo, Rejected):
                unplaced.append(photo)
            elif place is None:
                unplaced.append(Rejected(Reason.OUTSIDE_CELL, name))
            else:
                first = first or photo
                by_cell[place].append(photo)
        return _Folder(by_cell, unplaced, first)

    def _capture(self, photo: _Photo) -> Capture | Rejected:
        rights, quoted = self._rights, quote(photo.file)
        try:
            version = hashlib.sha256((self._folder / photo.file).read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            return Rejected(Reason.NO_IMAGE, photo.file)
        except OSError as error:
            raise TransientError(f"own_photos: {photo.file} cannot be read now") from error
        return Capture(
            source=OwnPhotos.name,
            source_capture_id=photo_id(photo.file),
            lon=photo.lon,
            lat=photo.lat,
            captured_at=photo.captured_at,
            heading_deg=photo.heading_deg,
            is_pano=photo.header.is_pano,
            sequence_id=photo.file.rpartition("/")[0] or None,
            creator=rights.creator,
            license=rights.license,
            attribution=rights.attribution,
            page_url=f"{rights.page_url.rstrip('/')}/{quoted}" if rights.page_url else f"{SCHEME}:{quoted}",
            image_url=f"{SCHEME}:{quoted}",
            image_version=version,
            payload=fields.payload(
                {
                    "file": photo.file,
                    "width": photo.header.width,
                    "height": photo.header.height,
                    "camera": photo.header.camera,
                }
            ),
        )


def photo_folder(settings: Settings) -> Path | None:
    """The folder that `own-photos:` addresses are relative to (percent-quoted, `/` between names), or None."""
    if folder := settings.variables.get("GEOPIN_OWN_PHOTOS_DIR"):
        return Path(folder).expanduser()
    return settings.data_dir / OwnPhotos.name if settings.is_sandbox else None


def photo_id(file: str) -> str:
    """A stable id of a relative path: the path itself if short and plain, else `~` and a hash of it."""
    return file if _PLAIN_ID.fullmatch(file) else f"~{hashlib.sha256(file.encode()).hexdigest()[:32]}"


def read_photo(file: str, path: Path, stated: Position, now: datetime) -> "_Photo | Rejected":
    """One file with what `positions.csv` states about it; Rejected if it is no JPEG or has no place."""
    header = read_header(path) if fields.source_id(file[:200]) else None
    if header is None:
        return Rejected(Reason.UNREADABLE, ascii(file))
    place = stated.place or header.position
    if place is None:
        return Rejected(Reason.BAD_COORDINATES if header.has_position else Reason.NO_POSITION, file)
    return _Photo(
        file=file,
        lon=place[0],
        lat=place[1],
        heading_deg=header.heading_deg if stated.heading_deg is None else stated.heading_deg,
        captured_at=fields.plausible(stated.captured_at or header.captured_at, now),
        header=header,
    )


def _files(folder: Path) -> dict[str, Path]:
    """Relative name → path of every JPEG that really lies in the folder, in order of name."""
    root = folder.resolve()
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and path.is_file() and path.resolve().is_relative_to(root)
    }
    return dict(sorted(found.items()))


def _rights(settings: Settings) -> Rights:
    is_invented = settings.is_sandbox and not settings.variables.get("GEOPIN_OWN_PHOTOS_DIR")

    def variable(name: str, invented: str = "") -> str:
        """What is stated; defaults are for the sandbox's own pictures, never for somebody's photos."""
        return settings.variables.get(f"GEOPIN_OWN_PHOTOS_{name}", "").strip() or (invented if is_invented else "")

    license_id, attribution = open_license(variable("LICENSE", "CC0-1.0")), variable("ATTRIBUTION", "GeoPin sandbox")
    if license_id is None:
        raise ConfigurationError(f"GEOPIN_OWN_PHOTOS_LICENSE: state one of {', '.join(OPEN_LICENSES)}")
    if not attribution:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_ATTRIBUTION: state the text to show with the photos")
    page_url = variable("PAGE_URL")
    if page_url and fields.web_url(page_url) is None:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_PAGE_URL: not an http(s) address")
    return Rights(license=license_id, attribution=attribution, creator=variable("CREATOR") or None, page_url=page_url)
