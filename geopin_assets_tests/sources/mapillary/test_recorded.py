"""Coverage tiles and error bodies that Mapillary really sent; skipped where they are not at hand."""

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest

from geopin_assets.capture import Capture
from geopin_assets.errors import ConfigurationError, PayloadError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import Answer
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapillary.ask import judge
from geopin_assets.sources.mapillary.read import parse_image
from geopin_assets.sources.tiles import Tile, points_of, tiles_of
from geopin_assets_tests.sources.mapillary.server import dense_error, kind_of
from geopin_assets_tests.sources.recordings.mapillary import NOW, client_on, source_on

RECORDED = Path(__file__).parents[4] / "shared" / "fixtures" / "recorded" / "mapillary_josm_v4" / "responses"
TILES = RECORDED / "coverageTiles" / "mly1_public" / "2" / "14"
GRAND_JUNCTION = Bbox(-108.552, 39.062, -108.548, 39.065)

pytestmark = pytest.mark.skipif(
    not TILES.is_dir(), reason="the recorded Mapillary answers are not beside this checkout"
)


def tile_at(x: int, y: int) -> bytes:
    return (TILES / str(x) / f"{y}.mvt").read_bytes()


@pytest.mark.parametrize(
    ("x", "y", "images"), [(3251, 6257, 31_261), (3251, 6258, 7_890), (3252, 6257, 8_695), (3252, 6258, 4_888)]
)
def test_every_image_of_a_real_tile_is_placed_in_it(x: int, y: int, images: int):
    tile = Tile(14, x, y)
    points = points_of(tile, tile_at(x, y), "image")
    assert len(points) == images
    box = tile.bbox
    assert all(box.west <= point.lon <= box.east and box.south <= point.lat <= box.north for point in points)
    assert {len(point.properties["sequence_id"]) for point in points} == {22}
    assert set().union(*(point.properties for point in points)) == {
        *("id", "captured_at", "compass_angle", "is_pano", "sequence_id", "organization_id")
    }


def test_lines_of_sequences_are_no_points():
    assert points_of(Tile(14, 3252, 6258), tile_at(3252, 6258), "sequence") == []


def test_blanked_ids_of_a_real_tile_are_a_format_that_changed_and_no_captures():
    """The recording lost its numbers: id is an empty text."""
    assert tiles_of(GRAND_JUNCTION, 14) == [Tile(14, 3251, 6257)]
    assert any(
        GRAND_JUNCTION.contains(p.lon, p.lat) for p in points_of(Tile(14, 3251, 6257), tile_at(3251, 6257), "image")
    )

    def server(request: httpx.Request) -> httpx.Response:
        if kind_of(request) == "tiles":
            x, y = map(int, request.url.path.split("/")[-2:])
            return httpx.Response(200, content=tile_at(x, y))
        return dense_error()

    with pytest.raises(PayloadError, match="bad_id"):
        crawl_cell(source_on(client_on(httpx.MockTransport(server))), Cell("us-co-grand-junction", GRAND_JUNCTION))


def test_a_real_image_is_understood_once_it_has_a_link():
    record = json.loads((RECORDED / "graph" / "135511895288847.json").read_text())
    capture = parse_image(
        record | {"thumb_1024_url": "https://cdn.example/a"}, Bbox(-108.58, 39.06, -108.56, 39.07), NOW
    )
    assert isinstance(capture, Capture)
    assert (capture.source_capture_id, capture.sequence_id) == ("135511895288847", "7nfcwfvjdtphz7yj6zat6a")
    assert (capture.lon, capture.lat) == (-108.57081597085, 39.068354912098)
    assert capture.heading_deg == 1.2865829255371
    assert capture.captured_at is not None
    assert capture.captured_at.isoformat() == "2019-07-21T14:57:52.184000+00:00"
    assert "filler" not in capture.payload


def test_real_error_bodies_are_told_apart():
    limit = (RECORDED / "graph" / "application_request_limit_reached.json").read_bytes()
    token = (RECORDED / "graph" / "internal_server_error.json").read_bytes()
    too_often = judge(Answer(403, {}, limit))
    assert isinstance(too_often, TransientError)
    assert too_often.retry_after_s == 60
    assert isinstance(judge(Answer(500, {}, token)), ConfigurationError)


def test_real_images_share_few_sequences():
    points = points_of(Tile(14, 3252, 6258), tile_at(3252, 6258), "image")
    assert len(Counter(point.properties["sequence_id"] for point in points)) < len(points) / 10
