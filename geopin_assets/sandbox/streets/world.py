"""What a world is made of: streets, drives along them, and the shots of each drive.

Here: the types and how a drive becomes shots, deterministically. Not here: the sandbox's own streets and
drives (`drives.py`), what a street looks like (`scenes.py`), how a source words its answers.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from geopin_assets.geo import destination, normalize_heading

LOOK = 4  # raise it when scenes or rendering change what the same shot shows
MOVED_M = 200.0
_SEED = 20_260


@dataclass(frozen=True, slots=True)
class Street:
    """A straight street, anchored at its middle. `bearing_deg`: direction in which `along_m` grows."""

    name: str
    lon: float
    lat: float
    bearing_deg: float
    length_m: float
    is_canal: bool = False

    def position(self, along_m: float, right_m: float) -> tuple[float, float]:
        """(lon, lat) of a point, meters from the middle along the street and to its right, to 7 decimals."""
        lon, lat = destination(self.lon, self.lat, self.bearing_deg, along_m)
        lon, lat = destination(lon, lat, self.bearing_deg + 90, right_m)
        return round(lon, 7), round(lat, 7)


class Quirk(StrEnum):
    """What is odd about one shot, as found on the real platforms."""

    JUNK_DATE = "junk_date"
    NO_HEADING = "no_heading"
    NO_FIELD_OF_VIEW = "no_field_of_view"
    NO_LICENSE = "no_license"
    NON_OPEN = "non_open"
    HIDDEN = "hidden"
    NULL_ISLAND = "null_island"
    NO_DATE = "no_date"
    NO_CREATOR = "no_creator"
    NOT_STREET = "not_street"
    NO_GPS = "no_gps"
    POSITION_IN_TABLE = "position_in_table"
    TRUNCATED = "truncated"
    MOVED = "moved"
    """Published MOVED_M from where it was taken."""
    TURNED = "turned"
    """Published with the opposite direction."""
    INDOOR = "indoor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One pass along a street by one camera. `turn_deg`: heading of the image center relative to the street."""

    source: str
    name: str
    street: Street
    from_m: float
    step_m: float
    count: int
    started_at: datetime
    right_m: float = 0.0
    turn_deg: float = 0.0
    jitter_m: float = 0.5
    """Standard deviation of the positions around the line; 0 puts every shot exactly on it."""
    is_pano: bool = False
    creator: str = ""
    license: str = "CC-BY-SA-4.0"
    quirks: tuple[tuple[int, Quirk], ...] = ()
    """(rank, quirk) of the odd shots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One image. Position and `heading_deg`, the bearing of the camera, are what is published of it (`shows_deg` is
    true); `rank` counts a drive's shots from 1.
    """

    drive: Drive
    rank: int
    along_m: float
    right_m: float
    lon: float
    lat: float
    heading_deg: float
    captured_at: datetime
    quirk: Quirk | None = None

    @property
    def name(self) -> str:
        return f"{self.drive.name}-{self.rank:03d}"

    @property
    def shows_deg(self) -> float:
        """Where the camera looked, whatever is published."""
        return normalize_heading(self.heading_deg + 180 * (self.quirk is Quirk.TURNED))


@dataclass(frozen=True, slots=True)
class World:
    """All shots, in the order in which they were published. `version` changes with any of them."""

    shots: tuple[Shot, ...]
    version: str = field(init=False)

    def __post_init__(self) -> None:
        text = repr((LOOK, self.shots))
        object.__setattr__(self, "version", hashlib.sha256(text.encode()).hexdigest()[:12])

    def of(self, source: str) -> tuple[Shot, ...]:
        """The shots of one source, hidden ones included."""
        return tuple(shot for shot in self.shots if shot.drive.source == source)


def shots(drive: Drive) -> Iterator[Shot]:
    """The images of a drive, 4 s apart."""
    rng = np.random.default_rng([_SEED, *drive.name.encode()])
    quirks = dict(drive.quirks)
    for rank in range(1, drive.count + 1):
        off_along, off_right = rng.normal(0, 1, 2) * drive.jitter_m
        along_m = drive.from_m + drive.step_m * (rank - 1) + float(off_along)
        right_m = drive.right_m + float(off_right)
        wobble_deg = float(rng.normal(0, 2)) * (drive.jitter_m > 0)
        quirk = quirks.get(rank)
        lon, lat = drive.street.position(along_m + MOVED_M * (quirk is Quirk.MOVED), right_m)
        told_deg = drive.street.bearing_deg + drive.turn_deg + 180 * (quirk is Quirk.TURNED)
        yield Shot(
            drive=drive,
            rank=rank,
            along_m=along_m,
            right_m=right_m,
            lon=lon,
            lat=lat,
            heading_deg=normalize_heading(told_deg + wobble_deg),
            captured_at=drive.started_at + timedelta(seconds=4 * (rank - 1)),
            quirk=quirk,
        )
