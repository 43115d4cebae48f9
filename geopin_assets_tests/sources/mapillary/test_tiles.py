"""Boxes that a search does not answer for: coverage tiles, and what they lack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import DailyUse
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets_tests.sources.mapillary.server import Server, image
from geopin_assets_tests.sources.recordings.mapillary import CELL, TOKEN, client_on, source_on

LON, LAT = 4.8951, 52.3692  # deep in the cell and in one tile
UTRECHT = Cell("utrecht", Bbox(5.11, 52.08, 5.1393, 52.098))


def crowd(count: int = 30, first: int = 1001, **fields: Any) -> list[dict[str, Any]]:
    """More images at one place than the servers below take."""
    return [image(first + n, LON + n * 1e-6, LAT, **fields) for n in range(count)]


def crowded(**options: Any) -> Server:
    return Server([*crowd(), image(1, 5.12, 52.09)], density=10, **options)


def crawl(server: Server, cell: Cell = CELL, **options: Any) -> CellCrawl:
    return crawl_cell(source_on(client_on(server.transport), **options), cell)


def ids(crawled: CellCrawl) -> set[str]:
    return {capture.source_capture_id for capture in crawled.captures}


def test_a_box_refused_down_to_the_smallest_size_is_read_from_its_tile():
    server = crowded()
    crawled = crawl(server)
    assert ids(crawled) == {record["id"] for record in crowd()}
    assert [request.url.path for request in server.asked("tiles")] == ["/maps/vtp/mly1_public/2/14/8414/5384"]
    assert crawled.report.incomplete == []
    assert crawled.report.requests == len(server.requests)


def test_a_full_answer_at_the_smallest_size_is_completed_from_the_tile():
    server = Server(crowd(), cap=20)
    assert ids(crawl(server)) == {record["id"] for record in crowd()}
    assert server.counts["tiles"] == 1


def test_captures_of_a_tile_have_the_address_of_no_picture_yet():
    for capture in crawl(crowded()).captures:
        assert capture.image_url == f"mapillary:{capture.source_capture_id}"
        assert capture.attribution.startswith("Photo by user_")


def test_each_creator_is_asked_for_once_a_run_and_not_for_each_image():
    server = crowded()
    source = source_on(client_on(server.transport))
    for _ in range(2):
        crawled = crawl_cell(source, CELL)
        assert {capture.creator for capture in crawled.captures} == {"user_0", "user_1", "user_2"}
    assert server.counts["entity"] == 1
    params = server.asked("entity")[0].url.params
    assert len(params["image_ids"].split(",")) == 9  # three of each, should one be gone
    assert params["fields"] == "id,creator"


def test_a_creator_whom_a_search_names_is_not_asked_for():
    server = Server([*crowd(creator={"id": "7", "username": "one"}), image(1, 4.885, 52.364)], density=10)
    server.images[-1]["creator"] = {"id": "7", "username": "one"}
    crawled = crawl(server)
    assert {capture.creator for capture in crawled.captures} == {"one"}
    assert server.counts["entity"] == 0


def test_a_creator_whom_nobody_names_is_asked_for_once_and_the_platform_is_attributed():
    server = crowded()
    server.overrides["entity"] = lambda _: httpx.Response(200, json={"data": []})
    source = source_on(client_on(server.transport))
    for _ in range(2):
        crawled = crawl_cell(source, CELL)
        assert {capture.attribution for capture in crawled.captures} == {"Photo on Mapillary, CC BY-SA 4.0"}
        assert len(crawled.captures) == 30
    assert server.counts["entity"] == 1


def test_an_image_near_the_border_that_is_gone_is_counted():
    border = [image(2000 + n, CELL.bbox.west + (1e-5 if n < 8 else -1e-5), LAT) for n in range(12)]
    server = Server(border, density=5)
    server.overrides["entity"] = lambda _: httpx.Response(
        200, json={"data": [record for record in border if record["id"] not in ("2003", "2009")]}
    )
    crawled = crawl(server)
    assert len(crawled.captures) == 7
    assert crawled.report.rejected == {"removed": 1}  # the other one is the neighbor's
    assert all(capture.image_url.startswith("https://") for capture in crawled.captures)


def test_only_what_no_search_returned_is_asked_for_by_id():
    border = [image(2000 + n, CELL.bbox.west + 1e-5, LAT) for n in range(30)]
    server = Server(border, cap=20)
    assert len(crawl(server).captures) == 30
    assert [len(request.url.params["image_ids"].split(",")) for request in server.asked("entity")] == [10]


@pytest.mark.parametrize(
    "empty",
    [httpx.Response(404, html="<h1>no</h1>"), httpx.Response(204), httpx.Response(200)],
    ids=lambda r: r.status_code,
)
def test_an_empty_tile_comes_in_three_ways(empty: httpx.Response):
    server = crowded()
    server.overrides["tiles"] = lambda _: httpx.Response(empty.status_code, content=empty.content)
    crawled = crawl(server)
    assert (crawled.captures, crawled.report.incomplete) == ([], [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: httpx.Response(200, html="<h1>Log in</h1>"), PayloadError),
        (lambda: httpx.Response(200, content=b"\x1a\xff"), PayloadError),
        (lambda: httpx.Response(500, text="oops"), TransientError),
        (lambda: httpx.Response(403, text="no"), PermanentError),
        (lambda: httpx.Response(400, json={"error": {"code": 190, "message": "bad token"}}), ConfigurationError),
    ],
)
def test_a_tile_that_fails_is_never_an_empty_one(
    answer: Callable[[], httpx.Response], error: type[Exception], tmp_path: Path
):
    server = crowded()
    server.overrides["tiles"] = lambda _: answer()
    with pytest.raises(error):
        crawl(server, tiles_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_tiles_are_kept_for_later_runs(tmp_path: Path):
    server = crowded()
    assert ids(crawl(server, tiles_dir=tmp_path)) == ids(crawl(server, tiles_dir=tmp_path))
    assert server.counts["tiles"] == 1
    assert TOKEN not in "".join(str(path) for path in tmp_path.rglob("*"))


def test_neighboring_cells_share_a_tile_that_is_fetched_once():
    server = Server([image(1001 + n, LON, LAT + n * 2e-4) for n in range(60)], density=3)
    source = source_on(client_on(server.transport))
    found = [ids(crawl_cell(source, Cell(f"q{n}", box))) for n, box in enumerate(CELL.bbox.quarters())]
    paths = [request.url.path for request in server.asked("tiles")]
    assert len(paths) == len(set(paths))
    assert sum(map(len, found)) == len(set().union(*found))


def test_a_tile_whose_images_have_no_ids_is_a_format_that_changed():
    server = crowded()
    for record in server.images:
        record["id"] = "0"
    tile = server._tile(14, 8414, 5384).content.replace(b"\x1a\x02id", b"\x1a\x02xx")
    server.overrides["tiles"] = lambda _: httpx.Response(200, content=tile)
    with pytest.raises(PayloadError, match="has the format changed"):
        crawl(server)


class TestLockedOut:
    """The tile host sends an address that asked too much to the login page."""

    @pytest.fixture
    def server(self) -> Server:
        server = crowded()
        login = {"location": "https://www.facebook.com/login/?next=x"}
        server.overrides["tiles"] = lambda _: httpx.Response(302, headers=login)
        return server

    def test_what_needs_tiles_is_incomplete_and_says_why(self, server: Server, tmp_path: Path):
        source = source_on(client_on(server.transport, daily_use=DailyUse(tmp_path / "use")))
        crawled = crawl_cell(source, CELL)
        assert crawled.captures == []
        assert len(crawled.report.incomplete) == 1
        assert "login page" in crawled.report.incomplete[0]
        assert TOKEN not in crawled.report.incomplete[0]

    def test_no_further_tile_is_asked_for_in_this_run_or_a_later_one_that_day(self, server: Server, tmp_path: Path):
        now = [1_800_000_000.0]
        for hours in (0, 0, 5, 23):
            now[0] = 1_800_000_000.0 + hours * 3600
            use = DailyUse(tmp_path / "use", clock=lambda: now[0])
            crawled = crawl_cell(source_on(client_on(server.transport, daily_use=use)), CELL)
            assert "login page" in crawled.report.incomplete[0]
        assert server.counts["tiles"] == 1
        now[0] += 2 * 3600
        crawl_cell(source_on(client_on(server.transport, daily_use=use)), CELL)
        assert server.counts["tiles"] == 2

    def test_searches_go_on(self, server: Server, tmp_path: Path):
        source = source_on(client_on(server.transport, daily_use=DailyUse(tmp_path / "use")))
        server.images = [*server.images, image(77, 4.885, 52.364)]
        crawled = crawl_cell(source, CELL)
        assert ids(crawled) == {"77"}
        assert not crawled.report.is_complete
        assert ids(crawl_cell(source, UTRECHT)) == {"1"}

    def test_tiles_on_disk_are_still_read(self, server: Server, tmp_path: Path):
        whole = crawl(crowded(), tiles_dir=tmp_path)
        assert ids(crawl(server, tiles_dir=tmp_path)) == ids(whole)


def test_a_spent_budget_of_tiles_is_said_too(tmp_path: Path):
    use = DailyUse(tmp_path / "use")
    for _ in range(1750):
        use.spend("mapillary", "tiles", 1750)
    server = crowded()
    crawled = crawl_cell(source_on(client_on(server.transport, daily_use=use)), CELL)
    assert "today's budget of 1750 requests for tiles is spent" in crawled.report.incomplete[0]
    assert server.counts["tiles"] == 0
