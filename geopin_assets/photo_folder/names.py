"""What the name of a file says: a photo, another kind that cameras and surveyors leave behind, or nothing for us.

Here: suffixes, and folders that no owner means to publish: trash, thumbnails, snapshots, what systems and programs keep
for themselves. Not here: what is in a file, which its content says.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from geopin_assets.errors import ConfigurationError


def _set(*texts: str) -> frozenset[str]:
    return frozenset(part for text in texts for part in text.split("|"))


PHOTOS = _set(".jpg|.jpeg|.jpe|.jfif|.mpo|.png|.webp|.avif|.heic|.heif|.hif|.tif|.tiff|.dng")
NOT_READ = _set(
    ".3fr|.arw|.bmp|.cr2|.cr3|.crw|.erf|.exr|.gif|.gpr|.iiq|.insp|.j2k|.jp2|.jpx|.jxl|.kdc|.mef|.mos|.mrw|.nef|.nrw",
    ".orf|.pef|.ppm|.psb|.psd|.raf|.raw|.rw2|.rwl|.sr2|.srf|.srw|.svg|.x3f",
    ".360|.avi|.insv|.lrv|.m2ts|.m4v|.mkv|.mov|.mp4|.mpg|.mts|.webm|.pts|.zip|.7z|.rar|.tar",
    ".csv|.dbf|.dxf|.fit|.geojson|.gpkg|.kml|.kmz|.nmea|.ods|.shp|.tcx|.tsv|.xls|.xlsb|.xlsm|.xlsx",
)
"""Raw formats and others, videos and archives; tables and tracks of another name or form."""
_RAW, _BESIDE_RAW = _set(".dng"), _set(".jpg|.jpeg|.jpe|.jfif|.heic|.heif|.hif")
_SYSTEM = _set(
    # Windows, and its disks elsewhere
    "$recycle.bin|recycler|recycled|recycle bin|system volume information|$windows.~bt|$windows.~ws|found.000",
    # macOS, and archives made there
    "__macosx|network trash folder|temporary items|thevolumesettingsfolder|ipod photo cache|desktop folder db",
    # Linux, and Android
    "lost+found|lost.dir",
    # NAS: Synology, QNAP, Asustor, Buffalo, NetApp, Nextcloud
    "@eadir|#recycle|#snapshot|@tmp|@sharebin|@recycle|@recently-snapshot|@__thumb|@transcode|@synoresource|trashbox",
    "~snapshot|files_trashbin|files_versions",
    # cameras: Sony, Canon, Panasonic, DJI
    "thmbnl|canonmsc|eosmisc|ad_lumix|avf_info|thm",
    # programs, and people
    "thumbs|thumbnails|thumbnail|_thumbs|_thumbnails|trash|trashes|prullenbak|papierkorb|corbeille",
)
_OF_PROGRAMS = (".lrdata", ".cocatalog", ".photoslibrary", ".photolibrary", ".aplibrary", ".lrcat-data")
"""Folders that programs show as one file."""


def suffix(name: str) -> str:
    """`.jpg` of `drive/IMG_1.JPG`; empty if there is none."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{ending.lower()}"


def is_photo(name: str) -> bool:
    """Whether a file is a photo of a kind that is read, by its suffix."""
    return suffix(name) in PHOTOS


def raw_of_others(names: Iterable[str]) -> set[str]:
    """Raw photos whose camera wrote the same picture as JPEG or HEIC beside them: `IMG_1.DNG` of `IMG_1.JPG`."""
    names = list(names)
    pictures = {_picture(name) for name in names if suffix(name) in _BESIDE_RAW}
    return {name for name in names if suffix(name) in _RAW and _picture(name) in pictures}


def _picture(name: str) -> str:
    return name.rpartition(".")[0].lower()


def is_inside(name: str) -> bool:
    """Whether every part of a relative name is a plain one: no `..`, no `.`, no empty one, no NUL."""
    return "\0" not in name and not {"", ".", ".."}.intersection(name.split("/"))


class Ignored:
    """Folders (names that end in `/`) and files that are skipped: hidden and those of systems, then as the owner says.

    Their patterns are those of a .gitignore; capitals make no difference, as on most disks that photos come on. As
    there, one that begins with `!` takes back what was skipped before, ours included; below a skipped folder nothing is
    seen.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = tuple(pattern.lower() for pattern in patterns)

    def __call__(self, name: str) -> bool:
        """Whether this folder or file is skipped; those that it lies in have been asked about before."""
        lowered = name.lower()
        owners = self._spec.check_file(lowered).include if self._patterns else None
        return is_hidden_or_a_systems(lowered) if owners is None else owners

    @cached_property
    def _spec(self) -> Any:
        """Raises ConfigurationError for a pattern that is none."""
        from pathspec import GitIgnoreSpec

        try:
            return GitIgnoreSpec.from_lines(self._patterns)
        except ValueError as error:
            raise ConfigurationError(f"GEOPIN_OWN_PHOTOS_IGNORE: {error}") from error


def is_hidden_or_a_systems(name: str) -> bool:
    """Whether a folder (its name ends in `/`) or file is nothing that its owner put there."""
    folder = name.endswith("/")
    last = name.lower().rstrip("/").rpartition("/")[2]
    return last.startswith(".") or (folder and (last in _SYSTEM or last.endswith(_OF_PROGRAMS)))
