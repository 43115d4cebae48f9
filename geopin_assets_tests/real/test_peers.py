"""What two other readers make of the test photos of their own projects: where we differ, `docs/sources.md` says why.

Neither the readers nor their photos are ours to keep: `GEOPIN_TEST_PEERS` names a folder that holds the packages
(`pip install --target FOLDER/packages geopic-tag-reader mapillary-tools`) and photos (`FOLDER/photos`: `tests/fixtures`
of the source distribution of geopic-tag-reader 1.1.0, the last that has them, `tests/data` and `tests/unit/data` of
mapillary_tools). Without it nothing is compared.
"""

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.geo import distance_m
from geopin_assets.photo_folder import LocalFolder, PhotoFile
from geopin_assets.sources.own_photos.scan import Memory, Photo, read_photo
from geopin_assets.sources.own_photos.stated import Position

PEERS = Path(os.environ.get("GEOPIN_TEST_PEERS") or "/nowhere")
PHOTOS = sorted(path for path in (PEERS / "photos").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
DIFFERENT = {
    "datetime_ms_float.jpg": "time",  # Manila: a time without an offset is Dutch here, local there
    "img_without_dt.jpg": "time",  # they do not read the time of the last change
    "test_exif.jpg": "time",  # seven years between camera and satellites: mapillary_tools takes these too
    "adobe_coords.jpg": "time place heading",  # they do not read the form of XMP, or the pose
    "out_of_bounds_lat.jpg": "place",  # 92 degrees north
    "out_of_bounds_lon.jpg": "place",
    "IMG_20210720_144918.jpg": "place",
    "pic_with_float_lat.jpg": "place",
    "broken_makernotes.jpg": "heading",  # a compass that is not corrected
    "img_datetimeoriginal.jpg": "place",
}
"""By file, what one of them says otherwise."""

pytestmark = [
    pytest.mark.skipif(not PHOTOS, reason="GEOPIN_TEST_PEERS names no folder of other readers and their photos"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of theirs
]


def geopic(path: Path) -> tuple[tuple[float, float] | None, datetime | None, float | None]:
    """By Panoramax' geopic-tag-reader; a panorama's yaw is its heading."""
    reader = import_module("geopic_tag_reader.reader")
    try:
        tags: Any = reader.readPictureMetadata(path.read_bytes())
    except reader.PartialExifException as error:
        tags = error.tags
    except reader.InvalidExifException:
        return None, None, None
    return tags.lon and tags.lat and (tags.lon, tags.lat), tags.ts, tags.heading or tags.yaw or None


def mapillary(path: Path) -> tuple[tuple[float, float] | None, datetime | None, float | None]:
    """By mapillary_tools; of its times those that state an offset."""
    read = import_module("mapillary_tools.exif_read").ExifRead(path)
    time = read.extract_capture_time()
    return read.extract_lon_lat(), time if time and time.tzinfo else None, read.extract_direction()


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PEERS / "packages"))
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    assert sys.path[0].startswith(str(PEERS))


@pytest.mark.parametrize("peer", [geopic, mapillary], ids=["geopic", "mapillary"])
@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_another_reader_says_the_same_or_it_is_known_why_not(
    path: Path, peer: Callable[[Path], tuple[tuple[float, float] | None, datetime | None, float | None]]
) -> None:
    ours = read_photo(LocalFolder(path.parent), PhotoFile(path.name), Position(), NOW, Memory({}))
    place, time, heading_deg = peer(path)
    found = set[str]()
    if isinstance(ours, Photo):
        if not place or distance_m(*place, ours.lon, ours.lat) > 1:
            found.add("place")
        if time and (not ours.captured_at or abs(time - ours.captured_at) > timedelta(minutes=10)):
            found.add("time")
        if heading_deg and (ours.heading_deg is None or abs((heading_deg - ours.heading_deg + 180) % 360 - 180) > 1):
            found.add("heading")
    elif place:
        found.add("place")
    assert found <= set(DIFFERENT.get(path.name, "").split())
