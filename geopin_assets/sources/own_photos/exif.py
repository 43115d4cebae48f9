"""What a photo says of itself: in EXIF, else in XMP, else in the description that Mapillary's tools write.

Here: which tags and properties hold position, direction and clocks, and in which order they count. Not here: how those
are written (`places.py`, `directions.py`, `clocks.py`), where XMP lies (`packets.py`), or panoramas (`read.py`).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from geopin_assets.capture import HeadingFrom
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos.clocks import in_order, instant, satellite_time
from geopin_assets.sources.own_photos.directions import heading_deg
from geopin_assets.sources.own_photos.packets import xmp_of
from geopin_assets.sources.own_photos.places import coordinate, number

BROKEN = (*fields.FOREIGN, OSError, SyntaxError, struct.error)
"""What Pillow raises that reads what is none."""
Tags = Mapping[int, Any]
_TIME_ZONE_OFFSET = 0x882A
_CAPTURE_TIME = -1
"""No tag: in UTC as mapillary_tools writes it; apps wrote the camera's, so that counts first."""
_MOST_DECLINATION_DEG = 25.0
_ALWAYS_VOID = ("dji",)
"""Makers whose drones write that there was no fix whatever there was: real photos show it."""


class Fix(NamedTuple):
    """Where a receiver was."""

    lon: float
    lat: float
    is_current: bool
    """False where it says that it had no fix: then it may have been there before."""


class Direction(NamedTuple):
    """A direction as it is written."""

    deg: float
    how: HeadingFrom
    is_magnetic: bool = False


@dataclass(frozen=True)
class Said:
    """The tags of a photo, the same of its receiver by whoever wrote them, and the properties of its XMP."""

    tags: Tags
    receivers: tuple[Tags, ...]
    xmp: Mapping[str, str]

    @classmethod
    def by(cls, image: Image.Image) -> "Said":
        """Whatever can be read of it."""
        tags, xmp = {**_directory(image, 0), **_directory(image, IFD.Exif)}, xmp_of(image)
        in_xmp = {tag.value: xmp[f"exif:{tag.name}"] for tag in GPS if f"exif:{tag.name}" in xmp}
        return cls(tags, (_directory(image, IFD.GPSInfo), in_xmp, _by_drone(xmp), _described(tags)), xmp)

    @property
    def gpano(self) -> dict[str, str]:
        """GPano's properties by their local names."""
        return {name.removeprefix("GPano:"): value for name, value in self.xmp.items() if name.startswith("GPano:")}

    @property
    def has_position(self) -> bool:
        """Whether there are coordinates at all, good or bad."""
        return any(GPS.GPSLatitude in receiver or GPS.GPSLongitude in receiver for receiver in self.receivers)

    @property
    def camera(self) -> str | None:
        """Maker and model."""
        return " ".join(filter(None, (fields.text(self.tags.get(tag)) for tag in (Base.Make, Base.Model)))) or None

    @property
    def fix(self) -> Fix | None:
        """The first position that can be one."""
        fix = next((fix for receiver in self.receivers if (fix := _fix(receiver))), None)
        says_nothing = (self.camera or "").casefold().startswith(_ALWAYS_VOID)
        return fix._replace(is_current=True) if fix and says_nothing else fix

    @property
    def error_m(self) -> float | None:
        """Of the position, as receivers say."""
        stated = (number(receiver.get(GPS.GPSHPositioningError)) for receiver in self.receivers)
        return next((error_m for error_m in stated if error_m and error_m > 0), None)

    @property
    def direction(self) -> Direction | None:
        """Of the stitched sphere, else of the camera, else of movement.

        A lone 0 is what stitchers and cameras write that know none.
        """
        pose = _pose_deg(self.xmp)
        if pose:
            return Direction(pose, HeadingFrom.POSE)
        seen = (_direction(r, GPS.GPSImgDirection, GPS.GPSImgDirectionRef, HeadingFrom.DEVICE) for r in self.receivers)
        gone = (
            _direction(r, GPS.GPSTrack, GPS.GPSTrackRef, HeadingFrom.TRACK)
            for r in self.receivers
            if number(r.get(GPS.GPSSpeed)) != 0  # who stands goes nowhere
        )
        return next((direction for direction in (*seen, *gone) if direction), None)

    @property
    def clocks(self) -> list[datetime]:
        """What the clocks say, in order of trust."""
        original = self._clock(Base.DateTimeOriginal, Base.OffsetTimeOriginal)
        of_xmp = [
            instant(self.xmp.get(name), [self.xmp.get("exif:OffsetTimeOriginal")])
            for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate", "GPano:FirstPhotoDate")
        ]
        later = [
            self._clock(Base.DateTimeDigitized, Base.OffsetTimeDigitized),
            instant(self.xmp.get("exif:DateTimeDigitized")),
            self._clock(Base.DateTime, Base.OffsetTime),
            instant(self.xmp.get("xmp:ModifyDate")),
        ]
        fixed = (receiver for receiver in self.receivers if not _is_void(receiver))
        satellites = next(filter(None, (_satellite_time(receiver) for receiver in fixed)), None)
        described = [instant(receiver.get(_CAPTURE_TIME), ["Z"]) for receiver in self.receivers]
        return in_order(original, satellites, [*of_xmp, *described, *later])

    def _clock(self, tag: int, offset: int) -> datetime | None:
        """With its own offset, else with another that is stated."""
        others = (Base.OffsetTimeOriginal, Base.OffsetTimeDigitized, Base.OffsetTime, _TIME_ZONE_OFFSET)
        return instant(self.tags.get(tag), [self.tags.get(name) for name in (offset, *others)])


def _directory(image: Image.Image, tag: int) -> dict[int, Any]:
    """One directory of the EXIF data (0: the main one), bytes as text; empty if it cannot be read."""
    try:
        exif = image.getexif()
        found = exif.get_ifd(tag) if tag else exif
        return {name: _plain(value) for name, value in found.items()}
    except BROKEN:
        return {}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    return value.strip("\0 ") if isinstance(value, str) else value


def _by_drone(xmp: Mapping[str, str]) -> dict[int, Any]:
    """Signed degrees, and `GpsLongtitude` is how DJI spelled it for years, as tags of a receiver."""
    lon = xmp.get("drone-dji:GpsLongitude", xmp.get("drone-dji:GpsLongtitude"))
    found = {GPS.GPSLatitude: xmp.get("drone-dji:GpsLatitude"), GPS.GPSLongitude: lon}
    return {int(tag): value for tag, value in found.items() if value is not None}


def _described(tags: Tags) -> dict[int, Any]:
    """The JSON in ImageDescription that Mapillary's tools write, as tags of a receiver."""
    try:
        said = fields.mapping(orjson.loads(tags.get(Base.ImageDescription) or "{}"))
    except (ValueError, TypeError):
        return {}
    degrees, ref = _compass(fields.mapping(said.get("MAPCompassHeading")))
    found = {
        GPS.GPSLatitude: said.get("MAPLatitude"),
        GPS.GPSLongitude: said.get("MAPLongitude"),
        GPS.GPSImgDirection: degrees,
        GPS.GPSImgDirectionRef: ref,
        GPS.GPSTimeStamp: said.get("MAPGpsTime"),
        GPS.GPSHPositioningError: said.get("MAPGPSAccuracyMeters"),
        _CAPTURE_TIME: said.get("MAPCaptureTime"),
    }
    return {int(tag): value for tag, value in found.items() if value is not None}


def _compass(said: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The direction, and `M` for one to magnetic north.

    Where the two differ by a quarter, as of phones that are held another way than they think, neither counts.
    """
    true, magnetic = number(said.get("TrueHeading")), number(said.get("MagneticHeading"))
    if true and magnetic and abs((true - magnetic + 180) % 360 - 180) > _MOST_DECLINATION_DEG:
        return None, None
    return (true, None) if true or not magnetic else (magnetic, "M")


def _fix(receiver: Tags) -> Fix | None:
    lat = coordinate(receiver.get(GPS.GPSLatitude), receiver.get(GPS.GPSLatitudeRef), "latitude")
    lon = coordinate(receiver.get(GPS.GPSLongitude), receiver.get(GPS.GPSLongitudeRef), "longitude")
    place = fields.position(lon, lat)
    return Fix(*place, is_current=not _is_void(receiver)) if place else None


def _is_void(receiver: Tags) -> bool:
    return (fields.text(receiver.get(GPS.GPSStatus)) or "").upper().startswith("V")


def _direction(receiver: Tags, tag: int, ref: int, how: HeadingFrom) -> Direction | None:
    deg = heading_deg(number(receiver.get(tag)))
    north = (fields.text(receiver.get(ref)) or "").upper()
    return None if deg is None or (deg == 0 and not north) else Direction(deg, how, north.startswith("M"))


def _satellite_time(receiver: Tags) -> datetime | None:
    time = receiver.get(GPS.GPSTimeStamp)
    if (at_once := instant(time, ["Z"])) is not None:
        return at_once
    hms = time.split(":") if isinstance(time, str) else time if isinstance(time, tuple) else ()
    parts = [part for part in map(number, hms) if part is not None]
    return satellite_time(receiver.get(GPS.GPSDateStamp), parts)


def _pose_deg(xmp: Mapping[str, str]) -> float | None:
    """Of the image's center: the pose is that of the whole sphere's, and of a part of it, the center lies elsewhere."""
    pose = heading_deg(number(xmp.get("GPano:PoseHeadingDegrees")))
    names = ("CroppedAreaLeftPixels", "CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
    left, width, whole = (number(xmp.get(f"GPano:{name}")) for name in names)
    if not pose or left is None or width is None or not whole:
        return pose
    return heading_deg(pose + 360 * ((left + width / 2) / whole - 0.5))
