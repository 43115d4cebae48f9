"""Photos as the real Flickr API described them; skipped where these answers are not at hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.sources import fields
from geopin_assets.sources.flickr.read import parse_page, parse_photo

FOLDER = Path(__file__).parents[4] / "shared" / "fixtures" / "recorded" / "openverse_flickr"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ANYWHERE = Bbox(-180, -90, 180, 90)
NUMBERS = {"1": "CC-BY-2.0"}  # all 30 have number 1; here it stands for an open license

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="real Flickr answers are not beside this checkout")


def answer() -> Any:
    return json.loads((FOLDER / "flickr_example_pretty.json").read_text("utf-8"))


def test_a_real_page_is_understood_though_its_total_is_text():
    page = parse_page(answer())
    assert (page.total, page.pages, len(page.records)) == (30, 1, 30)
    assert len({fields.record_key(record) for record in page.records}) == 30


def test_real_photos_without_a_position_are_left_out():
    """They were asked for without the extra `geo`."""
    for record in parse_page(answer()).records:
        result = parse_photo(record, ANYWHERE, NUMBERS, NOW)
        assert isinstance(result, Rejected)
        assert result.reason == Reason.MALFORMED


def test_every_real_photo_with_a_position_becomes_a_capture():
    place = {"latitude": "52.37", "longitude": 4.89, "accuracy": "16", "context": 0}
    for record in parse_page(answer()).records:
        capture = parse_photo(record | place, ANYWHERE, NUMBERS, NOW)
        assert isinstance(capture, Capture)
        assert capture.creator == record["ownername"]
        assert capture.image_url == record.get("url_l", record["url_m"])
        assert capture.page_url == f"https://www.flickr.com/photos/{record['owner']}/{record['id']}"
        assert (capture.captured_at is None) == (str(record["datetakenunknown"]) == "1")


@pytest.mark.parametrize(
    ("file", "suffix"),
    [("image_data_with_large_url_available", "_b.jpg"), ("image_data_with_med_url_available", "456.jpg")],
)
def test_the_largest_of_the_two_images_is_taken(file: str, suffix: str):
    record = json.loads((FOLDER / f"{file}.json").read_text("utf-8"))
    place = {"latitude": "52.37", "longitude": 4.89, "accuracy": "16"}
    capture = parse_photo(record | place, ANYWHERE, {"3": "CC-BY-2.0"}, NOW)
    assert isinstance(capture, Capture)
    assert capture.image_url.endswith(suffix)


def test_a_thumbnail_alone_is_no_image():
    record = json.loads((FOLDER / "image_data_no_image_url.json").read_text("utf-8"))
    place = {"latitude": "52.37", "longitude": 4.89, "accuracy": "16"}
    assert parse_photo(record | place, ANYWHERE, {"3": "CC-BY-2.0"}, NOW) == Rejected(Reason.NO_IMAGE, "456")
