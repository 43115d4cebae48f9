"""The sandbox's photo files: a survey folder as a municipality would bring it, and three photos to locate.

Here: files, EXIF, XMP and the table beside them. Not here: what they show (`images.py`), who reads them.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from io import StringIO
from math import floor
from pathlib import Path
from zoneinfo import ZoneInfo

from PIL.ExifTags import GPS, IFD, Base
from PIL.Image import Exif

from geopin_assets.files.atomic import write_bytes, write_text
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.images import draw, jpeg
from geopin_assets.sandbox.streets.world import Quirk, Shot, World

POSITIONS_FILE = "positions.csv"
QUERIES_FILE = "queries.csv"
_MARKER = ".sandbox-version"
_FLAT_SIZE, _PANO_SIZE = (1280, 960), (2048, 1024)
_DUTCH_TIME = ZoneInfo("Europe/Amsterdam")
_GPANO = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
    'GPano:ProjectionType="equirectangular" GPano:UsePanoramaViewer="True" GPano:PoseHeadingDegrees="{heading:.2f}" '
    'GPano:FullPanoWidthPixels="{width}" GPano:FullPanoHeightPixels="{height}" '
    'GPano:CroppedAreaImageWidthPixels="{width}" GPano:CroppedAreaImageHeightPixels="{height}" '
    'GPano:CroppedAreaLeftPixels="0" GPano:CroppedAreaTopPixels="0"/></rdf:RDF></x:xmpmeta>'
)


def write_photos(folder: Path, world: World) -> None:
    """Write the world's own photos, one subfolder per drive, and positions.csv for those without GPS.

    Does nothing when the folder already holds this version of the world. A file is there whole or not at all.
    """
    shots = world.of("own_photos")
    tabled = [shot for shot in shots if shot.quirk is Quirk.POSITION_IN_TABLE]
    files = {photo_name(shot): partial(_survey_photo, shot) for shot in shots}
    _fill(folder, world.version, files | {POSITIONS_FILE: partial(_table, tabled)})


def write_query_photos(folder: Path) -> list[Path]:
    """Write the photos to locate, without position in them; queries.csv says where they really are.

    Like `write_photos` it writes once. Returns the photos' paths.
    """
    world = build_world()
    shots = world.of("query")
    files = {photo_name(shot): partial(_query_photo, shot) for shot in shots}
    _fill(folder, world.version, files | {QUERIES_FILE: partial(_table, shots)})
    return [folder / photo_name(shot) for shot in shots]


def _fill(folder: Path, version: str, files: Mapping[str, Callable[[], bytes]]) -> None:
    """Write `files` unless a marker says that this version was written whole; then leave the marker."""
    marker = folder / _MARKER
    if marker.is_file() and marker.read_text() == version:
        return
    for name, body in files.items():
        write_bytes(folder / name, body(), is_durable=False)
    write_text(marker, version, is_durable=False)


def _query_photo(shot: Shot) -> bytes:
    return jpeg(draw(shot), _FLAT_SIZE)


def photo_name(shot: Shot) -> str:
    """Path of a shot's file within its folder."""
    return f"{shot.name}.jpg" if shot.drive.source == "query" else f"{shot.drive.name}/{shot.rank:03d}.jpg"


@lru_cache(maxsize=64)
def _survey_photo(shot: Shot) -> bytes:
    size = _PANO_SIZE if shot.drive.is_pano else _FLAT_SIZE
    extra: dict[str, bytes] = {"xmp": _gpano(shot.heading_deg, size)} if shot.drive.is_pano else {}
    body = jpeg(draw(shot), size, exif=_exif(shot), **extra)
    return body[: len(body) // 3] if shot.quirk is Quirk.TRUNCATED else body


def _gpano(heading_deg: float, size: tuple[int, int]) -> bytes:
    return _GPANO.format(heading=heading_deg, width=size[0], height=size[1]).encode()


def _exif(shot: Shot) -> Exif:
    taken = shot.captured_at.astimezone(_DUTCH_TIME)
    exif = Exif()
    exif[Base.Make], exif[Base.Model] = "Sandbox", "Survey"
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: f"{taken:%Y:%m:%d %H:%M:%S}",
        Base.OffsetTimeOriginal: _offset(taken),
    }
    if shot.quirk not in (Quirk.NO_GPS, Quirk.POSITION_IN_TABLE):
        exif[IFD.GPSInfo] = _gps(shot)
    return exif


def _gps(shot: Shot) -> dict[int, object]:
    gps: dict[int, object] = {
        GPS.GPSLatitudeRef: "N" if shot.lat >= 0 else "S",
        GPS.GPSLatitude: _sexagesimal(abs(shot.lat)),
        GPS.GPSLongitudeRef: "E" if shot.lon >= 0 else "W",
        GPS.GPSLongitude: _sexagesimal(abs(shot.lon)),
    }
    if shot.quirk is not Quirk.NO_HEADING:
        gps |= {GPS.GPSImgDirectionRef: "T", GPS.GPSImgDirection: round(shot.heading_deg, 2)}
    return gps


def _sexagesimal(deg: float) -> tuple[float, float, float]:
    """Degrees, minutes, seconds; seconds to 4 decimals are 3 mm."""
    minutes = (deg - floor(deg)) * 60
    return float(floor(deg)), float(floor(minutes)), round((minutes - floor(minutes)) * 60, 4)


def _offset(taken: datetime) -> str:
    text = f"{taken:%z}"
    return f"{text[:3]}:{text[3:]}"


def _table(shots: Sequence[Shot]) -> bytes:
    """CSV with file, lat, lon, heading_deg, captured_at (UTC)."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "lat", "lon", "heading_deg", "captured_at"))
    for shot in shots:
        row = (photo_name(shot), shot.lat, shot.lon, round(shot.heading_deg, 2), shot.captured_at.isoformat())
        writer.writerow(row)
    return text.getvalue().encode()
