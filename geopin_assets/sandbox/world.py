"""The sandbox's world: a few invented streets and every image that the sandbox's sources took of them.

Here: streets, drives and shots, as data. Not here: what a street looks like (`scenes.py`), how a
source words its answers (`panoramax.py`, `amsterdam.py`), files (`photos.py`).

All of it is deterministic: positions, dates and ids follow from the two tables below. Most streets
lie in the cells around r090c051 in Amsterdam, one in Utrecht; cell r091c051 stays empty.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache

import numpy as np

from geopin_assets.geo import destination, normalize_heading

LOOK = 1  # raise it when scenes or rendering change what the same shot shows
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
    NO_GPS = "no_gps"
    POSITION_IN_TABLE = "position_in_table"
    TRUNCATED = "truncated"


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
    """One image. `heading_deg` is the bearing of the camera; `rank` counts a drive's shots from 1."""

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
        lon, lat = drive.street.position(along_m, right_m)
        yield Shot(
            drive=drive,
            rank=rank,
            along_m=along_m,
            right_m=right_m,
            lon=lon,
            lat=lat,
            heading_deg=normalize_heading(drive.street.bearing_deg + drive.turn_deg + wobble_deg),
            captured_at=drive.started_at + timedelta(seconds=4 * (rank - 1)),
            quirk=quirks.get(rank),
        )


GRACHT = Street("Zandbakgracht", 4.8740, 52.3740, 60, 240, is_canal=True)
STRAAT = Street("Speelstraat", 4.8860, 52.3835, 120, 180)
CORNER = Street("Hoeklaan", 4.8936, 52.37, 0, 160)  # along the edge of two columns, its middle on a cell corner
MIDDLE = Street("Middenweg", 4.87895, 52.379, 90, 140)  # along the line where cell r090c051 is split in quarters
KADE = Street("Emmerkade", 4.9080, 52.3760, 210, 160)
PLEIN = Street("Schepplein", 4.8750, 52.3610, 30, 160)
DREEF = Street("Glijbaandreef", 4.9100, 52.3580, 300, 160)
UTRECHT = Street("Wipkade", 5.1230, 52.0880, 60, 180, is_canal=True)


def _at(year: int, month: int, day: int, hour: int = 10) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


_PANORAMAX = (
    Drive(source="panoramax", name="gracht-flat", street=GRACHT, from_m=-100, step_m=6.6, count=31, right_m=11,
          started_at=_at(2024, 6, 1), creator="fietser_020",
          quirks=((4, Quirk.JUNK_DATE), (9, Quirk.NO_HEADING), (14, Quirk.NO_FIELD_OF_VIEW), (19, Quirk.HIDDEN))),
    Drive(source="panoramax", name="straat-flat", street=STRAAT, from_m=-70, step_m=15, count=10, right_m=1.5,
          started_at=_at(2023, 10, 14), creator="Stadsarchief", license="etalab-2.0",
          quirks=((3, Quirk.NON_OPEN), (7, Quirk.NO_LICENSE))),
    Drive(source="panoramax", name="corner-flat", street=CORNER, from_m=-60, step_m=20, count=7, jitter_m=0,
          started_at=_at(2025, 3, 8), creator="fietser_020"),
    Drive(source="panoramax", name="middle-flat", street=MIDDLE, from_m=-40, step_m=20, count=5, jitter_m=0,
          started_at=_at(2024, 9, 21), creator="fietser_020"),
    Drive(source="panoramax", name="plein-flat", street=PLEIN, from_m=64, step_m=-16, count=9, right_m=-1.5,
          turn_deg=180, started_at=_at(2016, 9, 3), creator="oud_beeld"),
    Drive(source="panoramax", name="utrecht-flat", street=UTRECHT, from_m=-72, step_m=18, count=9, right_m=10.5,
          started_at=_at(2024, 8, 17), creator="domstad", quirks=((2, Quirk.NON_OPEN), (5, Quirk.JUNK_DATE))),
    Drive(source="panoramax", name="kade-360", street=KADE, from_m=-50, step_m=25, count=5, right_m=-1,
          started_at=_at(2022, 5, 19), creator="rondkijker", is_pano=True),
    Drive(source="panoramax", name="straat-360", street=STRAAT, from_m=-50, step_m=25, count=5, right_m=-2, turn_deg=90,
          started_at=_at(2021, 11, 6), creator="rondkijker", is_pano=True),
)  # fmt: skip
_AMSTERDAM = (
    Drive(source="amsterdam", name="straat-2019", street=STRAAT, from_m=-70, step_m=20, count=8, right_m=1,
          started_at=_at(2019, 4, 24), is_pano=True),
    Drive(source="amsterdam", name="gracht-2021", street=GRACHT, from_m=-100, step_m=18, count=12, right_m=10.5,
          started_at=_at(2021, 7, 13), is_pano=True),
    Drive(source="amsterdam", name="kade-2023", street=KADE, from_m=-70, step_m=20, count=8, right_m=1,
          started_at=_at(2023, 3, 22), is_pano=True),
    Drive(source="amsterdam", name="corner-2025", street=CORNER, from_m=-40, step_m=20, count=5, jitter_m=0,
          started_at=_at(2025, 9, 4, 6), is_pano=True),
    Drive(source="amsterdam", name="dreef-2025", street=DREEF, from_m=-60, step_m=20, count=7, right_m=1,
          started_at=_at(2025, 9, 5, 8), is_pano=True),
)  # fmt: skip
_OWN_PHOTOS = (
    Drive(source="own_photos", name="gracht-survey", street=GRACHT, from_m=98, step_m=-24, count=8, right_m=10,
          turn_deg=180, started_at=_at(2025, 7, 2), quirks=((3, Quirk.POSITION_IN_TABLE),)),
    Drive(source="own_photos", name="straat-survey", street=STRAAT, from_m=-60, step_m=30, count=5, right_m=-1,
          started_at=_at(2025, 1, 15), quirks=((2, Quirk.NO_HEADING), (4, Quirk.NO_GPS))),
    Drive(source="own_photos", name="plein-survey", street=PLEIN, from_m=56, step_m=-22, count=6, right_m=1,
          turn_deg=180, started_at=_at(2018, 5, 30), quirks=((6, Quirk.TRUNCATED),)),
    Drive(source="own_photos", name="utrecht-survey", street=UTRECHT, from_m=-60, step_m=24, count=6, right_m=10.5,
          started_at=_at(2025, 2, 11), quirks=((1, Quirk.POSITION_IN_TABLE), (4, Quirk.POSITION_IN_TABLE))),
    Drive(source="own_photos", name="kade-pano", street=KADE, from_m=-15, step_m=30, count=2, is_pano=True,
          turn_deg=30, started_at=_at(2024, 4, 9)),
)  # fmt: skip
_QUERIES = (
    Drive(source="query", name="query-gracht", street=GRACHT, from_m=27, step_m=1, count=1, right_m=11.5, turn_deg=2,
          started_at=_at(2026, 5, 4)),
    Drive(source="query", name="query-straat", street=STRAAT, from_m=6, step_m=1, count=1, right_m=1.2, turn_deg=1,
          started_at=_at(2026, 4, 18)),
    Drive(source="query", name="query-kade", street=KADE, from_m=1.5, step_m=1, count=1, right_m=-0.5, turn_deg=-1,
          started_at=_at(2026, 8, 23)),
)  # fmt: skip


@cache
def build_world() -> World:
    """The one world of the sandbox. Its "query" shots are published by no source."""
    drives = (*_PANORAMAX, *_AMSTERDAM, *_OWN_PHOTOS, *_QUERIES)
    return World(tuple(shot for drive in drives for shot in shots(drive)))
