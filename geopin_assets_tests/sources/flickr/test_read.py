"""What of one photo counts."""

import json
from datetime import UTC
from typing import Any

import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets_tests.sources.recordings.flickr import RECORD, parse


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, Reason.BAD_ID),
        ({"id": "a\x00b"}, Reason.BAD_ID),
        ({"license": None}, Reason.MALFORMED),
        ({"license": {}}, Reason.MALFORMED),
        ({"accuracy": None}, Reason.MALFORMED),
        ({"latitude": None}, Reason.BAD_COORDINATES),
        ({"latitude": 0, "longitude": 0}, Reason.BAD_COORDINATES),
        ({"latitude": "91"}, Reason.BAD_COORDINATES),
        ({"longitude": 4.95}, Reason.OUTSIDE_CELL),
        ({"accuracy": "15"}, Reason.NO_POSITION),
        ({"accuracy": 11}, Reason.NO_POSITION),
        ({"context": "1"}, Reason.NOT_STREET_LEVEL),
        ({"license": "0"}, Reason.LICENSE_NOT_OPEN),
        ({"license": 7}, Reason.LICENSE_NOT_OPEN),
        ({"url_l": "javascript:alert(1)", "url_m": 5}, Reason.NO_IMAGE),
        ({"owner": ""}, Reason.NO_ATTRIBUTION),
    ],
)
def test_a_photo_that_cannot_be_used_is_left_out_for_a_reason(change: dict[str, Any], reason: Reason):
    result = parse(RECORD | change)
    assert isinstance(result, Rejected)
    assert result.reason == reason


def understood(**change: Any) -> Capture:
    result = parse(RECORD | change)
    assert isinstance(result, Capture)
    return result


def test_positions_may_be_numbers_or_text():
    numbers = understood(latitude=52.370216, longitude=4.895168, accuracy=16.0, context=None)
    assert (numbers.lon, numbers.lat) == (understood().lon, understood().lat) == (4.895168, 52.370216)


@pytest.mark.parametrize(
    ("change", "hour_utc"),
    [
        ({"datetaken": "2011-07-05 15:00:00"}, 13),
        ({"datetaken": "2011-11-05 15:00:00"}, 14),
        ({"datetaken": "2011-11-05 15:00:00", "datetakenunknown": 0, "datetakengranularity": 0}, 14),
        ({"datetakenunknown": "1"}, None),
        ({"datetakenunknown": 1}, None),
        ({"datetakengranularity": "4"}, None),
        ({"datetaken": "0000-00-00 00:00:00"}, None),
        ({"datetaken": "1926-07-05 15:00:00"}, None),
        ({"datetaken": "2036-07-05 15:00:00"}, None),
        ({"datetaken": 5}, None),
    ],
)
def test_the_time_is_dutch_and_only_taken_if_it_is_known_to_the_second(change: dict[str, Any], hour_utc: int | None):
    taken = understood(**change).captured_at
    assert (taken and taken.hour) == hour_utc
    assert taken is None or taken.tzinfo is UTC


def test_the_large_image_is_preferred():
    assert understood().image_url.endswith("_b.jpg")
    assert understood(url_l=None).image_url.endswith("_0000000000.jpg")


def test_title_creator_source_and_license_are_shown_and_the_account_where_there_is_no_name():
    assert understood(title="A\nB").attribution == '"A B" by sample on Flickr, CC-BY-SA-2.0'
    assert understood(title=None).attribution == "sample on Flickr, CC-BY-SA-2.0"
    nameless = understood(title="", ownername=None)
    assert (nameless.creator, nameless.attribution) == (None, "7478087@N06 on Flickr, CC-BY-SA-2.0")


def test_the_page_keeps_the_account_as_flickr_writes_it():
    assert understood(owner="a/b?c@N01").page_url == "https://www.flickr.com/photos/a%2Fb%3Fc@N01/49514337848"


def test_the_version_is_when_the_photo_was_last_changed():
    assert understood(lastupdate=1581320000).image_version == understood(lastupdate="1581320000").image_version
    assert understood().image_version == ""


def test_the_payload_has_no_address_and_nothing_that_changes_without_the_photo():
    payload = json.loads(understood(lastupdate="1581320000", views="9").payload)
    assert payload.keys().isdisjoint({"secret", "server", "url_l", "url_m", "lastupdate", "views"})
    assert payload["dateupload"] == "1581319011"
    assert "http" not in understood().payload
