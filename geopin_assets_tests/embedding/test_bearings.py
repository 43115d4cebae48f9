"""Bearings end to end: what stands in a true direction is in the view that claims to look there, at the right pixel.

For every source, a panorama is made as that source delivers it, a record that says so goes through the source's own
parser, and the picture through decoding and cutting. A source that may yield panoramas must be among these.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from geopin_assets.capture import Capture
from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.protocol import VIEWS, Failure
from geopin_assets.embedding.vectors import heading_of_view
from geopin_assets.embedding.views import perspective_views
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.sources import SOURCES
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapillary.read import parse_point
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.sources.tiles import Point
from geopin_assets_tests.embedding.pictures import Pixels
from geopin_assets_tests.embedding.pinhole import direction, pixel_of
from geopin_assets_tests.sources.recordings import amsterdam, kartaview, mapilio, mapillary, own_photos, panoramax, stac
from geopin_assets_tests.sources.recordings.kartaview import PAGES as KARTAVIEW_PAGES
from geopin_assets_tests.sources.recordings.mapilio import RECORD as MAPILIO
from geopin_assets_tests.sources.recordings.stac import PAGES as STAC_PAGES

CAR_DEG = 137.0
"""Where the vehicle went, which must not matter."""
NEVER_PANORAMAS = {"flickr", "europeana"}
WITHOUT_HEADING = {"wikimedia_commons"}
"""Its views have no bearing."""


@dataclass(frozen=True)
class Delivery:
    """One way in which a source delivers panoramas."""

    source: str
    how: str
    parse: Callable[[], Any]
    """The record, through the source's own parser."""
    center_deg: float
    """True bearing of the middle column of what is delivered with it."""


def _mapillary(**angles: Any) -> Any:
    record = mapillary.ANSWER["data"][1]
    return mapillary.parse({k: v for k, v in (record | angles).items() if v is not None})


def _mapillary_tile() -> Any:
    found = {"id": 7, "captured_at": 1_700_000_000_000, "compass_angle": 301.5, "is_pano": True, "sequence_id": "s"}
    return parse_point(Point(4.895, 52.37, found), None, mapillary.CELL.bbox, mapillary.NOW)


def _stac_like(features: list[Any], parse: Callable[[Any], Any], azimuth: int) -> Any:
    """The panorama among recorded features, with another azimuth."""
    (feature,) = (f for f in features if f["properties"]["pers:interior_orientation"].get("field_of_view") == 360)
    return parse(feature | {"properties": feature["properties"] | {"view:azimuth": azimuth}})


def _kartaview(heading: str) -> Any:
    (photo,) = (
        photo for page in KARTAVIEW_PAGES for photo in page["currentPageItems"] if photo["projection"] == "SPHERE"
    )
    return kartaview.parse(photo | {"heading": heading})


_FAR_OFF = {"type": "Point", "coordinates": [4.8955212, 52.3709]}
DELIVERIES = [
    Delivery(
        "amsterdam",
        "turned so that north is in the middle, wherever the car went",
        lambda: amsterdam.parse(amsterdam.RECORD | {"heading": CAR_DEG}),
        0.0,
    ),
    Delivery(
        "mapillary",
        "centered on the computed angle",
        lambda: _mapillary(computed_compass_angle=211.7742, compass_angle=170.0),
        211.7742,
    ),
    Delivery(
        "mapillary",
        "centered on the device's angle before reconstruction",
        lambda: _mapillary(computed_compass_angle=None, computed_geometry=None, compass_angle=33.25),
        33.25,
    ),
    Delivery(
        "mapillary",
        "centered on the device's angle where the reconstruction went astray",
        lambda: _mapillary(computed_compass_angle=100.0, computed_geometry=_FAR_OFF, compass_angle=33.25),
        33.25,
    ),
    Delivery("mapillary", "a point of a tile", _mapillary_tile, 301.5),
    Delivery(
        "panoramax",
        "centered on the azimuth",
        lambda: _stac_like(panoramax.ANSWER["features"], panoramax.parse, 50),
        50.0,
    ),
    Delivery(
        "stac",
        "centered on the azimuth",
        lambda: _stac_like([f for page in STAC_PAGES for f in page["features"]], stac.parse, 259),
        259.0,
    ),
    Delivery(
        "kartaview",
        "centered on the heading, a text",
        lambda: _kartaview("178.57"),
        178.57,
    ),
    Delivery(
        "mapilio",
        "centered on the heading",
        lambda: mapilio.parse(MAPILIO | {"image": MAPILIO["image"] | {"heading": 287}}),
        287.0,
    ),
]
by_name = pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda delivery: f"{delivery.source}: {delivery.how}")
markers = pytest.mark.parametrize(("bearing_deg", "elevation_deg"), [(3.0, 12.0), (123.4, -14.0), (271.0, 28.0)])


def panorama_of(center_deg: float, bearing_deg: float, elevation_deg: float, width: int = 2048) -> Pixels:
    """Gray, with a white disc of one degree in a true direction; the middle column looks to `center_deg`."""
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 360 + center_deg
    latitude = 90 - (np.arange(width // 2)[:, None] + 0.5) / width * 360
    place = direction(bearing_deg, elevation_deg)
    cosine = np.cos(np.radians(latitude)) * (
        place[0] * np.sin(np.radians(longitude)) + place[1] * np.cos(np.radians(longitude))
    ) + place[2] * np.sin(np.radians(latitude))
    pixels = np.full((width // 2, width, 3), 90, np.uint8)
    pixels[cosine > np.cos(np.radians(1))] = 255
    return pixels


def jpeg(pixels: Pixels, **metadata: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **metadata)
    return buffer.getvalue()


def assert_seen(capture: Any, image: bytes, bearing_deg: float, elevation_deg: float) -> None:
    """The view whose bearing is nearest shows the marker where a pinhole camera would."""
    assert isinstance(capture, Capture) and capture.is_pano, capture
    decoded = decode_image(image, at_least=PANORAMA_AT_LEAST)
    assert not isinstance(decoded, Failure)
    of_views = pl.DataFrame({"center_deg": [capture.heading_deg] * VIEWS, "view": range(VIEWS)})
    headings = of_views.select(heading_of_view())["heading_deg"].to_numpy()
    nearest = int(np.abs((headings - bearing_deg + 180) % 360 - 180).argmin())
    rows, columns = np.nonzero(perspective_views(decoded)[nearest][..., 1] > 172)
    assert len(rows), f"the view to {headings[nearest]:.0f} degrees does not show it"
    want = pixel_of(bearing_deg, elevation_deg, headings[nearest])
    assert (columns.mean(), rows.mean()) == pytest.approx(want, abs=1.0)


@by_name
@markers
def test_what_stands_in_a_direction_is_in_the_view_that_looks_there(
    delivery: Delivery, bearing_deg: float, elevation_deg: float
):
    image = jpeg(panorama_of(delivery.center_deg, bearing_deg, elevation_deg))
    assert_seen(delivery.parse(), image, bearing_deg, elevation_deg)


GPANO = b"<x GPano:ProjectionType='equirectangular' GPano:PoseHeadingDegrees='%s'/>"


@pytest.mark.parametrize(
    ("pose", "direction_deg", "stated", "center_deg"),
    [
        (b"275.5", 90.0, "", 275.5),
        (b"0.0", 349.06, "", 349.06),  # as GoPro writes it
        (b"67", None, "", 67.0),
        (b"67", 67.0, "12.5", 12.5),
    ],
)
@markers
def test_what_stands_in_a_direction_is_in_the_view_of_an_own_photo_that_looks_there(
    pose: bytes,
    direction_deg: float | None,
    stated: str,
    center_deg: float,
    bearing_deg: float,
    elevation_deg: float,
    tmp_path: Path,
):
    """The pose wins over the direction unless it is 0, and `positions.csv` over both."""
    write = partial(own_photos.write_photo, tmp_path / "1.jpg", xmp=GPANO % pose)
    write(direction=("T", direction_deg) if direction_deg is not None else None)
    with Image.open(tmp_path / "1.jpg") as small:
        metadata = {"exif": small.getexif(), "xmp": small.info["xmp"]}
        (tmp_path / "1.jpg").write_bytes(jpeg(panorama_of(center_deg, bearing_deg, elevation_deg), **metadata))
    (tmp_path / "positions.csv").write_text(f"file,lat,lon,heading_deg\n1.jpg,,,{stated}\n")
    source = OwnPhotos(LocalFolder(tmp_path), own_photos.RIGHTS, now=lambda: own_photos.NOW)
    (capture,) = crawl_cell(source, own_photos.CELL).captures
    assert_seen(capture, (tmp_path / "1.jpg").read_bytes(), bearing_deg, elevation_deg)


def test_no_source_that_may_yield_panoramas_is_missing_here():
    shown = {delivery.source for delivery in DELIVERIES} | {"own_photos"}
    assert shown | WITHOUT_HEADING | NEVER_PANORAMAS == {source.name for source in SOURCES}
    assert not shown & (WITHOUT_HEADING | NEVER_PANORAMAS)
