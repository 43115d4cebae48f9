"""The Panoramax source against its stand-in, in process: every way to the pictures of a cell, and what they cost."""

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.grid import Cell, bounds, row_column
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.panoramax_item import collection_id, picture_id
from geopin_assets.sandbox.streets.drives import GRACHT, build_world
from geopin_assets.sandbox.streets.world import Drive, Quirk, World, shots
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets_tests.depth import some
from geopin_assets_tests.sandbox.transport import asgi_transport

BASE = "http://127.0.0.1:8791"
SERVER = f"{BASE}/panoramax"
SHOTS = {picture_id(shot): shot for shot in build_world().of("panoramax")}
LEFT_OUT = {Quirk.HIDDEN, Quirk.NON_OPEN, Quirk.NO_LICENSE}
OPEN = {id_ for id_, shot in SHOTS.items() if shot.quirk not in LEFT_OUT}
AMSTERDAM, DRENTHE = (90, 51), (120, 100)
CITY = World(
    tuple(
        shot
        for n in range(10)
        for shot in shots(
            Drive(
                source="panoramax",
                name=f"city-{n}",
                street=replace(GRACHT, name=f"city {n}", lat=52.3725 + n * 0.001, bearing_deg=90),
                from_m=-300,
                step_m=10,
                count=60,
                started_at=datetime(2024, 1, 1 + n, tzinfo=UTC),
                creator="city",
            )
        )
    )
)  # 600 pictures of one cell, asked for with DENSE: a city's center, where an answer holds a few of them
DENSE = {"GEOPIN_PANORAMAX_LIMIT": "4"}


class Watched(httpx.BaseTransport):
    """The sandbox, with a list of what was asked."""

    def __init__(self, world: World) -> None:
        self.inner = asgi_transport(create_app(world, BASE))
        self.asked: list[httpx.Request] = []
        self.broken: dict[str, httpx.Response] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        for part, answer in self.broken.items():
            if part in str(request.url) or part == request.method:
                return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return self.inner.handle_request(request)

    def paths(self, part: str) -> list[str]:
        return [request.url.path for request in self.asked if part in request.url.path]

    def turn(self, body: dict) -> None:
        request = httpx.Request("POST", f"{BASE}/faults", json=body)
        assert self.inner.handle_request(request).status_code == 200


@contextmanager
def opened(transport: httpx.BaseTransport, folder: Path, **variables: str):
    variables = {"GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "1000"} | variables
    with open_source("panoramax", Settings(data_dir=folder, variables=variables), transport=transport) as source:
        yield source


def crawled(source, cells: Iterable[tuple[int, int]]):
    return {rc: crawl_cell(source, Cell(f"r{rc[0]}c{rc[1]}", bounds(*rc))) for rc in cells}


def cells_of(world: World) -> list[tuple[int, int]]:
    return sorted({row_column(shot.lon, shot.lat) for shot in world.of("panoramax")})


def ids(crawls) -> list[str]:
    return sorted(capture.source_capture_id for crawl in crawls.values() for capture in crawl.captures)


INSTANCE = {"GEOPIN_PANORAMAX_URLS": SERVER}
DENSE_INSTANCE = INSTANCE | DENSE


@pytest.mark.parametrize("variables", [{}, INSTANCE], ids=["catalog", "instance"])
def test_everything_open_is_found_once(variables: dict[str, str], tmp_path: Path):
    with opened(Watched(build_world()), tmp_path, **variables) as source:
        crawls = crawled(source, cells_of(build_world()))
    assert ids(crawls) == sorted(OPEN)
    rejected = sum(crawl.report.rejected["license_not_open"] for crawl in crawls.values())
    assert rejected == sum(shot.quirk in LEFT_OUT - {Quirk.HIDDEN} for shot in SHOTS.values())
    assert all(crawl.report.is_complete for crawl in crawls.values())


def test_where_the_grid_counts_nothing_nothing_is_asked(tmp_path: Path):
    server = Watched(build_world())
    with opened(server, tmp_path) as source:
        first, *others = crawled(source, [DRENTHE, (121, 100), (121, 101), (122, 100)]).values()
    assert first.report.requests == len(server.asked) == len(server.paths("/map/2/6/"))  # the grid, up to a count
    assert [crawl.report.requests for crawl in others] == [0, 0, 0]


def test_the_grid_is_asked_once_for_all_cells_and_kept_on_disk(tmp_path: Path):
    server = Watched(build_world())
    for _ in range(2):
        with opened(server, tmp_path) as source:
            crawled(source, [AMSTERDAM, (90, 52), (89, 52)])
    assert len(server.paths("/map/")) == len(set(server.paths("/map/"))) <= 2


def test_a_cell_that_had_captures_is_asked_whatever_the_grid_says(tmp_path: Path):
    """A grid that is wrong for a region takes nothing for gone."""
    server, drenthe = Watched(build_world()), Cell("drenthe", bounds(*DRENTHE))
    with opened(server, tmp_path) as source:
        crawl_cell(source, Cell("next", bounds(121, 100)))  # the grid is known now
        assert crawl_cell(source, drenthe).report.requests == 0
        assert crawl_cell(source, drenthe, known=lambda box: frozenset({"7"})).report.requests == 2
    assert len(server.paths("/api/search")) == 2  # once more before it is taken for gone


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<h1>Not Found</h1>"),
        httpx.Response(403, text="no"),
        httpx.Response(500, text="no"),
        httpx.Response(200, html="<h1>Maintenance</h1>"),
        httpx.Response(200, content=b""),
        httpx.Response(204),
    ],
    ids=lambda answer: str(answer.status_code),
)
def test_without_a_grid_every_cell_is_asked(answer: httpx.Response, tmp_path: Path):
    """A server that gives none, and one whose first night is still to come."""
    server = Watched(build_world())
    server.broken = {"/api/map/": answer}
    with opened(server, tmp_path) as source:
        crawls = crawled(source, [DRENTHE, *cells_of(build_world())])
    assert ids(crawls) == sorted(OPEN)
    assert crawls[DRENTHE].report.requests >= 1
    assert len(server.paths("/map/")) <= 4  # nobody insists on it


@pytest.mark.parametrize("variables", [{}, INSTANCE], ids=["catalog", "instance"])
def test_a_dense_cell_is_read_from_tiles_and_by_id(variables: dict[str, str], tmp_path: Path):
    server = Watched(CITY)
    with opened(server, tmp_path, **variables, **DENSE) as source:
        crawls = crawled(source, cells_of(CITY))
    assert ids(crawls) == sorted(picture_id(shot) for shot in CITY.shots)
    posts = [request for request in server.asked if request.method == "POST"]
    assert posts and all(request.url.path == "/panoramax/api/search" for request in posts)
    assert sum(crawl.report.requests for crawl in crawls.values()) == len(server.asked) < 60
    assert sum(crawl.report.splits for crawl in crawls.values()) == 0


def test_dividing_the_same_cell_would_take_many_times_as_many_requests(tmp_path: Path):
    by_tiles, by_search = Watched(CITY), Watched(CITY)
    by_search.broken = {"/api/map/": httpx.Response(404)}
    for server in (by_tiles, by_search):
        with opened(server, tmp_path / server.__class__.__name__ / str(len(server.broken)), **DENSE_INSTANCE) as source:
            found = crawled(source, cells_of(CITY))
        assert len(ids(found)) == len(CITY.shots)
    assert len(by_tiles.asked) * 4 < len(by_search.asked)


@pytest.mark.parametrize("refusal", some([405, 400, 403]))
def test_a_server_that_gives_no_pictures_by_id_is_asked_by_box(refusal: int, tmp_path: Path):
    server = Watched(CITY)
    server.broken = {"POST": httpx.Response(refusal, json={"message": "no"})}
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        crawls = crawled(source, cells_of(CITY))
    assert len(ids(crawls)) == len(CITY.shots)
    assert len([request for request in server.asked if request.method == "POST"]) == 2  # as text, as a list


@pytest.mark.parametrize("status", some([204, 404]))
def test_tiles_without_a_picture_where_thousands_are_counted_prove_nothing(status: int, tmp_path: Path):
    server = Watched(CITY)
    server.broken = {"/api/map/15/": httpx.Response(status)}
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        assert len(ids(crawled(source, cells_of(CITY)))) == len(CITY.shots)


def test_a_tile_that_fails_fails_the_cell(tmp_path: Path):
    server = Watched(CITY)
    server.broken = {"/api/map/15/": httpx.Response(429, headers={"retry-after": "3600"})}
    with opened(server, tmp_path, **DENSE_INSTANCE) as source, pytest.raises(TransientError, match="panoramax"):
        crawled(source, cells_of(CITY))


def test_pictures_that_are_gone_although_a_kept_tile_shows_them_are_counted_as_removed(tmp_path: Path):
    server = Watched(CITY)
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        crawled(source, cells_of(CITY))
    gone = [picture_id(shot) for shot in CITY.shots[5:8]]
    server.turn({"vanish": gone})
    asked = len(server.paths("/map/15/"))
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        crawls = crawled(source, cells_of(CITY))
    assert len(server.paths("/map/15/")) == asked  # from disk
    assert len(ids(crawls)) == len(CITY.shots) - 3
    assert sum(crawl.report.rejected["removed"] for crawl in crawls.values()) >= 3


def test_a_collection_that_was_taken_down_is_not_even_asked_for(tmp_path: Path):
    server = Watched(CITY)
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        crawled(source, cells_of(CITY))
    gone = {picture_id(shot) for shot in CITY.shots if shot.drive.name == "city-3"}
    server.turn({"vanish": sorted(gone)})
    server.asked.clear()
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        crawls = crawled(source, cells_of(CITY))
    assert not gone & set(ids(crawls))
    assert sum(crawl.report.rejected["removed"] for crawl in crawls.values()) >= len(gone)
    posted = b"".join(request.content for request in server.asked if request.method == "POST").decode()
    assert not any(id_ in posted for id_ in gone)


def test_a_collection_taken_down_at_its_instance_is_removed_although_the_other_still_shows_it(tmp_path: Path):
    first, second = Watched(build_world()), Watched(build_world())
    gone = {id_ for id_, shot in SHOTS.items() if shot.drive.name == "kade-360"}
    second.turn({"vanish": sorted(gone)})

    def both(request: httpx.Request) -> httpx.Response:
        return (first if request.url.host == "localhost" else second).handle_request(request)

    urls = f"http://localhost:8791/panoramax,{SERVER}"
    with opened(httpx.MockTransport(both), tmp_path, GEOPIN_PANORAMAX_URLS=urls) as source:
        crawls = crawled(source, cells_of(build_world()))
    assert ids(crawls) == sorted(OPEN - gone)
    assert sum(crawl.report.rejected["removed"] for crawl in crawls.values()) == len(gone)


def test_what_was_taken_down_is_asked_of_instances_alone_and_once(tmp_path: Path):
    catalog, instance = Watched(build_world()), Watched(build_world())
    for server, variables in ((catalog, {}), (instance, INSTANCE)):
        with opened(server, tmp_path / str(len(variables)), **variables) as source:
            crawled(source, cells_of(build_world()))
    assert catalog.paths("/collections") == []
    assert instance.paths("/collections") == ["/panoramax/api/collections"]


@pytest.mark.parametrize("refusal", [400, 404])
def test_an_instance_that_does_not_tell_what_it_took_down_is_crawled_all_the_same(refusal: int, tmp_path: Path):
    server = Watched(build_world())
    server.broken = {"/collections": httpx.Response(refusal)}
    with opened(server, tmp_path, **INSTANCE) as source:
        assert ids(crawled(source, cells_of(build_world()))) == sorted(OPEN)
    assert len(server.paths("/collections")) == 1


@pytest.mark.parametrize("cap", [12, 20])
def test_a_cap_lowered_without_a_word_loses_nothing(cap: int, tmp_path: Path):
    server = Watched(build_world())
    server.turn({"cap": {"panoramax": cap}})
    with opened(server, tmp_path, **INSTANCE) as source:
        assert ids(crawled(source, cells_of(build_world()))) == sorted(OPEN)


def test_pictures_by_id_survive_a_cap_lowered_without_a_word(tmp_path: Path):
    server = Watched(CITY)
    with opened(server, tmp_path, **DENSE_INSTANCE) as source:
        server.turn({"cap": {"panoramax": 250}})
        crawls = crawled(source, cells_of(CITY))
    assert len(ids(crawls)) == len(CITY.shots)
    assert sum(crawl.report.rejected["removed"] for crawl in crawls.values()) == 0


def test_one_search_of_the_country_shows_what_the_server_gives(tmp_path: Path):
    server = Watched(build_world())
    with opened(server, tmp_path, **INSTANCE) as source:
        crawled(source, cells_of(build_world()))
    boxes = [request.url.params.get("bbox") for request in server.asked]
    assert boxes.count("3.370000,50.750000,7.210000,53.470000") == 1


def test_a_failing_search_of_the_country_costs_requests_but_no_captures(tmp_path: Path):
    server = Watched(build_world())
    server.broken = {"3.370000%2C50.750000": httpx.Response(500)}
    with opened(server, tmp_path, **INSTANCE) as source:
        assert ids(crawled(source, cells_of(build_world()))) == sorted(OPEN)


def test_the_grid_and_the_proof_cost_little(tmp_path: Path):
    """Requests are those that dividing needs, plus a fixed few for the whole run."""
    server = Watched(build_world())
    with opened(server, tmp_path) as source:
        crawls = crawled(source, cells_of(build_world()))
    least = sum(4 * crawl.report.splits + 1 for crawl in crawls.values())
    assert len(server.asked) - len(server.paths("/map/")) - 1 == least  # one for the proof
    assert sum(crawl.report.requests for crawl in crawls.values()) == len(server.asked)


def test_a_fault_of_one_street_fails_its_cell_alone(tmp_path: Path):
    server = Watched(build_world())
    box = bounds(90, 52)
    server.turn({"source": "panoramax", "status": 404, "bbox": [box.west + 0.001, box.south + 0.001, box.east, 52.38]})
    outcomes = {}
    with opened(server, tmp_path) as source:
        for rc in cells_of(build_world()):
            try:
                outcomes[rc] = crawled(source, [rc])[rc]
            except GeoPinError as error:
                outcomes[rc] = error
    assert [rc for rc, outcome in outcomes.items() if isinstance(outcome, GeoPinError)] == [(90, 52)]


def test_in_a_live_profile_the_catalog_is_asked_with_hexagons_and_instances_without(tmp_path: Path):
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host}{request.url.path}")
        is_search = request.url.path.endswith("/search")
        return httpx.Response(200, json={"features": []}) if is_search else httpx.Response(404)

    variables = {
        "GEOPIN_PANORAMAX_URLS": "https://api.panoramax.xyz,https://panoramax.openstreetmap.fr",
        "GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "1000",
    }
    settings = Settings(profile=Profile.LIVE, data_dir=tmp_path, variables=variables)
    with open_source("panoramax", settings, transport=httpx.MockTransport(server)) as source:
        crawled(source, [DRENTHE])
    assert asked == [
        "api.panoramax.xyz/api/map/2/6/33/20.mvt",
        "api.panoramax.xyz/api/search",
        "panoramax.openstreetmap.fr/api/map/6/33/20.mvt",
        "panoramax.openstreetmap.fr/api/search",
    ]


def test_pictures_are_named_after_the_collection_they_are_taken_down_with():
    assert len({collection_id(shot.drive) for shot in CITY.shots}) == 10
