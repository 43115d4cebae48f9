"""Where cameras looked: numbers that are none, which north, and what counts where nothing is said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.TiffImagePlugin import IFDRational

from geopin_assets.capture import HeadingFrom
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos.directions import to_true_north
from geopin_assets.sources.own_photos.scan import Memory, scan
from geopin_assets_tests.sources.own_photos.photos import packet, seen
from geopin_assets_tests.sources.recordings.own_photos import NOW, write_photo

SPEED, TRACK_REF, TRACK, REF, DIRECTION = 13, 14, 15, 16, 17
GPANO = "http://ns.google.com/photos/1.0/panorama/"
EAST = {"direction": ("T", 90.0)}


def pose(degrees: str) -> bytes:
    return packet(f'GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="{degrees}"', "GPano", GPANO)


@pytest.mark.parametrize(
    ("written", "heading_deg"),
    [
        *(
            (0, 0.0),
            (359.5, 359.5),
            (360, 0.0),
            (450, 90.0),
            (-0.5, 359.5),
            (-90, 270.0),
            (-180, 180.0),
            ("12.5", 12.5),
        ),
        *((None, None) for _ in range(1)),
        *(
            (number, None)
            for number in (-1, "-1.0", -180.5, 450.5, 655.35, 65535, 1e9, float("nan"), "north", "", True)
        ),
    ],
)
def test_numbers_far_out_of_range_and_minus_one_are_no_direction(written: Any, heading_deg: float | None):
    assert fields.heading_deg(written) == heading_deg


@given(st.floats())
def test_any_number_is_a_direction_or_none(degrees: float):
    heading_deg = fields.heading_deg(degrees)
    assert heading_deg is None or 0 <= heading_deg < 360


@pytest.mark.parametrize(
    ("options", "heading_deg", "how"),
    [
        ({"direction": ("T", 359.5)}, 359.5, "device"),
        ({"direction": ("T", 360.0)}, 0.0, "device"),
        ({"direction": ("T", 0.0)}, 0.0, "device"),
        ({"direction": ("True north", 90.0)}, 90.0, "device"),
        ({"direction": None, "gps": {DIRECTION: 90.0}}, 90.0, "device"),
        ({"direction": None, "gps": {DIRECTION: 0.0}}, None, None),  # which north? what cameras write that know none
        ({"direction": None}, None, None),
        ({"direction": ("T", 65535.0)}, None, None),
        ({"direction": ("T", 655.35)}, None, None),
        ({"direction": ("T", IFDRational(4294967201))}, 265.0, "device"),  # -95 without a sign
        ({"direction": ("T", IFDRational(2**32 - 9550, 100))}, 264.5, "device"),
        ({"direction": ("T", IFDRational(2**32 - 1))}, None, None),  # and -1
        ({"direction": ("T", IFDRational(2_650_000_000, 10_000_000))}, 265.0, "device"),
        ({"direction": None, "gps": {TRACK: 45.0, TRACK_REF: "T"}}, 45.0, "track"),
        ({"direction": None, "gps": {TRACK: 45.0}}, 45.0, "track"),
        ({"direction": None, "gps": {TRACK: 45.0, TRACK_REF: "T", SPEED: 0.0}}, None, None),
        ({"direction": None, "gps": {TRACK: 0.0}}, None, None),
        ({"direction": ("T", 90.0), "gps": {TRACK: 45.0, TRACK_REF: "T"}}, 90.0, "device"),
        ({"direction": ("T", 65535.0), "gps": {TRACK: 45.0, TRACK_REF: "T"}}, 45.0, "track"),
        (
            {"direction": None, "xmp": packet('exif:GPSImgDirection="9050/100" exif:GPSImgDirectionRef="T"')},
            90.5,
            "device",
        ),
        ({"direction": None, "xmp": packet('exif:GPSTrack="45" exif:GPSTrackRef="T"')}, 45.0, "track"),
        ({**EAST, "xmp": pose("10")}, 10.0, "pose"),
        ({**EAST, "xmp": pose("-10")}, 350.0, "pose"),
        ({**EAST, "xmp": pose("0.0")}, 90.0, "device"),
        ({**EAST, "xmp": pose("-1")}, 90.0, "device"),
        ({"direction": None, "xmp": pose("0.0")}, None, None),
        ({"direction": ("T", 0.0), "xmp": pose("0.0")}, 0.0, "device"),
        ({"direction": None, "xmp": pose("0"), "gps": {TRACK: 45.0, TRACK_REF: "T"}}, 45.0, "track"),
        ({"direction": None, "root": {270: '{"MAPCompassHeading": {"TrueHeading": 90}}'}}, 90.0, "device"),
        (
            {"direction": None, "root": {270: '{"MAPCompassHeading": {"TrueHeading": 0, "MagneticHeading": 0}}'}},
            None,
            None,
        ),
        (
            {"direction": None, "root": {270: '{"MAPCompassHeading": {"TrueHeading": 188, "MagneticHeading": 95}}'}},
            None,
            None,
        ),
    ],
)
def test_what_is_said_of_a_direction(
    tmp_path: Path, options: dict[str, Any], heading_deg: float | None, how: str | None
):
    photo = seen(tmp_path, **options)
    assert (photo.heading_deg, photo.heading_from) == (heading_deg, how)


@pytest.mark.parametrize(
    ("options", "heading_deg", "how"),
    [
        ({"direction": ("M", 90.0)}, 92.5, "magnetic"),
        ({"direction": ("Magnetic", 359.0)}, 1.5, "magnetic"),
        ({"direction": ("M", 0.0)}, 2.5, "magnetic"),
        ({"direction": ("M", 120.0), "xmp": pose("0.0")}, 122.5, "magnetic"),
        ({"direction": None, "gps": {TRACK: 45.0, TRACK_REF: "M"}}, 47.5, "track"),
        ({"direction": None, "root": {270: '{"MAPCompassHeading": {"MagneticHeading": 90}}'}}, 92.5, "magnetic"),
        ({"direction": ("M", 90.0), "time": ("2006:06:01 10:00:00", None)}, 89.6, "magnetic"),
        ({"direction": ("M", 90.0), "time": None}, 92.9, "magnetic"),  # then as of today
    ],
)
def test_a_compass_is_corrected_for_where_and_when_it_was(
    tmp_path: Path, options: dict[str, Any], heading_deg: float, how: str
):
    photo = seen(tmp_path, **options)
    assert (photo.heading_deg, photo.heading_from) == (pytest.approx(heading_deg, abs=0.15), how)


@pytest.mark.parametrize(
    ("year", "lon", "lat", "declination_deg"),
    [(2020, 0, 80, -1.28), (2020, 120, 0, 0.16), (2020, 240, -80, 69.36), (2025, 0, 80, 1.28), (2025, 120, 0, -0.16)],
)
def test_declinations_are_those_the_model_is_published_with(year: int, lon: float, lat: float, declination_deg: float):
    corrected = to_true_north(100.0, lon, lat, datetime(year, 1, 1, tzinfo=UTC))
    assert corrected == pytest.approx(100 + declination_deg, abs=0.05)


def walked(
    folder: Path, *places: tuple[float, float], every: timedelta | None = timedelta(seconds=5), **options: Any
) -> list[Any]:
    """(heading_deg, heading_from) of photos taken one after the other at (meters east, meters north) of the Dam."""
    start = datetime(2024, 6, 1, 10, tzinfo=UTC)
    for number, (east, north) in enumerate(places):
        time = (f"{start + number * every:%Y:%m:%d %H:%M:%S}", "+00:00") if every is not None else None
        lon, lat = 4.893 + east / 68_000, 52.373 + north / 111_200
        write_photo(folder / "walk" / f"{number}.jpg", lon, lat, time=time, **{"direction": None} | options)
    found = scan(LocalFolder(folder), NOW, Memory({}))
    photos = sorted((photo for cell in found.by_cell.values() for photo in cell), key=lambda photo: photo.file.name)
    return [
        (photo.heading_deg if photo.heading_deg is None else round(photo.heading_deg), photo.heading_from)
        for photo in photos
    ]


def test_the_last_resort_is_the_way_along_a_sequence(tmp_path: Path):
    on_foot = walked(tmp_path, (0, 0), (10, 0), (20, 0), (20, 10), (20, 20))
    assert on_foot == [(deg, HeadingFrom.SEQUENCE) for deg in (90, 90, 45, 0, 0)]


def test_without_times_names_are_in_order(tmp_path: Path):
    assert [deg for deg, _ in walked(tmp_path, (0, 20), (0, 10), (0, 0), every=None)] == [180, 180, 180]


@pytest.mark.parametrize(
    ("places", "every"),
    [
        ([(0, 0)], timedelta(seconds=5)),
        ([(0, 0), (1, 0), (0, 1)], timedelta(seconds=5)),  # somebody stands there
        ([(0, 0), (400, 0), (800, 0)], timedelta(seconds=5)),  # from here to there, but which way?
        ([(0, 0), (10, 0), (20, 0)], timedelta(hours=1)),
    ],
)
def test_photos_that_nobody_took_on_one_way_get_no_direction_of_it(
    tmp_path: Path, places: list[tuple[float, float]], every: timedelta
):
    assert walked(tmp_path, *places, every=every) == [(None, None)] * len(places)


def test_a_stated_direction_is_none_of_the_way(tmp_path: Path):
    walked(tmp_path, (0, 0), (10, 0), (20, 0))
    write_photo(
        tmp_path / "walk" / "1.jpg",
        4.893 + 10 / 68_000,
        52.373,
        time=("2024:06:01 10:00:05", "+00:00"),
        **EAST | {"direction": ("T", 200.0)},
    )
    found = scan(LocalFolder(tmp_path), NOW, Memory({}))
    headings = sorted(photo.heading_deg or 0 for cell in found.by_cell.values() for photo in cell)
    assert headings == [pytest.approx(90, abs=0.1), pytest.approx(90, abs=0.1), 200.0]


def test_a_camera_that_always_looks_exactly_north_knows_no_direction(tmp_path: Path):
    north = {"direction": ("T", 0.0)}
    assert walked(tmp_path, (0, 0), (10, 0), (20, 0), **north) == [(90, HeadingFrom.SEQUENCE)] * 3


def test_two_cameras_in_one_folder_are_two_sequences(tmp_path: Path):
    for number in range(4):
        place = 4.893 + 10 * (number // 2) / 68_000, 52.373 + 40 * (number % 2) / 111_200
        time = (f"2024:06:01 10:00:0{number}", "+00:00")
        write_photo(tmp_path / f"{number}.jpg", *place, direction=None, time=time, root={272: f"camera {number % 2}"})
    found = scan(LocalFolder(tmp_path), NOW, Memory({}))
    assert [round(photo.heading_deg or 0) for cell in found.by_cell.values() for photo in cell] == [90] * 4
