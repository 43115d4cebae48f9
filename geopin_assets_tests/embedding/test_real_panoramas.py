"""Real panoramas: views against the City of Amsterdam's own cube faces, and bearings against the sun.

The two panoramas of the City are as its car recorded them, facing forward; the API serves them turned to north and
level, by the rotation of the City's own program, which is repeated here.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import py360convert
import pytest
from PIL import Image

from geopin_assets.capture import Capture
from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.protocol import VIEWS, Failure
from geopin_assets.embedding.views import perspective_views
from geopin_assets.grid import Bbox
from geopin_assets.photo_folder import LocalFolder, PhotoFile
from geopin_assets.sources.amsterdam import parse_panorama
from geopin_assets.sources.own_photos.scan import Memory, Photo, read_photo
from geopin_assets.sources.own_photos.stated import Position
from geopin_assets_tests.embedding.pictures import Pixels
from geopin_assets_tests.embedding.pinhole import Vectors, angle_deg, rays

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
CITY = FIXTURES / "photos" / "amsterdam_panorama"
RECORDS = FIXTURES / "samples" / "amsterdam_real_bbox_blank.json"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
FACES = {"F": "f", "R": "r", "B": "b", "L": "l", "U": "u", "D": "d"}

pytestmark = pytest.mark.skipif(
    not (CITY.is_dir() and RECORDS.is_file()), reason="the collection of real photos is not beside this checkout"
)


def pixels_of(path: Path) -> Pixels:
    pixels = decode_image(path.read_bytes(), at_least=PANORAMA_AT_LEAST)
    assert not isinstance(pixels, Failure)
    return pixels


def small(picture: Pixels) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BOX)).astype(float)


def difference(views: list[Pixels], faces: list[Pixels]) -> list[float]:
    """Mean gray levels, pair by pair."""
    return [float(np.abs(small(view) - small(face)).mean()) for view, face in zip(views, faces, strict=True)]


def sun_at(time: datetime, lon: float, lat: float) -> Vectors:
    """Where the sun is, to a few hundredths of a degree (the Astronomical Almanac's short formula)."""
    days = (time - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 86_400
    anomaly = np.radians(357.529 + 0.98560028 * days)
    longitude = np.radians(280.459 + 0.98564736 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 0.00000036 * days)
    ascension = np.arctan2(np.cos(tilt) * np.sin(longitude), np.cos(longitude))
    declination = np.arcsin(np.sin(tilt) * np.sin(longitude))
    hour = np.radians(15 * (18.697374558 + 24.06570982441908 * days) + lon) - ascension
    north = np.cos(np.radians(lat)) * np.sin(declination) - np.sin(np.radians(lat)) * np.cos(declination) * np.cos(hour)
    up = np.sin(np.radians(lat)) * np.sin(declination) + np.cos(np.radians(lat)) * np.cos(declination) * np.cos(hour)
    return np.array([-np.cos(declination) * np.sin(hour), north, up])


def brightest(panorama: Pixels, center_deg: float, pitch_deg: float) -> Vectors:
    """The middle of all that is white in the views, by their bearings; [east, north, up]."""
    total = np.zeros(3)
    for view, pixels in enumerate(perspective_views(panorama, pitch_deg=pitch_deg, size_px=128)):
        is_white = pixels.min(axis=2) >= 253
        total += rays(center_deg + 30 * view, size_px=128, pitch_deg=pitch_deg)[is_white].sum(axis=0)
    return total


def test_views_agree_with_the_citys_own_cube_faces() -> None:
    """Front, right, back and left, in this order; a degree off in any direction is three times as different."""
    faces = {name: pixels_of(CITY / f"pano_0000_006658_{letter}.jpg") for name, letter in FACES.items()}
    sphere = py360convert.c2e(faces, 1024, 2048, cube_format="dict")
    panorama = np.rint(sphere).clip(0, 255).astype(np.uint8)
    sides = [faces[name] for name in "FRBL"]

    def cut(panorama: Pixels, pitch_deg: float = 0.0) -> list[Pixels]:
        return perspective_views(panorama, fov_deg=90, pitch_deg=pitch_deg, size_px=512)[:: VIEWS // 4]

    assert max(difference(cut(panorama), sides)) < 4
    for turned in (cut(np.roll(panorama, 6, axis=1)), cut(np.roll(panorama, -6, axis=1)), cut(panorama, 1.0)):
        assert min(difference(turned, sides)) > 7


def test_the_sun_is_where_a_real_photo_sphere_says() -> None:
    """A telephone's PoseHeadingDegrees is the bearing of the middle column: the view to 217 degrees has the sun."""
    name = "panoramax_geovisio/d1.jpg"
    photo = read_photo(LocalFolder(FIXTURES / "photos"), PhotoFile(name), Position(), NOW, Memory({}))
    assert isinstance(photo, Photo) and photo.header.is_pano and photo.heading_deg == 67.0
    taken_at = datetime(2020, 9, 13, 14, 43, tzinfo=UTC)  # between GPano's FirstPhotoDate and LastPhotoDate
    sun = sun_at(taken_at, photo.lon, photo.lat)
    view = perspective_views(pixels_of(FIXTURES / "photos" / name))[5]
    seen = rays(photo.heading_deg + 150)[view.min(axis=2) >= 250].mean(axis=0)
    assert angle_deg(seen, sun) < 5


def as_published(recorded: Pixels, record: dict[str, Any]) -> Pixels:
    """What the City publishes of a panorama: north in the middle, level; nearest pixels will do here."""
    height, width = recorded.shape[:2]
    azimuth = (np.arange(width) / width - 0.5) * 2 * np.pi
    polar = np.arange(height)[:, None] / height * np.pi
    north = np.sin(polar) * np.cos(azimuth)
    out = np.stack([north, np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth], axis=-1)
    yaw, pitch, roll = np.radians([-record["heading"], record["pitch"], record["roll"]])
    about_z = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
    about_y = [[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]]
    about_x = [[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]
    x, y, z = np.moveaxis(out @ (np.array(about_x) @ about_y @ about_z).T, -1, 0)
    column = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * width
    row = np.arccos(z.clip(-1, 1)) / np.pi * height
    return recorded[row.astype(int).clip(0, height - 1), column.astype(int) % width]


def test_the_glare_of_the_sun_is_on_its_path_in_a_real_panorama_of_the_city() -> None:
    """On the day of the drive, whatever the hour; with the car's heading added it would be where the sun never is."""
    records = json.loads(RECORDS.read_text())["_embedded"]["panoramas"]
    (record,) = (one for one in records if one["pano_id"] == "TMX7315120208-000073_pano_0005_001111")
    capture = parse_panorama(record, Bbox(4.0, 52.0, 5.0, 53.0), NOW)
    assert isinstance(capture, Capture) and capture.heading_deg is not None
    panorama = as_published(pixels_of(CITY / "pano_0005_001111_w4000.jpg")[::2, ::2], record)

    midnight = datetime(2016, 6, 9, tzinfo=UTC)
    path = [sun_at(midnight + timedelta(minutes=10 * n), capture.lon, capture.lat) for n in range(144)]

    def off_the_path_deg(center_deg: float) -> float:
        glare = brightest(panorama, center_deg, pitch_deg=50)
        return min(angle_deg(glare, place) for place in path)

    assert off_the_path_deg(capture.heading_deg) < 6
    assert off_the_path_deg(capture.heading_deg + record["heading"]) > 35
