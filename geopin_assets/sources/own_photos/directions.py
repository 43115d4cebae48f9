"""Where a camera looked: directions as cameras write them, and what makes them directions to true north.

Here: numbers that are none, magnetic declination, and the direction of movement along a sequence. Not here: which tags
hold them (`exif.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from geopin_assets.capture import HeadingFrom
from geopin_assets.geo import bearing_deg, distance_m, normalize_heading
from geopin_assets.sources import fields

if TYPE_CHECKING:
    from geopin_assets.sources.own_photos.scan import Photo

_NEAREST_M, _FARTHEST_M = 2.0, 50.0
"""On the way past a photo; from one to the next: who stands still wanders, by what receivers say."""
_LONGEST = timedelta(minutes=2)
_UNKNOWN = datetime.min.replace(tzinfo=UTC)
_DIVISORS, _LEAST_DEG = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000), -180.0
_MODELS = (2010, 2015, 2020, 2025)


def heading_deg(deg: float | None) -> float | None:
    """A direction as a camera wrote it, in [0, 360), or None.

    Some write negative numbers where only others can stand: as much below 2 ** 32, whatever that is divided by.
    """
    for divisor in _DIVISORS:
        below = (deg or 0) - 2**32 / divisor
        if _LEAST_DEG <= below < 0:
            return None if round(below * divisor) == -1 else fields.heading_deg(below)
    return fields.heading_deg(deg)


def to_true_north(deg: float, lon: float, lat: float, at: datetime) -> float:
    """What a compass shows, by the World Magnetic Model: in the Netherlands it points 1 to 4 degrees east of north."""
    return normalize_heading(deg + _declination_deg(round(lon, 1), round(lat, 1), at.year + round(at.month / 12, 2)))


@lru_cache(4096)
def _declination_deg(lon: float, lat: float, year: float) -> float:
    from pygeomag import GeoMag  # pure Python, 0.4 ms; its objects are not for several threads

    base = max((model for model in _MODELS if model <= year), default=_MODELS[0])
    model = GeoMag(base_year=base)
    return float(model.calculate(glat=lat, glon=lon, alt=0, time=year, allow_date_outside_lifespan=True).d)


def along_sequences(photos: Sequence["Photo"]) -> list["Photo"]:
    """The photos in their order; one without a direction gets that of its way, from the photo before to the one after.

    A sequence is what one camera took in one folder: by time, or by name where there are no times. Where all of it, and
    it is more than two, looks exactly north, the camera knew no direction.
    """
    turned: dict[str, Photo] = {}
    for _, group in groupby(sorted(photos, key=_in_sequence), key=lambda photo: _in_sequence(photo)[:2]):
        sequence = list(group)
        is_unset = len(sequence) > 2 and all(photo.heading_deg == 0 for photo in sequence)
        for number, photo in enumerate(sequence):
            if photo.heading_deg is None or is_unset:
                deg = _way_deg(*sequence[max(0, number - 1) : number + 2], at=min(number, 1))
                how = None if deg is None else HeadingFrom.SEQUENCE
                turned[photo.file.name] = replace(photo, heading_deg=deg, heading_from=how)
    return [turned.get(photo.file.name, photo) for photo in photos]


def _in_sequence(photo: "Photo") -> tuple[str, str, datetime, str]:
    folder = photo.file.name.rpartition("/")[0]
    return folder, photo.header.camera or "", photo.captured_at or _UNKNOWN, photo.file.name


def _way_deg(*photos: "Photo", at: int) -> float | None:
    """The direction past a photo, if somebody went there."""
    before = at > 0 and _is_step(*photos[:2])
    after = at + 1 < len(photos) and _is_step(*photos[-2:])
    one, other = photos[at - before], photos[at + after]
    if distance_m(one.lon, one.lat, other.lon, other.lat) < _NEAREST_M:
        return None
    return bearing_deg(one.lon, one.lat, other.lon, other.lat)


def _is_step(one: "Photo", other: "Photo") -> bool:
    if (one.captured_at is None) != (other.captured_at is None):
        return False
    pause = other.captured_at - one.captured_at if one.captured_at and other.captured_at else _LONGEST
    return pause <= _LONGEST and distance_m(one.lon, one.lat, other.lon, other.lat) <= _FARTHEST_M
