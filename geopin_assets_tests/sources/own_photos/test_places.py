"""Where photos were taken: the forms of coordinates, and who says them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.TiffImagePlugin import IFDRational

from geopin_assets.capture import PositionFrom, Rejected
from geopin_assets.sources.own_photos.places import coordinate, number
from geopin_assets.sources.own_photos.scan import Reading
from geopin_assets.xmp import DJI
from geopin_assets_tests.sources.own_photos.photos import looked_at, packet, seen

LAT_REF, LAT, LON_REF, LON, STATUS, ERROR = 1, 2, 3, 4, 9, 31


@pytest.mark.parametrize(
    ("value", "hemisphere"),
    [
        *(
            ((52.0, 22.0, 12.0), ref)
            for ref in ("N", "n", "North", "NORTH", "noord", "Noorderbreedte", "nord", "", None, " ")
        ),
        *(((52.0, 22.2), "N"), ((52.0, 22.2, 0.0), "N"), (52.37, "N"), ((52.37,), "N"), ((52.37, 0.0, 0.0), "N")),
        *((IFDRational(5237, 100), "N"), ((IFDRational(52), IFDRational(222, 10), IFDRational(0)), "N"), (52.37, None)),
        *(
            (text, "N")
            for text in ("52.37", "52,22,12", "52 22 12.0", "52/1,22/1,1200/100", "52/1 222/10 0/1", "5237/100")
        ),
        *(
            (text, None)
            for text in ("52,22.2N", "52,22,12N", "N52.37", "52.37 N", "+52.37", "52° 22' 12\" N", "52,370000")
        ),
        *((text, None) for text in ("52 deg 22' 12.00\" N", "52°22.2' North", "N 52° 22.200", "5.237e1", "52;22;12 N")),
    ],
)
def test_a_latitude_is_read_in_every_form_it_comes_in(value: Any, hemisphere: Any):
    assert coordinate(value, hemisphere, "latitude") == pytest.approx(52.37, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "hemisphere", "degrees"),
    [
        *((4.895, ref, 4.895) for ref in ("E", "east", "Oost", "Oosterlengte", "Ost", "O", None)),
        *((4.895, ref, -4.895) for ref in ("W", "west", "Westerlengte", "Ouest", "Oeste", "Ovest")),
        *(((4.0, 53.0, 42.0), "W", -4.895), ("4,53.7W", None, -4.895), ("-4.895", None, -4.895), (-4.895, "W", -4.895)),
        *(("−4.895", None, -4.895), ("-4 53 42", None, -4.895), ("-0 30 0", None, -0.5), ("4,53.7E", "E", 4.895)),
    ],
)
def test_a_longitude_may_be_west(value: Any, hemisphere: Any, degrees: float):
    assert coordinate(value, hemisphere, "longitude") == pytest.approx(degrees, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "hemisphere"),
    [
        *(
            (value, "N")
            for value in (None, "", (), "N", "north", "52.3.7.1", (52.0, 22.0, 12.0, 1.0), (52.0, None, 12.0))
        ),
        *(
            (value, "N")
            for value in ((52.0, 61.0, 0.0), (52.0, 22.0, 1200.0), (52.0, -22.0, 0.0), -52.37, "-52.37", (-52.0, 22.0))
        ),
        *(
            (value, "N")
            for value in ((IFDRational(0, 0), 0.0, 0.0), (52.0, 22.0, IFDRational(0, 0)), float("nan"), "inf")
        ),
        *(
            (value, "N")
            for value in ((52.37, 22.2, 12.0), (52.0, 22.2, 12.0), "52,37", b"\x01", {}, [], object(), True)
        ),
        *((52.37, ref) for ref in ("X", "?", "E", "1", "maybe")),
        *((text, None) for text in ("52,37", "52.37 X", "52.37 N S", "0x34", "fifty-two")),
    ],
)
def test_what_cannot_be_understood_or_contradicts_itself_is_no_latitude(value: Any, hemisphere: Any):
    assert coordinate(value, hemisphere, "latitude") is None


@given(
    st.text(max_size=60) | st.floats() | st.lists(st.floats() | st.none() | st.text()).map(tuple),
    st.text(max_size=9) | st.none(),
)
def test_anything_is_a_finite_coordinate_or_none(value: Any, hemisphere: Any):
    assert (
        coordinate(value, hemisphere, "longitude") is None
        or number(coordinate(value, hemisphere, "longitude")) is not None
    )


IN_XMP = packet('exif:GPSLatitude="52,22.2N" exif:GPSLongitude="4,53.7E"')
AS_TEXT = RAW = b"Exif\0\0MM\0*\0\0\0\x08" + (
    b"\0\x01\x88\x25\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0"  # the directory of the receiver is at 26
    b"\0\x02\0\x02\0\x02\0\0\0\x06\0\0\0\x38\0\x04\0\x02\0\0\0\x06\0\0\0\x3e\0\0\0\0"
    b"52.37\x004.895\0"
)


@pytest.mark.parametrize(
    "options",
    [
        {"gps": {LAT_REF: "", LON_REF: ""}},
        {"gps": {LAT_REF: ""}},
        {"gps": {LAT_REF: "North", LON_REF: "East"}},
        {"gps": {LAT: 52.37, LON: 4.895}},
        {"gps": {LAT: (52.0, 22.2), LON: (4.0, 53.7)}},
        {"gps": {LAT: (52.0, 22.2, IFDRational(0, 0)), LON: (4.895, IFDRational(0, 0), IFDRational(0, 0))}},
        {"lon": None, "xmp": IN_XMP},
        {"lon": None, "xmp": packet('d:GpsLatitude="+52.37" d:GpsLongtitude="4.895"', "d", DJI.decode())},
        {"lon": None, "xmp": packet('exif:GPSLatitude="52.37" exif:GPSLatitudeRef="N" exif:GPSLongitude="4.895"')},
        {"lon": None, "xmp": packet('a:GPSLatitude="52,22,12N" a:GPSLongitude="4,53,42E"', "a")},
        {"lon": None, "root": {270: '{"MAPLatitude": 52.37, "MAPLongitude": 4.895}'}},
        {"lon": None, "root": {270: '{"MAPLatitude": "52.37", "MAPLongitude": "4.895"}'}},
        {"gps": {LAT: (IFDRational(0, 0), 0.0, 0.0)}, "xmp": IN_XMP},  # what is broken in EXIF may be whole in XMP
        {"gps": {LAT: (0.0, 0.0, 0.0), LON: (0.0, 0.0, 0.0)}, "xmp": IN_XMP},
        {"xmp": packet('exif:GPSLatitude="51,22.2N" exif:GPSLongitude="3,53.7E"')},  # EXIF counts first
    ],
)
def test_a_position_is_found_wherever_it_is_said(tmp_path: Path, options: dict[str, Any]):
    photo = seen(tmp_path, **options)
    assert (photo.lat, photo.lon) == (pytest.approx(52.37), pytest.approx(4.895))
    assert photo.position_from == PositionFrom.DEVICE


def test_a_position_in_exif_may_be_text(tmp_path: Path):
    photo = seen(tmp_path, AS_TEXT, lon=None, time=None)
    assert (photo.lat, photo.lon) == (52.37, 4.895)


@pytest.mark.parametrize(
    ("gps", "reason"),
    [
        ({LAT: (52.0, 22.0, IFDRational(0, 0))}, "bad_coordinates"),  # a nautical mile of places
        ({LAT: (91.0, 0.0, 0.0)}, "bad_coordinates"),
        ({LAT: (0.0, 0.0, 0.0), LON: (0.0, 0.0, 0.0)}, "bad_coordinates"),
        ({LAT: (IFDRational(0, 0), 0.0, 0.0)}, "bad_coordinates"),
        ({LAT_REF: "X"}, "bad_coordinates"),
        ({LAT: (52.0, 99.0, 0.0)}, "bad_coordinates"),
    ],
)
def test_coordinates_that_cannot_be_are_no_position(tmp_path: Path, gps: dict[int, Any], reason: str):
    photo = looked_at(tmp_path, gps=gps)
    assert isinstance(photo, Rejected) and photo.reason == reason


def test_a_southern_position_is_no_northern_one(tmp_path: Path):
    assert seen(tmp_path, gps={LAT_REF: "S"}).lat == pytest.approx(-52.37)


@pytest.mark.parametrize(
    ("gps", "how", "kept"),
    [
        ({ERROR: 4.5}, Reading(), ("device", 4.5)),
        ({ERROR: 0.0}, Reading(), ("device", None)),  # who never errs knows nothing of it
        ({ERROR: 250.0}, Reading(), None),
        ({ERROR: 250.0}, Reading(max_error_m=0), ("device", 250.0)),
        ({ERROR: 4.5}, Reading(max_error_m=3), None),
        ({STATUS: "A"}, Reading(needs_fix=True), ("device", None)),
        ({STATUS: "V"}, Reading(needs_fix=False), ("last_fix", None)),
        ({STATUS: "V"}, Reading(), None),
        ({STATUS: "v"}, Reading(needs_fix=True), None),
        ({STATUS: "V", ERROR: 4.5}, Reading(max_error_m=3), None),
    ],
)
def test_stated_errors_are_kept_and_judged_as_asked(
    tmp_path: Path, gps: dict[int, Any], how: Reading, kept: tuple[str, float | None] | None
):
    photo = looked_at(tmp_path, gps=gps, how=how)
    if isinstance(photo, Rejected):
        assert kept is None and photo.reason == "inexact"
    else:
        assert (photo.position_from, photo.position_error_m) == kept
