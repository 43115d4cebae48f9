"""From the stand-in to captures: every cell with Mapillary drives, as it is, dense, cut and locked out."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image

from geopin_assets.grid import Cell, bounds, row_column
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.mapillary import image_id
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Shot
from geopin_assets.settings import Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets_tests.sandbox.transport import asgi_transport

BASE_URL = "http://127.0.0.1:8791"
SHOTS: dict[str, Shot] = {image_id(shot): shot for shot in build_world().of("mapillary")}
PLACES = sorted({row_column(shot.lon, shot.lat) or (0, 0) for shot in SHOTS.values()})
CELLS = [Cell(f"r{row:03}c{column:03}", bounds(row, column)) for row, column in PLACES]


@pytest.fixture
def transport() -> httpx.BaseTransport:
    return asgi_transport(create_app(build_world(), BASE_URL))


@pytest.fixture
def source(transport: httpx.BaseTransport, tmp_path: Path) -> Iterator[Source]:
    with open_source("mapillary", Settings(data_dir=tmp_path), transport=transport) as opened:
        yield opened


@pytest.fixture
def turn(transport: httpx.BaseTransport):
    """Lower what the stand-in answers."""

    def cap(**caps: int) -> None:
        request = httpx.Request(
            "POST", f"{BASE_URL}/faults", json={"cap": {k.replace("_", "."): v for k, v in caps.items()}}
        )
        assert transport.handle_request(request).status_code == 200

    return cap


def crawl_all(source: Source) -> list[CellCrawl]:
    return [crawl_cell(source, cell) for cell in CELLS]


def ids(crawls: list[CellCrawl]) -> list[str]:
    return sorted(capture.source_capture_id for crawl in crawls for capture in crawl.captures)


def test_every_capture_is_found_in_one_cell_and_means_what_was_shot(source: Source):
    crawls = crawl_all(source)
    assert ids(crawls) == sorted(SHOTS)
    assert all(crawl.report.is_complete and not crawl.report.rejected for crawl in crawls)
    for capture in (capture for crawl in crawls for capture in crawl.captures):
        shot = SHOTS[capture.source_capture_id]
        assert (capture.lon, capture.lat) == pytest.approx((shot.lon, shot.lat), abs=2e-5)
        assert capture.is_pano == shot.drive.is_pano
        assert capture.captured_at == (None if shot.quirk == "junk_date" else shot.captured_at)
        assert (capture.heading_deg is None) == (shot.quirk == "no_heading")
        assert capture.creator == (None if shot.quirk == "no_creator" else shot.drive.creator)
        assert capture.image_url.startswith(f"{BASE_URL}/mapillary/m1/")


def test_dense_boxes_are_read_from_tiles_with_the_same_result(source: Source, turn):
    usual = {c.source_capture_id: c for crawl in crawl_all(source) for c in crawl.captures}
    turn(mapillary_density=2)
    crawls = crawl_all(source)
    dense = {c.source_capture_id: c for crawl in crawls for c in crawl.captures}
    assert ids(crawls) == sorted(SHOTS)
    assert all(crawl.report.is_complete for crawl in crawls)
    unlinked = [c for c in dense.values() if c.image_url.startswith("mapillary:")]
    assert unlinked
    for capture in dense.values():
        known = usual[capture.source_capture_id]
        assert (capture.lon, capture.lat) == pytest.approx((known.lon, known.lat), abs=2e-5)
        assert (capture.captured_at, capture.creator, capture.attribution, capture.sequence_id, capture.is_pano) == (
            *(known.captured_at, known.creator, known.attribution, known.sequence_id, known.is_pano),
        )


def test_a_lowered_cap_costs_requests_and_no_captures(source: Source, turn):
    turn(mapillary=10)
    crawls = crawl_all(source)
    assert ids(crawls) == sorted(SHOTS)
    assert sum(crawl.report.splits for crawl in crawls) > 0


def test_a_lockout_of_the_tile_host_leaves_dense_cells_incomplete_and_others_alone(source: Source, turn):
    turn(mapillary_density=4, mapillary_tiles=0)
    crawls = crawl_all(source)
    assert [len(crawl.captures) for crawl in crawls if crawl.report.is_complete] == [4]
    assert "login page" in next(crawl for crawl in crawls if not crawl.report.is_complete).report.incomplete[0]


def test_links_are_renewed_and_lead_to_pictures(source: Source, transport: httpx.BaseTransport, turn):
    turn(mapillary_density=2)
    captures = [capture for crawl in crawl_all(source) for capture in crawl.captures]
    now = datetime.now(UTC)
    expired = [c.source_capture_id for c in captures if source.is_link_expired(c.image_url, now)]
    assert expired == [c.source_capture_id for c in captures if c.image_url.startswith("mapillary:")]
    report = CrawlReport()
    links = source.image_urls([*expired, "99"], report)
    assert (sorted(links), report.requests) == (sorted(expired), 1)
    for id_, link in links.items():
        assert not source.is_link_expired(link, now)
        assert source.is_link_expired(link, now + timedelta(days=31))
        answer = transport.handle_request(httpx.Request("GET", link))
        assert Image.open(io.BytesIO(answer.content)).width == (4096 if SHOTS[id_].drive.is_pano else 1024)
