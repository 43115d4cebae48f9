import json
from copy import deepcopy
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell, bounds, row_column
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.amsterdam import Amsterdam, mission, parse_panorama
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets_tests.sources.recordings.amsterdam import CELL, ENDPOINT, NOW, PAGES, RECORD, answer, build, parse
from geopin_assets_tests.sources.replay import client_of, recorded
from geopin_assets_tests.sources.shifting_server import PER_PAGE, Shifting, serving


def source_on(handler: Any, **options: Any) -> Amsterdam:
    client = client_of(httpx.MockTransport(handler), "amsterdam")
    return Amsterdam(client, endpoint=ENDPOINT, now=lambda: NOW, **options)


def square(row: int, column: int) -> Cell:
    return Cell(f"r{row:03d}c{column:03d}", bounds(row, column))


def test_every_page_is_asked_once_with_a_type_the_server_accepts(tmp_path):
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer(request)

    crawl = crawl_cell(source_on(server), CELL)
    assert crawl.report.requests == 3
    assert [request.url.params.get("page", "1") for request in requests] == ["1", "2", "3"]
    assert {request.headers["accept"] for request in requests} == {"application/hal+json, */*"}
    assert {request.url.path for request in requests} == {"/panorama/panoramas/"}
    assert dict(requests[0].url.params) == {"bbox": str(CELL.bbox), "srid": "4326", "page_size": "1000"}


def counting_server(points: list[tuple[float, float]], asked: list[str]) -> httpx.MockTransport:
    """Counts positions in boxes; has one panorama's record for each."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["page_size"])
        west, south, east, north = map(float, request.url.params["bbox"].split(","))
        inside = [(x, y) for x, y in points if west <= x <= east and south <= y <= north]
        records = [
            PAGES[0]["_embedded"]["panoramas"][0]
            | {"pano_id": f"TMX-{x}-{y}", "geometry": {"type": "Point", "coordinates": [x, y, 40]}}
            for x, y in inside[: int(request.url.params["page_size"])]
        ]
        links = {"self": {"href": str(request.url)}, "next": {"href": None}, "previous": {"href": None}}
        return httpx.Response(200, json={"_links": links, "count": len(inside), "_embedded": {"panoramas": records}})

    return httpx.MockTransport(answer)


def test_cells_of_an_area_that_counts_nothing_are_not_asked(tmp_path):
    asked: list[str] = []
    source = build(tmp_path, counting_server([(4.9, 52.37)], asked))
    groningen = [square(row, column) for row in range(130, 140) for column in range(100, 120)]
    crawls = [crawl_cell(source, cell) for cell in groningen]
    assert not any(crawl.captures for crawl in crawls)
    assert set(asked) == {"1"}
    assert len(asked) == sum(crawl.report.requests for crawl in crawls) <= 4
    asked.clear()
    crawl_cell(source, groningen[0], known=lambda box: frozenset({"found last week"}))
    assert len(asked) == 2 and "1" not in asked, "a count that is wrong once takes nothing for gone"


def test_a_mission_far_outside_the_usual_coverage_is_found(tmp_path):
    almere, asked = (5.2214, 52.3718), list[str]()
    source = build(tmp_path, counting_server([(4.9, 52.37), almere], asked))
    row, column = row_column(*almere)
    around = [square(r, c) for r in range(row - 3, row + 4) for c in range(column - 3, column + 4)]
    found = {cell.cell_id: len(crawl_cell(source, cell).captures) for cell in around}
    assert [cell_id for cell_id, captures in found.items() if captures] == [square(row, column).cell_id]
    assert len(asked) < 2 * len(around)


def test_the_key_is_sent_in_a_header_and_shown_nowhere():
    settings = Settings(profile=Profile.LIVE, variables={"GEOPIN_AMSTERDAM_API_KEY": "very-secret"})
    keys: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["x-api-key"])
        assert request.url.host == "api.data.amsterdam.nl"
        return httpx.Response(400, json=["bad key very-secret"])

    with (
        open_source("amsterdam", settings, transport=httpx.MockTransport(server)) as source,
        pytest.raises(PermanentError) as caught,
    ):
        crawl_cell(source, CELL)
    assert keys == ["very-secret"]
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("href", ["https://evil.example/panorama/panoramas/?page=2", "//evil.example/?page=2", 5, {}])
def test_a_next_page_elsewhere_is_never_asked(href: Any):
    hosts: set[str] = set()

    def server(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        page = deepcopy(PAGES[0])
        page["_links"]["next"]["href"] = href
        return httpx.Response(200, json=page)

    with pytest.raises(PayloadError, match="amsterdam"):
        crawl_cell(source_on(server, api_key="very-secret"), CELL)
    assert hosts == {"127.0.0.1"}


def test_a_next_page_on_the_same_host_keeps_our_own_address():
    """Behind a proxy the server thinks it is http:// or has another path; only its query is used."""

    def server(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/panorama/panoramas/"
        page = deepcopy(PAGES[int(request.url.params.get("page", "1")) - 1])
        if href := page["_links"]["next"]["href"]:
            page["_links"]["next"]["href"] = href.replace(
                "http://127.0.0.1:5056/panorama", "http://127.0.0.1/elsewhere"
            )
        return httpx.Response(200, json=page)

    assert len(crawl_cell(source_on(server), CELL).captures) == 5


def test_pages_that_lead_back_end_as_an_error():
    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=PAGES[int(request.url.params.get("page", "1")) % 2])

    with pytest.raises(PayloadError, match="without end"):
        crawl_cell(source_on(server), CELL)


@pytest.mark.parametrize("end", [{"next": {"href": None}}, {"next": None}, {}, None])
def test_the_last_page_may_say_so_in_any_way(end: Any):
    page = deepcopy(PAGES[0]) | {"count": 2, "_links": end}
    assert crawl_cell(source_on(lambda _: httpx.Response(200, json=page)), CELL).report.requests == 1


def test_a_shift_between_pages_is_noticed_and_everything_asked_once_more():
    rounds = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal rounds
        number = int(request.url.params.get("page", "1"))
        rounds += number == 1
        page = deepcopy(PAGES[number - 1])
        if rounds == 1 and number == 2:  # a deletion moved the first of this page to the one before
            page["_embedded"]["panoramas"] = page["_embedded"]["panoramas"][1:]
        return httpx.Response(200, json=page)

    crawl = crawl_cell(source_on(server), CELL)
    assert len(crawl.captures) == 5
    assert crawl.report.requests == 6


def test_a_count_that_never_fits_fails_the_cell_and_can_be_tried_later():
    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=deepcopy(json.loads(answer(request).content)) | {"count": 7})

    with pytest.raises(TransientError, match="6 panoramas where the total says 7"):
        crawl_cell(source_on(server), CELL)


def test_the_same_panorama_on_two_pages_counts_once():
    def server(request: httpx.Request) -> httpx.Response:
        page = deepcopy(PAGES[int(request.url.params.get("page", "1")) - 1])
        page["_embedded"]["panoramas"].append(PAGES[0]["_embedded"]["panoramas"][0])
        return httpx.Response(200, json=page)

    crawl = crawl_cell(source_on(server), CELL)
    assert (len(crawl.captures), crawl.report.duplicates) == (5, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pano_id": None}, Reason.BAD_ID),
        ({"pano_id": "a\x00b"}, Reason.BAD_ID),
        ({"geometry": None}, Reason.BAD_COORDINATES),
        ({"geometry": {"type": "Point", "coordinates": [None, None, None]}}, Reason.BAD_COORDINATES),
        ({"geometry": {"type": "Point", "coordinates": [4.5, 52.37, 40]}}, Reason.OUTSIDE_CELL),
        ({"_links": {}}, Reason.NO_IMAGE),
        ({"_links": {"equirectangular_medium": {"href": "javascript:alert(1)"}}}, Reason.NO_IMAGE),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out_for_a_reason(change: dict[str, Any], reason: Reason):
    result = parse(RECORD | change)
    assert isinstance(result, Rejected)
    assert result.reason == reason


def test_north_is_at_the_center_and_the_direction_of_the_car_stays_in_the_payload():
    capture = parse(RECORD)
    assert isinstance(capture, Capture)
    assert capture.heading_deg == 0.0
    assert json.loads(capture.payload)["heading"] == RECORD["heading"] == 219.760795827427
    assert "http" not in capture.payload


@pytest.mark.parametrize(
    ("pano_id", "recording"),
    [
        ("TMX7316010203-001984_pano_0000_000301", "TMX7316010203-001984"),
        ("recording_2025-09-04_06-44-53_01488", "recording_2025-09-04_06-44-53"),
        ("something else", None),
    ],
)
def test_the_recording_is_the_prefix_of_the_id(pano_id: str, recording: str | None):
    assert mission(pano_id) == recording


def test_a_panorama_of_the_newer_missions_is_understood():
    capture = parse_panorama(recorded("amsterdam/panorama_2025.json"), Bbox(4.89, 52.37, 4.9, 52.38), NOW)
    assert isinstance(capture, Capture)
    assert capture.image_url.endswith(
        "/2025/360geo/recording_2025-09-04_06-44-53_01488/equirectangular/panorama_4000.jpg"
    )
    assert capture.page_url.startswith("https://api.data.amsterdam.nl/panorama/panoramas/recording_2025")


def test_withdrawals_while_the_pages_are_read_take_nothing_else_with_them():
    """A survey is withdrawn between two pages: as many others slip through, and the last page's count agrees."""
    everything = [f"TMX-1_pano_{number:04d}_000000" for number in range(40)]
    shown = Shifting(list(everything))

    def withdraw(cut: int) -> None:
        if cut == 3:
            shown.records = everything[8:]

    shown.between = withdraw
    with serving() as server:
        source, paged = server.show("amsterdam", shown)
        crawl = crawl_cell(source, paged.cell, known=lambda box: frozenset(everything))
    assert crawl.report.is_complete
    assert [capture.source_capture_id for capture in crawl.captures] == everything[8:]
    assert len(shown.asked) > 2 * len(everything) / PER_PAGE
