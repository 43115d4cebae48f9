import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell, bounds
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.europeana import EuropeanaStandIn, item_id
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import World
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.europeana import Europeana
from geopin_assets.sources.europeana.read import parse_page
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.recordings.europeana import CELL, CURSORS, ENDPOINT, NOW, PAGES, RECORD, answer
from geopin_assets_tests.sources.replay import client_of


def source_of(server: Callable[[httpx.Request], httpx.Response], **options: Any) -> Europeana:
    client = client_of(httpx.MockTransport(server), "europeana")
    return Europeana(client, **{"api_key": "very-secret", "endpoint": ENDPOINT, "now": lambda: NOW, **options})


def answering(change: Callable[[int, Any], Any]) -> Callable[[httpx.Request], httpx.Response]:
    """The recorded pages, each changed by a function of its number from 0 and its body."""

    def server(request: httpx.Request) -> httpx.Response:
        number = CURSORS.index(request.url.params["cursor"])
        return httpx.Response(200, json=change(number, deepcopy(PAGES[number])))

    return server


# Asking


def test_a_block_of_sixteen_cells_is_asked_once_for_open_images_in_its_ranges():
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer(request)

    source = source_of(server)
    block = [bounds(row, column) for row in range(88, 92) for column in range(48, 52)]
    crawls = [crawl_cell(source, Cell(f"c{n}", box)) for n, box in enumerate(block)]
    assert [crawl.report.requests for crawl in crawls] == [3] + 15 * [0]
    low, high = block[0], block[-1]
    assert requests[0].url.path == "/record/v2/search.json"
    assert sorted(requests[0].url.params.multi_items()) == sorted(
        [
            ("wskey", "very-secret"),
            ("query", "*"),
            ("qf", f"pl_wgs84_pos_lat:[{low.south:.6f} TO {high.north:.6f}]"),
            ("qf", f"pl_wgs84_pos_long:[{low.west:.6f} TO {high.east:.6f}]"),
            ("qf", "TYPE:IMAGE"),
            ("reusability", "open"),
            ("media", "true"),
            ("profile", "rich"),
            ("rows", "100"),
            ("cursor", "*"),
        ]
    )
    assert [request.url.params["cursor"] for request in requests] == ["*", "AoE/SAMPLE", "AoE/SAMPLE+2="]


def test_the_end_is_a_page_without_a_next_cursor_or_with_the_same():
    def same(number: int, page: Any) -> Any:
        return page if number < 2 else page | {"nextCursor": CURSORS[2]}

    def short(number: int, page: Any) -> Any:
        return page | {"totalResults": 3, "nextCursor": None}

    assert crawl_cell(source_of(answering(same)), CELL).report.requests == 3
    assert crawl_cell(source_of(answering(short)), CELL).report.requests == 1


def test_cursors_that_lead_back_end_and_do_not_add_up():
    def circle(number: int, page: Any) -> Any:
        return PAGES[0] | {"nextCursor": CURSORS[2 if number == 1 else 1]}

    with pytest.raises(TransientError, match="europeana: 3 items where the total says 5"):
        crawl_cell(source_of(answering(circle)), CELL)


def test_the_same_item_on_two_pages_counts_once():
    def overlapping(number: int, page: Any) -> Any:
        return page | {"items": [*page["items"], RECORD] if number == 1 else page["items"]}

    crawl = crawl_cell(source_of(answering(overlapping)), CELL)
    assert (len(crawl.captures), crawl.report.duplicates) == (2, 1)


def test_a_total_that_does_not_fit_is_asked_once_more():
    rounds = 0

    def shifting(number: int, page: Any) -> Any:
        nonlocal rounds
        rounds += number == 0
        return page | {"items": page["items"][1:]} if rounds == 1 and number == 1 else page

    crawl = crawl_cell(source_of(answering(shifting)), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (2, 6)


@pytest.mark.parametrize("total", [4, 6])
def test_a_total_that_never_fits_fails_the_cell_and_can_be_tried_later(total: int):
    with pytest.raises(TransientError, match=f"europeana: 5 items where the total says {total}"):
        crawl_cell(source_of(answering(lambda number, page: page | {"totalResults": total})), CELL)


@pytest.mark.parametrize(
    "change",
    [
        {"success": None},
        {"items": None},
        {"items": {}},
        {"totalResults": "5"},
        {"totalResults": True},
        {"nextCursor": 5},
    ],
)
def test_a_page_of_another_shape_is_refused(change: dict[str, Any]):
    with pytest.raises(PayloadError, match="europeana"):
        parse_page(PAGES[0] | change)


# Errors


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"apikey": "x", "success": False, "error": "API key is not registered", "code": "401-AR"}),
        (400, {"success": False, "error": "No API key provided", "code": "400-AM"}),
        (410, {"success": False, "error": "Invalid API key", "code": "410-AI"}),
        (200, {"success": False, "error": "API key is not registered", "code": "401-AR"}),
        (403, None),
    ],
)
def test_a_bad_key_is_a_configuration_error_that_names_the_variable_and_is_not_tried_again(status: int, body: Any):
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status, json=body)

    source = source_of(server)
    with pytest.raises(ConfigurationError, match=r"europeana.*GEOPIN_EUROPEANA_API_KEY"):
        crawl_cell(source, CELL)
    with pytest.raises(PermanentError, match="GEOPIN_EUROPEANA_API_KEY"):
        crawl_cell(source, CELL)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"success": False, "error": "Unable to connect to search engine.", "code": "503-SA"}, TransientError),
        (200, {"success": False, "error": "too many", "code": "429"}, TransientError),
        (429, {"success": False, "error": "usage limit"}, TransientError),
        (503, {"success": False, "error": "Solr", "code": "503-SA"}, TransientError),
        (400, {"success": False, "error": "Invalid cursor value.", "code": "400-SC"}, PermanentError),
        (200, {"success": False, "error": None}, PermanentError),
        (200, {"success": False, "error": {}, "code": []}, PermanentError),
    ],
)
def test_an_error_is_classed_by_its_code_whatever_the_status(status: int, body: Any, error: type[Exception]):
    with pytest.raises(error, match="europeana"):
        crawl_cell(source_of(lambda request: httpx.Response(status, json=body)), CELL)


def test_the_wait_that_the_server_asks_for_is_kept():
    body = {"success": False, "error": "usage limit", "code": "429"}
    answer = httpx.Response(429, json=body, headers={"retry-after": "3600"})
    with pytest.raises(TransientError, match="europeana") as caught:
        crawl_cell(source_of(lambda request: answer), CELL)
    assert caught.value.retry_after_s == 3600


def test_the_key_is_in_no_message_payload_or_address():
    """The real server repeats it in `apikey`, `link`, `guid` and older previews."""
    variables = {"GEOPIN_EUROPEANA_API_KEY": "very-secret", "GEOPIN_EUROPEANA_REQUESTS_PER_SECOND": "1000"}
    settings = Settings(profile=Profile.LIVE, variables=variables)

    def telling(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "api.europeana.eu"
        assert request.url.params["wskey"] == "very-secret"
        text = answer(request).text
        for parameter in ("wskey", "utm_campaign"):
            text = text.replace(f"{parameter}=SAMPLE", f"{parameter}=very-secret")
        return httpx.Response(200, text=text)

    with open_source("europeana", settings, transport=httpx.MockTransport(telling)) as source:
        crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 2
    assert "very-secret" not in repr(crawl)

    def refusing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"apikey": "very-secret", "success": False, "error": f"bad {request.url}"})

    with (
        open_source("europeana", settings, transport=httpx.MockTransport(refusing)) as source,
        pytest.raises(PermanentError) as caught,
    ):
        crawl_cell(source, CELL)
    assert "very-secret" not in str(caught.value)


def test_it_is_disabled_without_a_key_and_says_where_to_get_one():
    reason = Europeana.disabled_reason(Settings(profile=Profile.LIVE))
    assert reason == "set GEOPIN_EUROPEANA_API_KEY; get a key at https://pro.europeana.eu/page/get-api"
    assert Europeana.disabled_reason(Settings()) is None


@pytest.mark.parametrize("name", ["edmPlaceLatitude", "rights", "id", "type"])
def test_a_renamed_field_is_an_error_and_not_an_empty_cell(name: str):
    def renamed(number: int, page: Any) -> Any:
        return json.loads(json.dumps(page).replace(f'"{name}"', f'"{name}_"'))

    with pytest.raises(PayloadError, match="europeana"):
        crawl_cell(source_of(answering(renamed)), CELL)


def test_a_block_whose_items_lost_their_coordinates_fails_for_all_its_cells():
    def lost(number: int, page: Any) -> Any:
        return json.loads(json.dumps(page).replace('"edmPlaceLongitude"', '"lon"'))

    source = source_of(answering(lost))
    for box in (bounds(90, 52), bounds(90, 53)):
        with pytest.raises(PayloadError, match=r"europeana: 5 of 5 records .* without a position"):
            crawl_cell(source, Cell("c", box))


# Against the stand-in


def test_crawling_the_stand_in_finds_what_is_open():
    world = build_world()
    shots = {item_id(shot): shot for shot in world.of("europeana")}
    transport = asgi_transport(create_app(world, "http://127.0.0.1:1"))
    client = client_of(transport, "europeana")
    source = Europeana(client, api_key="sandbox", endpoint="http://127.0.0.1:1/europeana")
    crawls = [crawl_cell(source, Cell(f"{n}", bounds(90 + n // 2, 50 + n % 2))) for n in range(4)]
    found = {capture.source_capture_id: capture for crawl in crawls for capture in crawl.captures}
    assert {shots[id_].rank for id_ in found} == {1, 3}
    assert not any(crawl.report.rejected for crawl in crawls)
    for id_, capture in found.items():
        shot = shots[id_]
        assert (capture.lon, capture.lat) == (shot.lon, shot.lat)
        assert (capture.creator, capture.license) == ("Stadsarchief", "CC-BY-4.0")
        assert capture.captured_at is None or capture.captured_at.date() == shot.captured_at.date()
    assert not any("sandbox" in repr(capture) for capture in found.values())


BLOCK = Bbox(bounds(88, 48).west, bounds(88, 48).south, bounds(91, 51).east, bounds(91, 51).north)
SHOT = build_world().of("europeana")[0]


@settings(max_examples=examples(12, 300), deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.9999), st.floats(0, 0.9999)), max_size=60),
    st.integers(1, 40),
    st.integers(0, 30),
)
def test_everything_is_found_whatever_the_page_holds_and_a_loss_is_an_error(
    drawn: list[tuple[float, float]], rows: int, lost: int
):
    shots = [
        replace(
            SHOT,
            rank=rank,
            lon=round(BLOCK.west + x * (BLOCK.east - BLOCK.west), 6),
            lat=round(BLOCK.south + y * (BLOCK.north - BLOCK.south), 6),
        )
        for rank, (x, y) in enumerate(drawn, 1)
    ]
    sandbox = Sandbox(World(tuple(shots)), "http://127.0.0.1:1", caps={"europeana": rows})
    stand_in = EuropeanaStandIn(sandbox)

    def server(request: httpx.Request) -> httpx.Response:
        answer = stand_in.answer(QueryParams(request.url.query.decode()), "sandbox")
        body = json.loads(bytes(answer.body))
        return httpx.Response(200, json=body | {"items": [i for i in body["items"] if i["id"] not in missing]})

    missing = {item_id(shot) for shot in shots[:lost]} if lost > 20 else set()
    source = source_of(server, api_key="sandbox")
    cells = [Cell(f"{row}", bounds(row, column)) for row in range(88, 92) for column in range(48, 52)]
    if missing:
        with pytest.raises(TransientError, match="europeana"):
            crawl_cell(source, cells[0])
        return
    crawls = [crawl_cell(source, cell) for cell in cells]
    found = sorted(capture.source_capture_id for crawl in crawls for capture in crawl.captures)
    assert found == sorted(map(item_id, shots))
    assert not any(crawl.report.rejected or crawl.report.incomplete for crawl in crawls)
