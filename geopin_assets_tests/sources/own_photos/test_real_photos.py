"""EXIF of real cameras and of files that others broke on purpose; skipped where the photos are not at hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.capture import Reason, Rejected
from geopin_assets.photo_folder import LocalFolder, PhotoFile
from geopin_assets.sources.own_photos.scan import Memory, read_photo
from geopin_assets.sources.own_photos.stated import Position

PHOTOS = Path(__file__).parents[4] / "shared" / "fixtures" / "photos"
FOLDER = LocalFolder(PHOTOS)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
MANIFEST: list[dict[str, Any]] = (
    json.loads((PHOTOS / "manifest.json").read_text()) if (PHOTOS / "manifest.json").is_file() else []
)
WITHOUT_USABLE_GPS = {
    "mapillary_tools/corrupt_exif_large_thumbnail.jpg": Reason.NO_POSITION,
    "mapillary_tools/corrupt_exif_trusted_wrong_type.jpg": Reason.NO_POSITION,
    "mapillary_tools/corrupt_exif_wrong_type.jpg": Reason.NO_POSITION,
    "mapillary_tools/empty_exif.jpg": Reason.NO_POSITION,
    "panoramax_geovisio/e1_without_exif.jpg": Reason.NO_POSITION,
    "panoramax_geovisio/invalid_exif.jpg": Reason.BAD_COORDINATES,
}

pytestmark = pytest.mark.skipif(not MANIFEST, reason="the collection of real photos is not beside this checkout")


@pytest.mark.parametrize(
    "row",
    [row for row in MANIFEST if row.get("gps_in_exif") and row.get("lat") and row["file"] not in WITHOUT_USABLE_GPS],
    ids=lambda row: row["file"],
)
def test_a_real_position_is_read_to_the_centimeter(row: dict[str, Any]):
    photo = read_photo(FOLDER, PhotoFile(row["file"]), Position(), NOW, Memory({}))
    assert not isinstance(photo, Rejected)
    assert photo.lon == pytest.approx(row["lon"], abs=1e-7)
    assert photo.lat == pytest.approx(row["lat"], abs=1e-7)


@pytest.mark.parametrize("row", MANIFEST, ids=lambda row: row["file"])
def test_every_file_is_read_or_left_out_for_a_reason(row: dict[str, Any]):
    photo = read_photo(FOLDER, PhotoFile(row["file"]), Position(), NOW, Memory({}))
    if expected := WITHOUT_USABLE_GPS.get(row["file"]):
        assert isinstance(photo, Rejected)
        assert photo.reason == expected
    elif not isinstance(photo, Rejected):
        written = photo.header.heading_deg
        assert written is None or written == pytest.approx(row.get("heading", written), abs=0.01)
        assert (photo.header.width, photo.header.height) == (row["width"], row["height"])


def test_real_spheres_are_panoramas_a_strip_that_goes_all_around_too():
    panos = {
        row["file"]
        for row in MANIFEST
        if not isinstance(photo := read_photo(FOLDER, PhotoFile(row["file"]), Position(), NOW, Memory({})), Rejected)
        and photo.header.is_pano
    }
    spheres = {row["file"] for row in MANIFEST if row["projection"] == "equirectangular" and row.get("gps_in_exif")}
    assert spheres - panos == {"amsterdam_panorama/pano_0001_000529_w4000.jpg"} & spheres, "its position is all noughts"
    assert panos <= spheres
