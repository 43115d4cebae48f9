"""What the header of a photo says: position, direction, time, projection.

Here: EXIF and XMP (GPano) read with Pillow, broken metadata becomes None. Not here: what lies beside photos
(`survey.py`), which of the two wins (`scan.py`), or what is indexed.
"""

import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from threading import Lock
from typing import Any

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from geopin_assets.sources import fields
from geopin_assets.sources.own_photos.kinds import plugin
from geopin_assets.sphere import is_sphere

_GPS_IFD, _EXIF_IFD = 0x8825, 0x8769
_LAT_REF, _LAT, _LON_REF, _LON, _DIRECTION_REF, _DIRECTION = 1, 2, 3, 4, 16, 17
_TIME_ORIGINAL, _OFFSET_ORIGINAL = 0x9003, 0x9011
_MAKE, _MODEL = 0x010F, 0x0110
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)
_SILENCED = Lock()  # which warnings are shown is a setting of the whole process
_GPANO = re.compile(rb"(?<!/)GPano:(\w++)(?:\s*+=\s*+[\"']|>)([^\"'<]{0,200}+)[\"'<]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoHeader:
    """Facts of one JPEG; None where it does not say."""

    width: int
    height: int
    has_position: bool
    """Whether there are GPS coordinates at all, good or bad."""
    position: tuple[float, float] | None
    """(lon, lat), degrees WGS84."""
    heading_deg: float | None
    captured_at: datetime | None
    is_pano: bool
    camera: str | None


class HeaderCutError(ValueError):
    """The bytes end before the header does."""


def read_header(data: bytes) -> PhotoHeader | None:
    """The header that the first bytes of a photo hold, or None if they are of none.

    Raises HeaderCutError if more bytes are needed; kinds other than JPEG may need all.
    """
    file, opened = _Bytes(data), plugin(data[:256])
    with _SILENCED, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Corrupt EXIF data": what can be read is used
        try:
            with opened(file) as image:
                return _header(image)
        except _BROKEN:
            pass
    if file.has_run_out or opened is not JpegImageFile:
        raise HeaderCutError(f"not in the first {len(data)} bytes")
    return None


class _Bytes(BytesIO):
    """Remembers whether more was wanted than there is."""

    has_run_out = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.has_run_out |= size is not None and len(data) < size
        return data


def _header(image: ImageFile) -> PhotoHeader:
    gps, exif, root = _ifd(image, _GPS_IFD), _ifd(image, _EXIF_IFD), _ifd(image, 0)
    gpano = _gpano(image.info.get("xmp"))
    camera = " ".join(filter(None, (_text(root.get(_MAKE)), _text(root.get(_MODEL))))) or None
    lat, lon = (
        _degrees(gps.get(_LAT), gps.get(_LAT_REF), "N", "S"),
        _degrees(gps.get(_LON), gps.get(_LON_REF), "E", "W"),
    )
    return PhotoHeader(
        width=image.width,
        height=image.height,
        has_position=_LAT in gps or _LON in gps,
        position=fields.position(lon, lat),
        heading_deg=_heading_deg(gpano, _direction_deg(gps)),
        captured_at=_time(_text(exif.get(_TIME_ORIGINAL)), _text(exif.get(_OFFSET_ORIGINAL))),
        is_pano=is_sphere(image.width, image.height, gpano, camera),
        camera=camera,
    )


def _ifd(image: ImageFile, tag: int) -> Mapping[int, Any]:
    """One directory of the EXIF data (0: the main one); empty if it cannot be read."""
    try:
        exif = image.getexif()
        return dict(exif.get_ifd(tag)) if tag else dict(exif)
    except _BROKEN:
        return {}


def _degrees(value: Any, ref: Any, positive: str, negative: str) -> float | None:
    """Degrees from (degrees, minutes, seconds) and a hemisphere; without a hemisphere the sign is unknown."""
    hemisphere = (_text(ref) or "").upper()
    if hemisphere not in (positive, negative) or not isinstance(value, tuple) or len(value) != 3:
        return None
    parts = [_ratio(part) for part in value]
    if any(part is None or part < 0 for part in parts):
        return None
    degrees = sum(part / 60**power for power, part in enumerate(parts) if part is not None)
    return degrees if hemisphere == positive else -degrees


def _ratio(value: Any) -> float | None:
    """A finite float of a TIFF rational or number; 0/0 is None."""
    try:
        return fields.number(float(value))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def _heading_deg(gpano: Mapping[str, str], direction: float | None) -> float | None:
    """GPano's pose wins, except the 0 that stitchers write when they know nothing better than the GPS.

    The pose is that of the whole sphere's center; of a part of it, the center lies elsewhere.
    """
    pose = fields.heading_deg(gpano.get("PoseHeadingDegrees"))
    if pose is None or (pose == 0 and direction is not None):
        return direction
    names = ("CroppedAreaLeftPixels", "CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
    left, width, whole = (fields.number(gpano.get(name)) for name in names)
    if left is None or width is None or not whole:
        return pose
    return fields.heading_deg(pose + 360 * ((left + width / 2) / whole - 0.5))


def _direction_deg(gps: Mapping[int, Any]) -> float | None:
    """GPSImgDirection if it refers to true north; magnetic or unstated directions are not guessed."""
    if (_text(gps.get(_DIRECTION_REF)) or "").upper() != "T":
        return None
    return fields.heading_deg(_ratio(gps.get(_DIRECTION)))


def _time(stamp: str | None, offset: str | None) -> datetime | None:
    """`YYYY:MM:DD HH:MM:SS` with its offset; without one it is Dutch local time."""
    try:
        time = datetime.strptime((stamp or "").partition(".")[0], "%Y:%m:%d %H:%M:%S").replace(tzinfo=_zone(offset))
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(offset: str | None) -> tzinfo:
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", offset or "")
    if match is None or int(match[2]) > 14:
        return fields.DUTCH_TIME
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(ahead if match[1] == "+" else -ahead)


def _gpano(xmp: Any) -> dict[str, str]:
    """GPano properties of an XMP packet, written as attributes or as elements."""
    if not isinstance(xmp, bytes):
        return {}
    pairs = _GPANO.findall(xmp)
    return {name.decode(): value.decode("utf-8", "replace").strip() for name, value in pairs}


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return fields.text(value.rstrip("\0") if isinstance(value, str) else value)
