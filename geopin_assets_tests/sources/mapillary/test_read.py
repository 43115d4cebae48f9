import json
from datetime import UTC, datetime
from typing import Any

import pytest

from geopin_assets.capture import Capture, HeadingFrom, PositionFrom, Reason, Rejected
from geopin_assets.sources.mapillary.read import image_id, link_ends_at_s, parse_point
from geopin_assets.sources.tiles import Point, Tile, points_of
from geopin_assets_tests.sources.recordings.mapillary import CELL, NOW, RECORD, TILE, parse


def understood(prefers_computed: bool = True, **change: Any) -> Capture:
    """The recorded image with other fields; None takes one away."""
    record = {key: value for key, value in (RECORD | change).items() if value is not None}
    capture = parse(record, prefers_computed=prefers_computed)
    assert isinstance(capture, Capture)
    return capture


def at(lon: Any, lat: Any) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lon, lat]}


def place(capture: Capture) -> tuple[float, float]:
    return capture.lon, capture.lat


def test_the_computed_position_and_heading_are_preferred():
    capture = understood()
    assert (*place(capture), capture.heading_deg) == (4.8951694, 52.3702136, 86.9036)


def test_without_computed_fields_the_device_is_believed():
    capture = understood(computed_geometry=None, computed_compass_angle=None)
    assert (*place(capture), capture.heading_deg) == (4.8951681, 52.3702157, 87.41)


def test_a_reconstruction_far_off_is_not_believed_nor_is_its_heading():
    capture = understood(computed_geometry=at(4.8951681, 52.3702157 + 0.0006))
    assert (*place(capture), capture.heading_deg) == (4.8951681, 52.3702157, 87.41)


def test_a_computed_position_alone_is_enough():
    assert place(understood(geometry=None)) == (4.8951694, 52.3702136)


COMPUTED, DEVICE = (4.8951694, 52.3702136, 86.9036), (4.8951681, 52.3702157, 87.41)
ELSEWHERE = {"computed_geometry": at(4.8951681, 52.3702157 + 0.0006)}


@pytest.mark.parametrize(
    ("prefers_computed", "change", "expected", "sources"),
    [
        (True, {}, COMPUTED, ("computed", "computed")),
        (False, {}, DEVICE, ("device", "device")),
        (False, {"geometry": None}, (*COMPUTED[:2], 87.41), ("computed", "device")),
        (False, {"compass_angle": None}, (*DEVICE[:2], 86.9036), ("device", "computed")),
        (False, {"compass_angle": -1}, (*DEVICE[:2], 86.9036), ("device", "computed")),
        (True, {"computed_compass_angle": None}, (*COMPUTED[:2], 87.41), ("computed", "device")),
        (True, {"computed_geometry": None}, (*DEVICE[:2], 86.9036), ("device", "computed")),
        (True, ELSEWHERE, DEVICE, ("device", "device")),
        (False, ELSEWHERE, DEVICE, ("device", "device")),
        (False, ELSEWHERE | {"compass_angle": None}, (*DEVICE[:2], None), ("device", None)),
    ],
)
def test_the_setting_chooses_and_which_was_taken_is_stored(
    prefers_computed: bool, change: dict[str, Any], expected: tuple[float, ...], sources: tuple[Any, ...]
):
    capture = understood(prefers_computed, **change)
    assert (*place(capture), capture.heading_deg) == expected
    assert (capture.position_from, capture.heading_from) == sources


@pytest.mark.parametrize(
    ("angles", "heading_deg"),
    [
        ({"computed_compass_angle": None, "compass_angle": None}, None),
        ({"computed_compass_angle": None, "compass_angle": -1.0}, None),
        ({"computed_compass_angle": "x", "compass_angle": 12}, 12.0),
        ({"computed_compass_angle": 361, "compass_angle": 12}, 12.0),
        ({"computed_compass_angle": 360.0}, 0.0),
        ({"computed_compass_angle": 0}, 0.0),
    ],
)
def test_angles_beyond_a_circle_are_no_heading(angles: dict[str, Any], heading_deg: float | None):
    assert understood(**angles).heading_deg == heading_deg


@pytest.mark.parametrize(
    ("fields", "is_pano", "size"),
    [
        ({"is_pano": False, "camera_type": "perspective"}, False, "1024?stp=s1024x1024"),
        ({"is_pano": False, "camera_type": "fisheye"}, False, "1024?stp=s1024x1024"),
        ({"is_pano": None, "camera_type": None}, False, "1024?stp=s1024x1024"),
        ({"is_pano": True, "camera_type": None}, True, "original?"),
        ({"is_pano": False, "camera_type": "equirectangular"}, True, "original?"),
        ({"is_pano": None, "camera_type": "spherical"}, True, "original?"),
    ],
)
def test_either_name_of_a_sphere_is_a_panorama_and_gets_the_original_picture(
    fields: dict[str, Any], is_pano: bool, size: str
):
    capture = understood(**fields)
    assert capture.is_pano is is_pano
    assert f"An2129{size}" in capture.image_url


def test_the_next_size_will_do_if_one_is_missing():
    assert "s2048x2048" in understood(thumb_1024_url=None).image_url
    assert "s2048x2048" in understood(is_pano=True, thumb_original_url=None).image_url
    assert "s1024x1024" in understood(is_pano=True, thumb_original_url=None, thumb_2048_url=None).image_url


@pytest.mark.parametrize(
    ("captured_at", "expected"),
    [
        (1560507881000, datetime(2019, 6, 14, 10, 24, 41, tzinfo=UTC)),
        ("1560507881000", datetime(2019, 6, 14, 10, 24, 41, tzinfo=UTC)),
        (1689763451500, datetime(2023, 7, 19, 10, 44, 11, 500000, tzinfo=UTC)),
        (0, None),
        (1560507881, None),  # seconds would be 1970
        (4102444800000, None),
        (1e30, None),
        (-(10**30), None),
        (None, None),
        ("soon", None),
    ],
)
def test_milliseconds_become_a_time_unless_no_camera_can_have_taken_it(captured_at: Any, expected: datetime | None):
    assert understood(captured_at=captured_at).captured_at == expected


@pytest.mark.parametrize("creator", [None, {}, {"id": "5"}, {"username": ""}, {"username": 5}, "sample_user", []])
def test_a_capture_without_a_creator_is_attributed_to_the_platform(creator: Any):
    capture = understood(creator=creator)
    assert (capture.creator, capture.attribution) == (None, "Photo on Mapillary, CC BY-SA 4.0")


def test_a_creator_is_named_and_the_page_linked():
    capture = understood()
    assert capture.attribution == "Photo by sample_user on Mapillary, CC BY-SA 4.0"
    assert capture.page_url == "https://www.mapillary.com/app/?pKey=1933525276802129&focus=photo"


def test_the_payload_has_what_was_said_but_no_signed_links():
    payload = json.loads(understood().payload)
    assert payload["compass_angle"] == 87.41
    assert payload["geometry"] == RECORD["geometry"]
    assert not any("url" in key for key in payload)
    assert "oe=" not in understood().payload


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, Reason.MALFORMED),
        ([], Reason.MALFORMED),
        ({}, Reason.MALFORMED),
        (RECORD | {"id": None}, Reason.BAD_ID),
        (RECORD | {"id": ""}, Reason.BAD_ID),
        (RECORD | {"id": "12,13"}, Reason.BAD_ID),
        (RECORD | {"id": "../me"}, Reason.BAD_ID),
        (RECORD | {"id": "١٢"}, Reason.BAD_ID),
        (RECORD | {"geometry": None, "computed_geometry": None}, Reason.BAD_COORDINATES),
        (RECORD | {"geometry": at(0, 0), "computed_geometry": {}}, Reason.BAD_COORDINATES),
        (RECORD | {"geometry": at("x", None), "computed_geometry": at(500, 1)}, Reason.BAD_COORDINATES),
        (RECORD | {"geometry": at(5.1, 52.1), "computed_geometry": None}, Reason.OUTSIDE_CELL),
        (
            RECORD | {"thumb_1024_url": None, "thumb_2048_url": "file:///etc/passwd", "thumb_original_url": 5},
            Reason.NO_IMAGE,
        ),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out_for_a_reason(record: Any, reason: Reason):
    result = parse(record)
    assert isinstance(result, Rejected)
    assert result.reason == reason


@pytest.mark.parametrize(
    ("id_", "text"), [(1933525276802129, "1933525276802129"), ("5", "5"), (True, None), (1.0, None)]
)
def test_ids_are_text(id_: Any, text: str | None):
    assert image_id({"id": id_}) == text


def test_a_point_of_a_tile_becomes_a_capture_without_a_link():
    points = points_of(Tile(14, 8414, 5384), TILE, "image")
    capture = parse_point(points[0], "sample_user", CELL.bbox, NOW)
    assert isinstance(capture, Capture)
    assert capture.source_capture_id == "1933525276802129"
    assert place(capture) == pytest.approx((4.8951681, 52.3702157), abs=5.4e-6)
    assert capture.captured_at == datetime(2019, 6, 14, 10, 24, 41, tzinfo=UTC)
    assert (capture.heading_deg, capture.is_pano) == (87.41, False)
    assert (capture.position_from, capture.heading_from) == (PositionFrom.DEVICE, HeadingFrom.DEVICE)
    assert (capture.sequence_id, capture.creator) == ("f1ihYvTZNTEhCCnRjyMAuQ", "sample_user")
    assert capture.image_url == "mapillary:1933525276802129"
    assert json.loads(capture.payload)["creator_id"] == 103054445271649


def test_junk_of_a_tile_is_unknown_or_left_out():
    junk = Point(4.895, 52.37, {"id": 7, "captured_at": 0, "compass_angle": -1.0, "is_pano": "", "sequence_id": 5.5})
    capture = parse_point(junk, None, CELL.bbox, NOW)
    assert isinstance(capture, Capture)
    assert (capture.captured_at, capture.heading_deg, capture.is_pano, capture.sequence_id) == (None, None, False, None)
    blank = parse_point(Point(4.895, 52.37, {"id": ""}), None, CELL.bbox, NOW)
    assert blank == Rejected(Reason.BAD_ID, "")


@pytest.mark.parametrize(
    ("link", "ends_at_s"),
    [
        ("https://x.fbcdn.net/a?oh=00_&oe=6A5C0000&_nc_sid=2", 0x6A5C0000),
        ("https://x.fbcdn.net/a?oe=6a5c0000", 0x6A5C0000),
        ("https://x.fbcdn.net/a?oe=", None),
        ("https://x.fbcdn.net/a?oe=soon", None),
        ("https://x.fbcdn.net/a?oe=-5", None),
        ("https://x.fbcdn.net/a?oe=" + "F" * 500, None),
        ("https://x.fbcdn.net/a", None),
        ("https://[x/a?oe=6A5C0000", None),
        ("mapillary:5", None),
    ],
)
def test_a_link_says_in_hexadecimal_until_when_it_works(link: str, ends_at_s: int | None):
    assert link_ends_at_s(link) == ends_at_s
