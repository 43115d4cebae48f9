"""When photos were taken: the forms of times, their offsets, and which clock is believed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.sources.own_photos.clocks import instant
from geopin_assets.sources.own_photos.scan import Reading
from geopin_assets_tests.sources.own_photos.photos import packet, seen

EIGHT = datetime(2024, 6, 1, 8, tzinfo=UTC)
ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132
OFFSET, OFFSET_ORIGINAL, OFFSET_DIGITIZED, ZONE_HOURS = 0x9010, 0x9011, 0x9012, 0x882A
GPS_TIME, GPS_DATE, GPS_STATUS = 7, 29, 9


@pytest.mark.parametrize(
    ("time", "captured_at"),
    [
        (("2024:06:01 10:00:00", "+02:00"), EIGHT),
        (("2024:06:01 10:00:00", "-05:30"), datetime(2024, 6, 1, 15, 30, tzinfo=UTC)),
        (("2024:06:01 10:00:00", None), EIGHT),
        (("2024:12:01 10:00:00", None), datetime(2024, 12, 1, 9, tzinfo=UTC)),
        (("2024:06:01 10:00:00.847", None), EIGHT),
        (("0000:00:00 00:00:00", None), None),
        (("1970:01:01 00:00:00", None), None),
        (("2099:01:01 00:00:00", None), None),
        (None, None),
    ],
)
def test_time_without_an_offset_is_dutch_local_time(
    tmp_path: Path, time: tuple[str, str | None] | None, captured_at: datetime | None
):
    assert seen(tmp_path, time=time).captured_at == captured_at


@pytest.mark.parametrize(
    "stamp",
    [
        *(
            "2024:06:01 10:00:00",
            "2024-06-01T10:00:00",
            "2024-06-01 10:00:00",
            "2024/06/01 10:00:00",
            "2024.06.01 10:00:00",
        ),
        *(
            "2024:06:01T10:00:00",
            "2024:6:1 10:0:0",
            "2024: 6: 1 10: 0: 0",
            "2024:06:01:10:00:00",
            "2024_06_01_10_00_00_000",
        ),
        *(
            "20240601T100000",
            "20240601 100000",
            "2024-06-01T10:00",
            "2024-06-01T10:00:00.123456",
            "2024:06:01 10:00:00,5",
        ),
        *("2024:06:01 10:00:00 AM", "2024:06:01 10:00:00 a.m.", "2024-06-01T10:00:00+02:00", "2024-06-01T08:00:00Z"),
        *("2024:06:01 08:00:00 UTC", "2024-06-01T10:00:00+02:00[Europe/Amsterdam]", " 2024:06:01 10:00:00 "),
        *(
            "2024:06:01 08:00:00+0000",
            "2024:06:01 08:00:00.00 +0:00",
            "2024-06-01T05:30:00-02:30",
            "2024:06:01 07:59:60Z",
        ),
    ],
)
def test_a_time_is_read_in_every_form_it_comes_in(stamp: str):
    assert instant(stamp) == EIGHT


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        ("2024:06:01 24:15:30", datetime(2024, 5, 31, 22, 15, 30, tzinfo=UTC)),  # of that day, not the next
        ("2024-06-01T24:15:30Z", datetime(2024, 6, 1, 0, 15, 30, tzinfo=UTC)),
        ("2024:06:01 12:15:30 AM", datetime(2024, 5, 31, 22, 15, 30, tzinfo=UTC)),
        ("2024:06:01 12:15:30 PM", datetime(2024, 6, 1, 10, 15, 30, tzinfo=UTC)),
        ("2024:06:01 03:15:30 PM", datetime(2024, 6, 1, 13, 15, 30, tzinfo=UTC)),
    ],
)
def test_hours_that_clocks_of_phones_and_people_write(stamp: str, time: datetime):
    assert instant(stamp) == time


@pytest.mark.parametrize(
    "stamp",
    [
        *("", " ", "    :  :     :  :  ", "2024:06:01", "2024:12:31", "2024", "2024-06-01T", "2024:06:01   :  :  "),
        *(
            "2024:13:01 10:00:00",
            "2024:02:30 10:00:00",
            "2024:06:01 25:00:00",
            "2024:06:01 10:60:00",
            "24:06:01 10:00:00",
        ),
        *("2024:06:01 10:00:00 local", "2024:06:01 10:00:00+25:00", "2024:06:01 10:00:00 +", "yesterday", "1717228800"),
        *("9999:12:31 23:59:59-12:00", "0001:01:01 00:00:00+14:00"),
    ],
)
def test_what_is_no_time_is_none(stamp: str):
    assert instant(stamp) is None


@pytest.mark.parametrize(
    "offset", ["Z", "z", "+0000", "+0:00", "+00:00", "UTC", "GMT+0", "UTC+00:00", "-00:00", 0, (0, 2)]
)
def test_an_offset_of_nothing_is_none_of_dutch_time(offset: Any):
    assert instant("2024:06:01 08:00:00", [offset]) == EIGHT


@pytest.mark.parametrize(
    "offset", ["+02:00", "+0200", "+2:00", "+2", "+02", "UTC+2", "GMT+02:00", "+02:00:00", 2, (2,)]
)
def test_an_offset_is_read_in_every_form(offset: Any):
    assert instant("2024:12:01 10:00:00", [offset]) == datetime(2024, 12, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("offset", ["+25:00", "+02:75", "CET?", "0200", "two", "+15:00", "-13:00", 99, "+２:00"])
def test_an_offset_that_cannot_be_read_is_never_dutch_time(tmp_path: Path, offset: Any):
    assert instant("2024:06:01 10:00:00", [offset]) is None
    assert instant("2024:06:01 10:00:00", [offset, "+01:00"]) == datetime(2024, 6, 1, 9, tzinfo=UTC)
    tags = {OFFSET_ORIGINAL: str(offset), DIGITIZED: "2024:06:01 12:00:00"}
    photo = seen(
        tmp_path, time=("2024:06:01 10:00:00", None), tags=tags, gps={GPS_TIME: (8.0, 0.0, 3.0), GPS_DATE: "2024:06:01"}
    )
    assert photo.captured_at == EIGHT.replace(second=3)


@pytest.mark.parametrize("offset", ["", "   :  ", "\0\0", None, ()])
def test_an_offset_left_blank_is_none_at_all(offset: Any):
    assert instant("2024:06:01 10:00:00", [offset]) == EIGHT


AT_EIGHT = {GPS_TIME: (8.0, 0.0, 0.0), GPS_DATE: "2024:06:01"}
LATER = "2025:01:05 12:00:00"


@pytest.mark.parametrize(
    "options",
    [
        {
            "tags": {ORIGINAL: "2024:06:01 10:00:00", OFFSET_ORIGINAL: "+02:00", DIGITIZED: LATER},
            "root": {CHANGED: LATER},
        },
        {"root": {ORIGINAL: "2024:06:01 10:00:00", CHANGED: LATER}},  # in the main directory
        {"tags": {ORIGINAL: "2024:06:01 09:00:00", OFFSET: "+01:00"}},
        {"tags": {ORIGINAL: "2024:06:01 05:00:00", ZONE_HOURS: -3}},
        {"gps": AT_EIGHT, "tags": {DIGITIZED: LATER}, "root": {CHANGED: LATER}},
        {"gps": {GPS_TIME: (8.0, 0.0, 0.0), GPS_DATE: "2024-06-01"}},
        {"gps": {GPS_TIME: (8.0, 0.0, 0.0), GPS_DATE: "2024/06/01"}},
        {"xmp": packet('exif:DateTimeOriginal="2024-06-01T10:00:00+02:00"'), "tags": {DIGITIZED: LATER}},
        {"xmp": packet('exif:DateTimeOriginal="2024-06-01T05:00:00" exif:OffsetTimeOriginal="-03:00"')},
        {"xmp": packet('exif:GPSTimeStamp="2024-06-01T08:00:00Z" exif:DateTimeDigitized="2025-01-05T12:00:00Z"')},
        {"xmp": packet('ps:DateCreated="2024-06-01T10:00:00"', "ps", "http://ns.adobe.com/photoshop/1.0/")},
        {
            "xmp": packet('xap:CreateDate="2024-06-01T08:00Z"', "xap", "http://ns.adobe.com/xap/1.0/"),
            "root": {CHANGED: LATER},
        },
        {"tags": {DIGITIZED: "2024:06:01 10:00:00", OFFSET_DIGITIZED: "+02:00"}, "root": {CHANGED: LATER}},
        {"root": {CHANGED: "2024:06:01 10:00:00"}, "tags": {OFFSET: "+02:00"}},
        {"xmp": packet('xmp:ModifyDate="2024-06-01T10:00:00+02:00"', "xmp", "http://ns.adobe.com/xap/1.0/")},
        {"root": {270: '{"MAPCaptureTime": "2024_06_01_08_00_00_000"}'}},
        {"root": {270: '{"MAPGpsTime": "2024_06_01_08_00_00_000"}', CHANGED: LATER}},
        {"tags": {ORIGINAL: "2024:06:01 10:00:00"}, "root": {270: '{"MAPCaptureTime": "2024_06_01_10_00_00_000"}'}},
        {"tags": {ORIGINAL: "2002:01:01 00:00:00", DIGITIZED: "2024:06:01 10:00:00"}},  # a clock that was never set
        {"tags": {ORIGINAL: "0000:00:00 00:00:00"}, "gps": AT_EIGHT},
    ],
)
def test_the_first_clock_that_can_be_read_and_true_counts(tmp_path: Path, options: dict[str, Any]):
    assert seen(tmp_path, time=None, **options).captured_at == EIGHT


@pytest.mark.parametrize(
    ("original", "gps", "captured_at"),
    [
        ("2024:06:01 08:00:00", AT_EIGHT, EIGHT),  # a camera that is set to UTC
        ("2024:06:01 04:30:00", AT_EIGHT, EIGHT),
        ("2019:01:01 00:00:00", AT_EIGHT, EIGHT),
        ("2024:06:01 09:58:00", AT_EIGHT, datetime(2024, 6, 1, 7, 58, tzinfo=UTC)),  # a fix somewhat older
        ("2024:06:01 10:00:00", AT_EIGHT | {GPS_DATE: "2024:06:02"}, EIGHT),  # the day beside it is the local one
        ("2024:06:01 10:00:00", AT_EIGHT | {GPS_DATE: "2004:10:16"}, EIGHT),  # 1,024 weeks before
        ("2024:06:01 08:00:00", AT_EIGHT | {GPS_DATE: "2004:10:16"}, EIGHT),
        ("2024:06:01 10:00:00", {GPS_TIME: (0.0, 0.0, 0.0), GPS_DATE: "2024:06:01"}, EIGHT),  # never set
        ("2024:06:01 10:00:00", {GPS_TIME: (12.0, 0.0, 0.0), GPS_DATE: "1980:01:06"}, EIGHT),
        ("2024:06:01 10:00:00", {GPS_TIME: (10.0, 0.0, 0.0)}, EIGHT),  # without a day: copied from the camera
        ("2024:06:01 10:00:00", {GPS_TIME: (10.0, 0.0, 0.0), GPS_DATE: "2024:06:01H"}, EIGHT),
        ("2024:06:01 10:00:00", {GPS_TIME: (10.0, 0.0, 0.0), GPS_DATE: "2024:06:01", GPS_STATUS: "V"}, EIGHT),  # no fix
        (
            "2016:02:02 24:28:33",
            {GPS_TIME: (23.0, 28.0, 16.0), GPS_DATE: "2016:02:01"},
            datetime(2016, 2, 1, 23, 28, 33, tzinfo=UTC),
        ),
        (
            "2024:06:01 10:00:00",
            {GPS_TIME: (24.0, 0.0, 1.0), GPS_DATE: "2024:06:01"},
            datetime(2024, 6, 1, 0, 0, 1, tzinfo=UTC),
        ),
    ],
)
def test_satellites_that_contradict_the_camera_are_right(
    tmp_path: Path, original: str, gps: dict[int, Any], captured_at: datetime
):
    how = Reading(needs_fix=False)
    assert seen(tmp_path, time=(original, None), gps=gps, how=how).captured_at == captured_at


@given(
    st.text() | st.from_regex(r"\d{4}[-:/ ]\d{1,2}[-:/ ]\d{1,2}[T ]\d{1,2}:\d{1,2}(:\d{1,2})?.{0,9}"),
    st.lists(st.text() | st.integers()),
)
def test_any_text_is_a_time_or_none(stamp: str, offsets: list[str | int]):
    time = instant(stamp, offsets)
    assert time is None or time.tzinfo == UTC
