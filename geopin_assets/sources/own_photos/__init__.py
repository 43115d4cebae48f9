"""Own photos: a folder of geotagged photos, as a municipality or survey brings them, on disk or in a bucket.

API: none; `GEOPIN_OWN_PHOTOS_DIR` is searched with its subfolders. It is a path, or `s3://bucket/prefix` with
credentials in the standard AWS variables; `GEOPIN_S3_ENDPOINT_URL` names a server other than Amazon's, as for
Cloudflare R2. Only the first bytes of a photo are read to place it. Position, direction and time come
from EXIF, XMP and what Mapillary's tools write, each by the first that can be read: directions to magnetic north are
corrected, and where there is none, that of movement counts (`heading_from` says so); times without an offset are Dutch
local time, unless the GPS clock says otherwise. 360-degree photos are known by XMP GPano, shape and camera; a part of a
sphere is a flat photo. What a `positions.csv` (columns file, lat, lon, heading_deg, captured_at, or what else they are
usually called) or a `mapillary_image_description.json` beside them states wins over EXIF; GPX tracks place photos
without a position.

License: one for the folder, stated by its owner: `GEOPIN_OWN_PHOTOS_LICENSE` and
`GEOPIN_OWN_PHOTOS_ATTRIBUTION` are required; `GEOPIN_OWN_PHOTOS_CREATOR` and
`GEOPIN_OWN_PHOTOS_PAGE_URL` (a base that the file name is appended to) are optional.

Quirks: a subfolder or photo that cannot be read makes every cell incomplete, so that nothing is removed; so does an
empty folder that had photos, as without its disk. Trash, thumbnails and folders of systems are skipped. The folder is
looked at once per run; in a bucket only photos that are new or changed since the last run
are read then, an image having changed when its ETag has. Files without a usable position belong to no cell;
they are counted by reason on the cell of the folder's first photo. Links that lead out of the folder are not
followed.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.grid import Cell, rows_columns
from geopin_assets.http_client import HttpClient
from geopin_assets.licenses import open_license
from geopin_assets.photo_folder import LocalFolder, PhotoClosedError, PhotoFolder, PhotoGoneError, open_folder
from geopin_assets.photo_folder.names import Ignored
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.own_photos import values
from geopin_assets.sources.own_photos.scan import Photo, Reading, Scan, remembered, scan

SCHEME = "own-photos"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._/-]{1,40}")  # short enough for a vector id beside the source's name
_HASHED = "~"
_NAMED = 5
_WHERE = "GEOPIN_OWN_PHOTOS_DIR to a folder of geotagged photos, or to s3://bucket/prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the owner of the folder states about all of its photos."""

    license: str
    attribution: str
    creator: str | None = None
    page_url: str = ""


class OwnPhotos(Source):
    """The photos of a folder whose position lies in the cell."""

    name = "own_photos"
    title = "Own photos"
    homepage = "https://exiftool.org/geotag.html"
    contribute_url = "https://exiftool.org/geotag.html"
    takes_photos = False
    asks_a_server = False
    license = None
    attribution = "{stated by the owner}"
    costs = ()
    requests_per_second = 100.0

    def __init__(
        self,
        folder: PhotoFolder,
        rights: Rights,
        *,
        memory: Path | None = None,
        how: Reading | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`memory`: the file that keeps headers between runs."""
        self._folder, self._rights, self._memory, self._how, self._now = folder, rights, memory, how, now
        self._lock = Lock()
        self._found: Scan | GeoPinError | None = None
        self._has_told = False

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        try:
            if photo_folder(settings) is None:
                return f"set {_WHERE}"
            _rights(settings)
        except ConfigurationError as error:
            return str(error)
        return None

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "OwnPhotos":
        """`client` is not used. Raises ConfigurationError if folder or license are not stated."""
        if (folder := photo_folder(settings)) is None:
            raise ConfigurationError(f"own_photos: set {_WHERE}")
        memory = settings.data_dir / "photo_headers.sqlite"
        return cls(folder, _rights(settings), memory=memory, how=_reading(settings))

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        found = self._scan_once()
        for why in _missing(found, lambda: report.known(cell.bbox)):
            report.miss(cell.bbox, why)
        if self._accounts_for_unplaced(cell, found):
            yield from found.unplaced
        for photo in (photo for key in rows_columns(cell.bbox) for photo in found.by_cell.get(key, ())):
            if cell.bbox.contains(photo.lon, photo.lat):
                try:
                    yield self._capture(photo)
                except PhotoGoneError:
                    report.miss(cell.bbox, f"{photo.file.name!a} went away meanwhile")
                    yield Rejected(Reason.NO_IMAGE, photo.file.name)
                except PhotoClosedError as error:
                    report.miss(cell.bbox, f"{photo.file.name!a} {error}")

    def _accounts_for_unplaced(self, cell: Cell, found: Scan) -> bool:
        """True for one cell, the same in every run: counts of cells crawled by several runs are added up."""
        if found.first is not None:
            return cell.bbox.contains(found.first.lon, found.first.lat)
        with self._lock:  # no photo can be placed: whoever asks first must learn why
            is_first, self._has_told = not self._has_told, True
            return is_first

    def _scan_once(self) -> Scan:
        """The folder as it was at the first look; one that failed is not repeated for every cell of the run."""
        with self._lock:
            if self._found is None:
                self._found = self._scan()
        if isinstance(self._found, GeoPinError):
            raise type(self._found)(*self._found.args) from self._found
        return self._found

    def _scan(self) -> Scan | GeoPinError:
        try:
            with remembered(self._memory, str(self._folder)) as memory:
                return scan(self._folder, self._now(), memory, self._how)
        except GeoPinError as error:
            error.args = (f"own_photos: {error}",)
            return error

    def _capture(self, photo: Photo) -> Capture | Rejected:
        rights, name, header = self._rights, photo.file.name, photo.header
        quoted = quote(name)
        try:
            version = self._folder.version(photo.file)
        except (PhotoGoneError, PhotoClosedError):
            raise
        except (TransientError, ConfigurationError) as error:
            raise type(error)(f"own_photos: {name}: {error}") from error
        except PermanentError:
            return Rejected(Reason.UNREADABLE, name)
        return Capture(
            source=OwnPhotos.name,
            source_capture_id=photo_id(name),
            lon=photo.lon,
            lat=photo.lat,
            position_from=photo.position_from,
            position_error_m=photo.position_error_m,
            captured_at=photo.captured_at,
            heading_deg=photo.heading_deg,
            heading_from=photo.heading_from,
            is_pano=header.is_pano,
            sequence_id=name.rpartition("/")[0] or None,
            creator=rights.creator,
            license=rights.license,
            attribution=rights.attribution,
            page_url=f"{rights.page_url.rstrip('/')}/{quoted}" if rights.page_url else f"{SCHEME}:{quoted}",
            image_url=f"{SCHEME}:{quoted}",
            image_version=version,
            payload=fields.payload(
                {"file": name, "width": header.width, "height": header.height, "camera": header.camera}
            ),
        )


def photo_folder(settings: Settings) -> PhotoFolder | None:
    """The folder that `own-photos:` addresses are relative to (percent-quoted, `/` between names), or None.

    Raises ConfigurationError for an address that is neither a path nor `s3://bucket/prefix`.
    """
    if not (address := settings.own_photos_dir):
        return LocalFolder(settings.data_dir / OwnPhotos.name) if settings.is_sandbox else None
    endpoint_url = settings.s3_endpoint_url
    if endpoint_url and fields.web_url(endpoint_url) is None:
        raise ConfigurationError("GEOPIN_S3_ENDPOINT_URL: not an http(s) address without user name")
    try:
        return open_folder(address, endpoint_url, settings.s3)
    except ConfigurationError as error:
        raise ConfigurationError(f"GEOPIN_OWN_PHOTOS_DIR: {error}") from error


def photo_id(file: str) -> str:
    """A stable id of a relative path: the path itself if short and plain, else `~` and a hash of it."""
    return file if _PLAIN_ID.fullmatch(file) else f"{_HASHED}{hashlib.sha256(file.encode()).hexdigest()[:32]}"


def _missing(found: Scan, known: Callable[[], AbstractSet[str]]) -> Iterator[str]:
    """Why photos that exist may not have been seen. `known`: ids that earlier crawls found.

    A disk that is not mounted leaves an empty folder behind; who empties one of a survey removes it.
    """
    lost = sorted(lost.name for lost in found.lost if not lost.is_empty)
    for name in lost[:_NAMED]:
        yield f"the {'folder' if name.endswith('/') else 'file'} {name.rstrip('/')!a} cannot be read"
    if len(lost) > _NAMED:
        yield f"{len(lost) - _NAMED} more folders and files cannot be read"
    if empty := sorted(lost.name for lost in found.lost if lost.is_empty):
        ids = known()
        hashed = {id_ for id_ in ids if id_.startswith(_HASHED)}
        whose = [name for name in empty if any(id_.startswith(name) for id_ in ids)]
        if whose or (hashed and hashed - {photo_id(p.file.name) for photos in found.by_cell.values() for p in photos}):
            name = (whose or empty)[0].rstrip("/")
            what = f"the folder {name!a}" if name else "the whole folder"
            yield f"{what} is empty, as where a disk is not mounted: remove it if its photos are gone"


def _reading(settings: Settings) -> Reading:
    crs = settings.own_photos_crs
    if crs and values.system(crs) is None:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_CRS: a name as EPSG:28992")
    return Reading(
        ignored=Ignored(settings.own_photos_ignore),
        crs=values.system(crs) or "" if crs else "",
        clock_offset=timedelta(seconds=settings.own_photos_clock_offset_s),
        max_error_m=settings.own_photos_max_error_m,
        needs_fix=settings.own_photos_needs_fix,
    )


def _rights(settings: Settings) -> Rights:
    is_invented = settings.is_sandbox and not settings.own_photos_dir  # never rights to somebody's photos
    license_id = open_license(settings.own_photos_license or ("CC0-1.0" if is_invented else ""))
    attribution = settings.own_photos_attribution or ("GeoPin sandbox" if is_invented else "")
    if license_id is None:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_LICENSE: state an open license, e.g. CC-BY-4.0 (docs/sources.md)")
    if not attribution:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_ATTRIBUTION: state the text to show with the photos")
    page_url, creator = settings.own_photos_page_url, settings.own_photos_creator or None
    if page_url and fields.web_url(page_url) is None:
        raise ConfigurationError("GEOPIN_OWN_PHOTOS_PAGE_URL: not an http(s) address")
    return Rights(license=license_id, attribution=attribution, creator=creator, page_url=page_url)
