"""What of one item counts."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.sources.europeana.read import parse_item, place_of
from geopin_assets_tests.sources.recordings.europeana import CELL, NOW, RECORD, parse

BY = "http://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, Reason.BAD_ID),
        ({"id": "a\x00b"}, Reason.BAD_ID),
        ({"rights": None}, Reason.MALFORMED),
        ({"rights": []}, Reason.MALFORMED),
        ({"type": None}, Reason.MALFORMED),
        ({"edmPlaceLatitude": None}, Reason.BAD_COORDINATES),
        ({"edmPlaceLatitude": []}, Reason.BAD_COORDINATES),
        ({"edmPlaceLatitude": ["nan"]}, Reason.BAD_COORDINATES),
        ({"edmPlaceLatitude": ["99"]}, Reason.BAD_COORDINATES),
        ({"edmPlaceLatitude": ["0.0"], "edmPlaceLongitude": ["0.0"]}, Reason.BAD_COORDINATES),
        ({"edmPlaceLatitude": ["52.37403", "52.37"]}, Reason.NO_POSITION),
        ({"edmPlaceLongitude": ["4.88969", "4.9"], "edmPlaceLatitude": ["52.37403", "52.37"]}, Reason.NO_POSITION),
        ({"edmPlace": ["http://data.europeana.eu/place/base/128614"]}, Reason.NO_POSITION),
        ({"edmPlace": ["#spot", "https://sws.geonames.org/2759794/"]}, Reason.NO_POSITION),
        ({"edmPlaceLongitude": ["5.1"]}, Reason.OUTSIDE_CELL),
        ({"type": "TEXT"}, Reason.NOT_STREET_LEVEL),
        ({"rights": ["http://rightsstatements.org/vocab/NoC-NC/1.0/"]}, Reason.LICENSE_NOT_OPEN),
        ({"rights": ["http://creativecommons.org/licenses/by-nc/4.0/"]}, Reason.LICENSE_NOT_OPEN),
        ({"rights": [BY, "http://rightsstatements.org/vocab/InC/1.0/"]}, Reason.LICENSE_NOT_OPEN),
        ({"rights": [BY, "http://creativecommons.org/licenses/by-sa/4.0/"]}, Reason.LICENSE_NOT_OPEN),
        ({"edmIsShownBy": None, "edmPreview": None}, Reason.NO_IMAGE),
        ({"edmIsShownBy": ["ftp://x/y"], "edmPreview": [5]}, Reason.NO_IMAGE),
        ({"dataProvider": None}, Reason.NO_ATTRIBUTION),
    ],
)
def test_an_item_that_cannot_be_used_is_left_out_for_a_reason(change: dict[str, Any], reason: Reason):
    result = parse(RECORD | change)
    assert isinstance(result, Rejected)
    assert result.reason == reason


def understood(**change: Any) -> Capture:
    result = parse(RECORD | change)
    assert isinstance(result, Capture)
    return result


def test_values_may_be_lists_or_single():
    single = understood(edmPlaceLatitude=52.37403, edmPlaceLongitude="4.88969", rights=BY, edmIsShownBy="https://a.b/c")
    assert (single.lon, single.lat, single.license, single.image_url) == (
        4.88969,
        52.37403,
        "CC-BY-4.0",
        "https://a.b/c",
    )


def test_a_place_of_its_own_or_the_same_place_twice_is_a_position():
    assert understood(edmPlace=["http://archive.example/place/12"]).lat == 52.37403
    twice = {"edmPlaceLatitude": ["52.1", "52.1"], "edmPlaceLongitude": ["4.8", "4.80"]}
    assert place_of(twice) == (4.8, 52.1)


@pytest.mark.parametrize(
    ("year", "captured_at"),
    [
        (["2008-04-04"], datetime(2008, 4, 4, tzinfo=UTC)),
        ("2008-04-04", datetime(2008, 4, 4, tzinfo=UTC)),
        (["2008"], None),
        (["1921-05-01"], None),
        (["2008-04-04", "2008-04-05"], None),
        (["2008-13-40"], None),
        (["2008-W14"], None),
        (["20080404"], None),
        (None, None),
        (5, None),
    ],
)
def test_only_one_full_date_is_a_time(year: Any, captured_at: datetime | None):
    assert understood(year=year).captured_at == captured_at


def test_the_full_image_is_preferred_to_the_preview():
    assert understood().image_url == "https://example.invalid/full.jpg"
    assert understood(edmIsShownBy=[]).image_url.startswith("https://api.europeana.eu/thumbnail/v2/url.json?uri=")


def test_the_creator_is_a_name_and_named_once():
    named = understood(dcCreator=["http://data.europeana.eu/agent/59832", "J. Olie", "Someone"])
    assert (named.creator, named.attribution) == ("J. Olie", "J. Olie, Rijksmuseum, via Europeana, PDM-1.0")
    assert understood(dcCreator="Rijksmuseum").attribution == "Rijksmuseum, via Europeana, PDM-1.0"
    assert understood(dcCreator=["https://d-nb.info/gnd/118540416"]).creator is None
    assert understood(dcCreator=["J. Olie"], dataProvider=[]).attribution == "J. Olie, via Europeana, PDM-1.0"


def test_the_page_is_the_items_own_without_the_key():
    page = "https://www.europeana.eu/item/90402/SK_C_5"
    assert understood().page_url == page
    assert understood(guid=None, edmIsShownAt=["https://a.b/c?id=1&wskey=k"]).page_url == "https://a.b/c?id=1"
    assert understood(guid=5).page_url == page


@pytest.mark.parametrize(
    "url",
    [
        "https://a.b/very-secret/redirect?shownAt=x",
        "https://a.b/c?token=very-secret",
        "https://a.b/c#very-secret",
    ],
)
def test_an_address_that_repeats_the_key_in_another_place_is_not_used(url: str):
    item = RECORD | {"edmIsShownBy": [url], "guid": url}
    capture = parse_item(item, CELL.bbox, NOW, "very-secret")
    assert isinstance(capture, Capture)
    assert "very-secret" not in repr(capture)
    assert capture.image_url.startswith("https://api.europeana.eu/thumbnail/")


def test_other_parts_of_an_address_stay_as_they_are():
    url = "https://a.b/c%20d?x=1%2C2&WSKEY=k&y=&z"
    assert understood(edmIsShownBy=[url]).image_url == "https://a.b/c%20d?x=1%2C2&y=&z"


def test_the_payload_has_no_address_of_europeana():
    payload = json.loads(understood(dcCreator=["J. Olie"], year=["1890"]).payload)
    assert payload.keys().isdisjoint({"guid", "link", "edmPreview", "edmIsShownBy", "edmIsShownAt"})
    assert (payload["dcCreator"], payload["year"]) == (["J. Olie"], ["1890"])
