"""The Panoramax source against Panoramax's own server software: every way to its pictures, and two servers at once.

Set GEOPIN_TEST_PANORAMAX_URL as in `test_panoramax_server.py`; for two servers at once also

    GEOPIN_TEST_PANORAMAX_URL_2=http://127.0.0.1:5001    of an instance with a database of its own
    GEOPIN_TEST_PANORAMAX_TOKEN, GEOPIN_TEST_PANORAMAX_TOKEN_2     of an account at each

Pictures are added to both and taken down again.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from geopin_assets.cells import cell
from geopin_assets.errors import GeoPinError
from geopin_assets.http_client import HttpClient
from geopin_assets.regions import region
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import CellCrawl, crawl_cells
from geopin_assets.sources.panoramax.ask import fetch_removed
from geopin_assets.sources.panoramax.tiles import GRID_ZOOM, parse_grid
from geopin_assets.sources.tiles import Tile
from geopin_assets_tests.real.panoramax_server import PanoramaxServer, cell_of

URLS = [os.environ.get(f"GEOPIN_TEST_PANORAMAX_URL{end}", "").rstrip("/") for end in ("", "_2")]
TOKENS = [os.environ.get(f"GEOPIN_TEST_PANORAMAX_TOKEN{end}", "") for end in ("", "_2")]
AREA = region("bbox:4.7,52.2,5.1,52.5")
SHARED, FIRST, SECOND = (4.8936, 52.37), (4.8945, 52.3712), (4.8954, 52.3724)
RATE = {"GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "500"}

pytestmark = pytest.mark.skipif(
    not URLS[0], reason="start a GeoVisio server with pictures around Amsterdam and set GEOPIN_TEST_PANORAMAX_URL to it"
)
two_servers = pytest.mark.skipif(
    not all(URLS + TOKENS), reason="set GEOPIN_TEST_PANORAMAX_URL_2, and both tokens, to ask two servers at once"
)


@pytest.fixture
def servers() -> Iterator[list[PanoramaxServer]]:
    servers = [PanoramaxServer(url, token) for url, token in zip(URLS, TOKENS, strict=True) if url]
    yield servers
    for server in servers:
        server.close()


def crawled(
    folder: Path, *urls: str, cells: Sequence[str] = AREA, **variables: str
) -> dict[str, CellCrawl | GeoPinError]:
    """Every cell of the area, crawled from these servers."""
    own = {"GEOPIN_PANORAMAX_URLS": ",".join(urls)} | RATE | variables
    settings = Settings(profile=Profile.LIVE, data_dir=folder, variables=own)
    with open_source("panoramax", settings) as source:
        return {at.cell_id: crawl for at, crawl in crawl_cells(source, map(cell, cells))}


def ids(crawls: dict[str, CellCrawl | GeoPinError]) -> list[str]:
    assert not [crawl for crawl in crawls.values() if isinstance(crawl, GeoPinError)]
    return [c.source_capture_id for crawl in crawls.values() if isinstance(crawl, CellCrawl) for c in crawl.captures]


def requests(crawls: dict[str, CellCrawl | GeoPinError]) -> int:
    return sum(crawl.report.requests for crawl in crawls.values() if isinstance(crawl, CellCrawl))


def has_counts(server: PanoramaxServer) -> bool:
    grid = server.tile(GRID_ZOOM, 32, 21)
    return any(patch.pictures for patch in parse_grid(Tile(GRID_ZOOM, 32, 21), grid))


def test_pictures_by_id_from_tiles_are_the_pictures_by_box_for_fewer_requests(
    servers: list[PanoramaxServer], tmp_path: Path
) -> None:
    """A limit of 2 makes dividing so dear that tiles are taken wherever the server's grid counts some hundreds."""
    if not has_counts(servers[0]):
        pytest.skip("the server's grid is still empty: run `flask db refresh` on it")
    held = servers[0].pictures(AREA)
    by_box = crawled(tmp_path / "by_box", URLS[0])
    by_tiles = crawled(tmp_path / "by_tiles", URLS[0], GEOPIN_PANORAMAX_LIMIT="2")
    assert sorted(ids(by_tiles)) == sorted(ids(by_box)) == sorted(held)
    assert requests(by_tiles) < len(held)  # dividing boxes until each holds one takes more
    assert (tmp_path / "by_tiles" / "tiles").exists()


@pytest.fixture
def drives(servers: list[PanoramaxServer]) -> Iterator[list[dict[str, Any]]]:
    """A drive at each server: the same picture on the corner of four cells in both, and one of its own."""
    before = [server.pictures(AREA) for server in servers]
    shared = str(uuid4())
    for server, own in zip(servers, (FIRST, SECOND), strict=True):
        server.upload([SHARED, own], [shared])
    added = [
        [feature for id_, feature in server.pictures(AREA).items() if id_ not in held]
        for server, held in zip(servers, before, strict=True)
    ]
    yield [{feature["id"]: feature for feature in features} for features in added]
    for server, features in zip(servers, added, strict=True):
        for collection in {feature["collection"] for feature in features}:
            server.delete_collection(collection)


@two_servers
def test_two_servers_are_united_by_id(
    servers: list[PanoramaxServer], drives: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [len(drive) for drive in drives] == [2, 2]
    (shared,) = drives[0].keys() & drives[1].keys()
    first, second = (server.pictures(AREA) for server in servers)
    crawls = crawled(tmp_path, *URLS)
    found = ids(crawls)
    assert sorted(found) == sorted(first.keys() | second.keys())
    assert len(found) == len(first) + len(second) - len(first.keys() & second.keys())

    here = crawls[cell_of(first[shared]) or ""]
    assert isinstance(here, CellCrawl)
    capture = next(c for c in here.captures if c.source_capture_id == shared)
    assert capture.page_url.startswith(URLS[0])  # the first server named wins
    assert here.report.duplicates >= 1
    reverse = ids(crawled(tmp_path / "reverse", *reversed(URLS)))
    assert sorted(reverse) == sorted(found)


@two_servers
def test_one_server_that_does_not_answer_fails_the_cells(servers: list[PanoramaxServer], tmp_path: Path) -> None:
    crawls = crawled(tmp_path, URLS[0], "http://127.0.0.1:9", cells=AREA[:2])
    assert all(isinstance(crawl, GeoPinError) for crawl in crawls.values())


@two_servers
def test_a_drive_taken_down_at_one_server_is_told_and_left_out_of_both(
    servers: list[PanoramaxServer], tmp_path: Path
) -> None:
    shared, before = str(uuid4()), servers[0].pictures(AREA)
    servers[0].upload([SHARED, FIRST], [shared])
    added = [feature for id_, feature in servers[0].pictures(AREA).items() if id_ not in before]
    collection = next(feature["collection"] for feature in added if feature["id"] == shared)
    for id_ in {feature["collection"] for feature in added}:  # 160 m apart are two drives
        servers[0].delete_collection(id_)
    with HttpClient("panoramax", requests_per_second=500) as client:
        since = datetime.now(UTC) - timedelta(hours=1)
        assert collection in fetch_removed(client, URLS[0], since, CrawlReport())
        assert collection not in fetch_removed(client, URLS[1], since, CrawlReport())
    assert shared not in ids(crawled(tmp_path, *URLS))
