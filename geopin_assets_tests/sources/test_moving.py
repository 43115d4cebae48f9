"""Records that move between the quarters of a box while it is read: none is ever taken for gone.

For every source that divides boxes, a server on which one record's position changes between two requests.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from geopin_assets.errors import GeoPinError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.kartaview import KartaView
from geopin_assets.sources.mapillary import Limits
from geopin_assets.sources.paging import fetch_settled
from geopin_assets.sources.panoramax import Panoramax
from geopin_assets.sources.splitting import Capacity, fetch_complete
from geopin_assets.sources.stac import Stac
from geopin_assets.sources.wikimedia_commons import WikimediaCommons
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.capped_server import CappedServer
from geopin_assets_tests.sources.mapillary.server import image
from geopin_assets_tests.sources.recordings import kartaview, mapillary, panoramax, stac, wikimedia_commons
from geopin_assets_tests.sources.replay import client_of

CAP = 12
MOVER = "1000"


@dataclass
class World:
    """Places by id in a box, 30 of them; `move(asked)` is called before each answer."""

    box: Bbox
    move: Callable[["World", int], None]
    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    asked: int = 0

    def __post_init__(self) -> None:
        self.places |= {str(1000 + n): self.at(0.02 + n * 0.618 % 0.96, 0.02 + n / 32) for n in range(30)}

    def at(self, right: float, up: float) -> tuple[float, float]:
        box = self.box
        return box.west + right * (box.east - box.west), box.south + up * (box.north - box.south)

    def within(self, box: Bbox) -> list[tuple[str, float, float]]:
        self.move(self, self.asked)
        self.asked += 1
        near = [(id_, *place) for id_, place in self.places.items() if place in box_of(box)]
        return near


def box_of(box: Bbox) -> Any:
    class Inside:
        def __contains__(self, place: tuple[float, float]) -> bool:
            return box.west <= place[0] <= box.east and box.south <= place[1] <= box.north

    return Inside()


def _box(text: str) -> Bbox:
    return Bbox(*map(float, text.split(",")))


def of_stac(world: World) -> Source:
    def server(request: httpx.Request) -> httpx.Response:
        if "bbox" not in request.url.params:
            return httpx.Response(404)
        found = [
            deepcopy(stac.RECORD) | {"id": id_, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
            for id_, lon, lat in world.within(_box(request.url.params["bbox"]))
        ]
        return httpx.Response(200, json={"features": found[:CAP]})

    client = client_of(httpx.MockTransport(server), "stac")
    return Stac(client, urls=["https://stac.example"], prefix="p", now=lambda: stac.NOW)


def of_panoramax(world: World) -> Source:
    def server(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/api/search"):
            return httpx.Response(404)
        found = [
            deepcopy(panoramax.RECORD) | {"id": id_, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
            for id_, lon, lat in world.within(_box(request.url.params["bbox"]))
        ]
        return httpx.Response(200, json={"features": found[:CAP]})

    return Panoramax(client_of(httpx.MockTransport(server), "panoramax"), limit=CAP, now=lambda: panoramax.NOW)


def of_mapillary(world: World) -> Source:
    def server(request: httpx.Request) -> httpx.Response:
        if "image_ids" in request.url.params:
            asked = request.url.params["image_ids"].split(",")
            named = [image(int(id_), *place) for id_, place in world.places.items() if id_ in asked]
            return httpx.Response(200, json={"data": named})
        found = [image(int(id_), lon, lat) for id_, lon, lat in world.within(_box(request.url.params["bbox"]))]
        return httpx.Response(200, json={"data": found[:CAP]})

    client = mapillary.client_on(httpx.MockTransport(server))
    return mapillary.source_on(client, limits=Limits(split_at=CAP))


def of_wikimedia_commons(world: World) -> Source:
    def server(request: httpx.Request) -> httpx.Response:
        north, west, south, east = map(float, request.url.params["ggsbbox"].split("|"))
        found = [
            wikimedia_commons.RECORD | {"pageid": int(id_), "coordinates": [{"lat": lat, "lon": lon, "primary": True}]}
            for id_, lon, lat in world.within(Bbox(west, south, east, north))
        ]
        return httpx.Response(200, json={"batchcomplete": True, "query": {"pages": found[:CAP]}})

    client = client_of(httpx.MockTransport(server), "wikimedia_commons")
    return WikimediaCommons(client, limit=CAP, now=lambda: wikimedia_commons.NOW)


def of_kartaview(world: World) -> Source:
    def server(request: httpx.Request) -> httpx.Response:
        form = kartaview.form_of(request)
        (north, west), (south, east) = (map(float, form[name].split(",")) for name in ("bbTopLeft", "bbBottomRight"))
        found = [
            kartaview.RECORD | {"id": id_, "lat": f"{lat:.7f}", "lng": f"{lon:.7f}"}
            for id_, lon, lat in world.within(Bbox(west, south, east, north))
        ]
        if len(found) > CAP:
            return httpx.Response(400, json={"status": {"apiCode": 690}})
        body = kartaview.PAGES[0] | {"currentPageItems": found, "totalFilteredItems": [str(len(found))]}
        return httpx.Response(200, json=body)

    client = client_of(httpx.MockTransport(server), "kartaview")
    return KartaView(client, block_cells=1, now=lambda: kartaview.NOW, sleep=lambda _: None)


@dataclass(frozen=True)
class Divided:
    build: Callable[[World], Source]
    cell: Cell
    id_of: Callable[[str], str] = str


DIVIDED = {
    "stac": Divided(of_stac, stac.CELL, lambda id_: f"p/{stac.DRIVE}/{id_}"),
    "panoramax": Divided(of_panoramax, panoramax.CELL),
    "mapillary": Divided(of_mapillary, mapillary.CELL),
    "wikimedia_commons": Divided(of_wikimedia_commons, wikimedia_commons.CELL),
    "kartaview": Divided(of_kartaview, kartaview.CELL),
}
every_divided = pytest.mark.parametrize("name", DIVIDED)


def crawled(name: str, move: Callable[[World, int], None]) -> tuple[CellCrawl, World]:
    """A crawl of a cell in which everything was found earlier; whatever is still there must not be taken for gone."""
    divided = DIVIDED[name]
    world = World(divided.cell.bbox, move)
    known = frozenset(map(divided.id_of, world.places))
    crawl = crawl_cell(divided.build(world), divided.cell, known=lambda box: known)
    found = {capture.source_capture_id for capture in crawl.captures}
    there = set(map(divided.id_of, world.places))
    assert found >= there or not crawl.report.is_complete, sorted(there - found)
    return crawl, world


@every_divided
def test_a_box_in_which_nothing_moves_is_read_once(name: str):
    crawl, world = crawled(name, lambda world, asked: None)
    assert crawl.report.splits > 0 and crawl.report.is_complete
    boxes = 4 * crawl.report.splits + 1
    assert world.asked <= 3 * boxes  # a refusal is asked three times


QUARTERS = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
MOVES = [(a, b) for a in range(4) for b in range(4) if a != b]


@every_divided
@pytest.mark.parametrize(("before", "after"), MOVES[:: examples(5, 1)])
def test_one_that_moves_to_a_quarter_that_was_read_is_found_by_reading_again(name: str, before: int, after: int):
    for request in range(1, 16, examples(3, 1)):

        def move(world: World, asked: int, request: int = request) -> None:
            world.places[MOVER] = world.at(*QUARTERS[before if asked < request else after])

        crawl, _ = crawled(name, move)
        assert crawl.report.is_complete


@every_divided
@pytest.mark.parametrize("turn", range(2, examples(4, 9)))
def test_one_that_moves_to_and_fro_is_never_taken_for_gone(name: str, turn: int):
    """As of a server behind which copies answer in turns, of which one knows the old position."""

    def move(world: World, asked: int) -> None:
        world.places[MOVER] = world.at(*QUARTERS[0 if asked % turn else 3])

    crawled(name, move)


@every_divided
def test_one_that_is_gone_is_believed_after_a_second_reading_or_when_asked_for(name: str):
    crawl, _ = crawled(name, lambda world, asked: world.places.pop(MOVER, None) and None)
    assert crawl.report.is_complete and len(crawl.captures) == 29
    once, _ = crawled(name, lambda world, asked: None)
    assert crawl.report.requests > once.report.requests
    assert (crawl.report.splits > once.report.splits) == (name != "mapillary")  # which is asked for it by id


@pytest.mark.parametrize("more", [0, 1])
def test_each_quarter_is_read_at_another_turn_the_second_time(more: int):
    """Whatever is asked beside them: `more` requests between the readings."""
    box = stac.CELL.bbox
    server = CappedServer([(n, box.west + n * 2e-3, box.south + n * 2e-3) for n in range(20)], limit=18)
    report, turns = CrawlReport(known=lambda _: frozenset({"gone"})), list[dict[Bbox, int]]()

    def ask(part: Bbox) -> list[Any]:
        report.requests += 1
        turns[-1][part] = report.requests % 2
        return server.fetch(part)

    def fetch(box: Bbox, report: CrawlReport) -> Any:
        turns.append({})
        report.requests += more * report.reading
        return fetch_complete(
            box, ask, capacity=Capacity(18), min_side_deg=1e-4, report=report, key=lambda point: point[0]
        )

    assert len(fetch_settled(box, fetch, report, id_of=lambda point: str(point[0]))) == 20
    first, second = turns
    assert all(first[quarter] != second[quarter] for quarter in box.quarters())


def test_a_failure_of_the_second_reading_fails_the_cell():
    """A cell that was half read twice must not count."""

    def move(world: World, asked: int) -> None:
        world.places.pop(MOVER, None)
        if asked > 8:
            raise GeoPinError("away")

    with pytest.raises(GeoPinError, match="away"):
        crawled("panoramax", move)
