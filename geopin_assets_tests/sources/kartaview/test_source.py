import base64
import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected, addresses
from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError, TransientError
from geopin_assets.geo import distance_m
from geopin_assets.grid import Bbox, Cell, bounds, row_column
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.kartaview import photo_id
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.kartaview import MOST_REFUSALS, PAUSES_S, KartaView, around, corners
from geopin_assets.sources.kartaview.read import CDN, IMAGES, image_url
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.recordings.kartaview import CELL, NOW, PAGES, RECORD, answer, form_of, parse
from geopin_assets_tests.sources.replay import client_of, recorded

ERRORS = {error["case"]: error for error in recorded("kartaview/errors.json")}
PRESSURE = ("back-pressure / too much data", "query timeout (v2 spatial)")
NAME = "storage13/files/photo/2024/6/23/lth/9073001_b550e_1.jpg"
EMPTY = {"status": {"apiCode": "600"}, "currentPageItems": [], "totalFilteredItems": ["0"]}


def source_on(handler: Any, **options: Any) -> KartaView:
    client = client_of(httpx.MockTransport(handler), "kartaview")
    return KartaView(client, now=lambda: NOW, **({"sleep": lambda _: None} | options))


def error_answer(case: str) -> httpx.Response:
    error = ERRORS[case]
    if isinstance(error["body"], str):
        return httpx.Response(error["http_status"], text=error["body"])
    return httpx.Response(error["http_status"], json=error["body"])


def photos(count: int) -> list[dict[str, Any]]:
    """Along the diagonal of the cell."""
    box = CELL.bbox
    return [
        RECORD
        | {
            "id": str(n),
            "lat": f"{box.south + (box.north - box.south) * (n + 0.5) / count:.6f}",
            "lng": f"{box.west + (box.east - box.west) * (n + 0.5) / count:.6f}",
        }
        for n in range(count)
    ]


class Server:
    """Answers pages of `most_a_page` and refuses areas with more than `most` photos."""

    def __init__(self, found: list[dict[str, Any]], *, most: int = 10**9, most_a_page: int = 2000) -> None:
        self.found, self.most, self.most_a_page = found, most, most_a_page
        self.forms: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = form_of(request)
        self.forms.append(form)
        north, west = map(float, form["bbTopLeft"].split(","))
        south, east = map(float, form["bbBottomRight"].split(","))
        inside = [p for p in self.found if west <= float(p["lng"]) <= east and south <= float(p["lat"]) <= north]
        if len(inside) > self.most:
            return error_answer(PRESSURE[0])
        size, page = min(int(form["ipp"]), self.most_a_page), int(form["page"])
        body = EMPTY | {
            "currentPageItems": inside[(page - 1) * size : page * size],
            "totalFilteredItems": [str(len(inside))],
        }
        return httpx.Response(200, json=body)


def test_a_request_is_a_form_with_latitude_first_and_names_a_whole_block_of_cells():
    server = Server(photos(5))
    cell = Cell("one", bounds(90, 51))
    crawl_cell(source_on(server), cell)
    north, west, south, east = bounds(91, 51).north, bounds(88, 48).west, bounds(88, 48).south, bounds(91, 51).east
    assert server.forms == [
        {
            "bbTopLeft": f"{north:.6f},{west:.6f}",
            "bbBottomRight": f"{south:.6f},{east:.6f}",
            "page": "1",
            "ipp": "1000",
        }
    ]


def test_requests_are_posted_form_encoded_without_a_query():
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=EMPTY)

    crawl_cell(source_on(server), CELL)
    assert (seen[0].method, str(seen[0].url)) == ("POST", "https://api.openstreetcam.org/1.0/list/nearby-photos/")
    assert seen[0].headers["content-type"] == "application/x-www-form-urlencoded"


def test_sixteen_cells_cost_one_request_and_each_gets_its_own():
    server = Server(photos(40))
    source = source_on(server)
    block = [Cell(f"r{r}c{c}", bounds(r, c)) for r in range(88, 92) for c in range(48, 52)]
    crawls = [crawl_cell(source, cell) for cell in block]
    found = [capture.source_capture_id for crawl in crawls for capture in crawl.captures]
    inside = [p["id"] for p in server.found if any(c.bbox.contains(float(p["lng"]), float(p["lat"])) for c in block)]
    assert sorted(found) == sorted(inside)
    assert 0 < len(found) < 40
    assert sum(crawl.report.requests for crawl in crawls) == len(server.forms) == 1


def test_pages_go_on_although_the_server_puts_fewer_into_each_than_asked_for():
    server = Server(photos(25), most_a_page=4)
    crawl = crawl_cell(source_on(server, block_cells=1), CELL)
    assert len(crawl.captures) == 25
    assert [form["page"] for form in server.forms[:7]] == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize("total", [["4"], "4", 4, [4], "4.0"])
@pytest.mark.parametrize("code", ["600", 600])
def test_codes_and_totals_come_as_text_number_or_list(total: Any, code: Any):
    def server(request: httpx.Request) -> httpx.Response:
        page = json.loads(answer(request).content)
        return httpx.Response(200, json=page | {"status": {"apiCode": code}, "totalFilteredItems": total})

    crawl = crawl_cell(source_on(server), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (3, 2)


@pytest.mark.parametrize("empty", [EMPTY, EMPTY | {"totalFilteredItems": []}, EMPTY | {"status": {"apiCode": 601}}])
def test_an_empty_area_is_an_empty_cell(empty: dict[str, Any]):
    crawl = crawl_cell(source_on(lambda _: httpx.Response(200, json=empty)), CELL)
    assert (crawl.captures, crawl.report.requests, crawl.report.incomplete) == ([], 1, [])


@pytest.mark.parametrize("total", [None, "many", ["x"], {}, -1, "nan", True])
def test_a_page_without_a_total_is_no_answer(total: Any):
    body = EMPTY | {"totalFilteredItems": total}
    with pytest.raises(PayloadError, match="kartaview"):
        crawl_cell(source_on(lambda _: httpx.Response(200, json=body)), CELL)


def test_a_shift_between_pages_is_noticed_and_everything_asked_once_more():
    rounds = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal rounds
        number = int(form_of(request)["page"])
        rounds += number == 1
        page = deepcopy(PAGES[number - 1])
        if rounds == 1 and number == 2:
            page["currentPageItems"][0] = PAGES[0]["currentPageItems"][1]
        return httpx.Response(200, json=page)

    crawl = crawl_cell(source_on(server), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (3, 4)


def test_a_total_that_never_fits_fails_the_cell_and_can_be_tried_later():
    def server(request: httpx.Request) -> httpx.Response:
        number = int(form_of(request)["page"])
        return httpx.Response(
            200,
            json=EMPTY | {"totalFilteredItems": "5"} if number > 2 else PAGES[number - 1] | {"totalFilteredItems": "5"},
        )

    with pytest.raises(TransientError, match="4 photos where the total says 5"):
        crawl_cell(source_on(server), CELL)


def test_pages_without_end_are_an_error():
    body = PAGES[0] | {"totalFilteredItems": ["9999999"]}
    with pytest.raises(PayloadError, match="without end"):
        crawl_cell(source_on(lambda _: httpx.Response(200, json=body)), CELL)


@pytest.mark.parametrize("case", PRESSURE)
@pytest.mark.parametrize("status", [400, 200])
def test_back_pressure_is_waited_out(case: str, status: int):
    waits: list[float] = []
    refused = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal refused
        if refused < 2:
            refused += 1
            return httpx.Response(status, json=ERRORS[case]["body"])
        return answer(request)

    crawl = crawl_cell(source_on(server, sleep=waits.append), CELL)
    assert (len(crawl.captures), crawl.report.splits) == (3, 0)
    assert tuple(waits) == PAUSES_S


@pytest.mark.parametrize("code", ["690", 690, "408"])
def test_an_area_that_is_refused_three_times_is_divided(code: Any):
    server = Server(photos(60), most=20)

    def spoken(request: httpx.Request) -> httpx.Response:
        response = server(request)
        return httpx.Response(400, json={"status": {"apiCode": code}}) if response.status_code == 400 else response

    crawl = crawl_cell(source_on(spoken, block_cells=1), CELL)
    assert len(crawl.captures) == 60
    assert crawl.report.splits > 0
    assert crawl.report.incomplete == []
    boxes = [form["bbTopLeft"] + form["bbBottomRight"] for form in server.forms]
    assert max(boxes.count(box) for box in boxes) == 1 + len(PAUSES_S)


def test_an_area_that_is_refused_however_small_is_reported_as_incomplete():
    dense = [photo | {"lat": "52.3701", "lng": "4.8901"} for photo in photos(30)]
    sparse = photos(20)[15:]
    crawl = crawl_cell(source_on(Server([*dense, *sparse], most=25), block_cells=1), CELL)
    assert [capture.source_capture_id for capture in crawl.captures] == sorted(p["id"] for p in sparse)
    assert len(crawl.report.incomplete) == 1


def test_a_server_that_refuses_everything_is_left_alone_instead_of_dividing_the_country():
    requests = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return error_answer(PRESSURE[0])

    source = source_on(server)
    with pytest.raises(TransientError, match=r"kartaview.*690.*in a row"):
        crawl_cell(source, CELL)
    for row in range(20, 60, 4):
        with pytest.raises(TransientError):
            crawl_cell(source, Cell("next", bounds(row, 60)))
    assert requests <= MOST_REFUSALS + 10


def test_dense_areas_do_not_open_the_circuit_breaker():
    """Every refusal is an answer: ten in a row would otherwise stop the source for a minute."""
    corner = [photo | {"lat": f"{52.3681 + 0.0012 * n:.6f}", "lng": "4.8901"} for n, photo in enumerate(photos(4))]
    crawl = crawl_cell(source_on(Server(corner, most=1)), CELL)
    assert len(crawl.captures) == 4
    assert crawl.report.requests > 10


def test_other_refusals_are_no_reason_to_divide():
    with pytest.raises(PermanentError, match=r"kartaview.*answered 400"):
        crawl_cell(source_on(lambda _: error_answer("more than 150 ids")), CELL)
    body = {"status": {"apiCode": 401, "apiMessage": "Invalid access token"}}
    with pytest.raises(PermanentError, match=r"kartaview.*401 Invalid access token"):
        crawl_cell(source_on(lambda _: httpx.Response(200, json=body)), CELL)


def test_too_many_requests_pause_everybody_and_are_asked_again():
    asked = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return error_answer("too many requests") if asked == 1 else answer(request)

    crawl = crawl_cell(source_on(server), CELL)
    assert (len(crawl.captures), crawl.report.requests, crawl.report.splits) == (3, 3, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, Reason.BAD_ID),
        ({"id": ["1"]}, Reason.BAD_ID),
        ({"lat": "0", "lng": "0.000"}, Reason.BAD_COORDINATES),
        ({"lat": None}, Reason.BAD_COORDINATES),
        ({"lat": "4.895168", "lng": "52.370216"}, Reason.OUTSIDE_CELL),
        ({"lth_name": None, "name": None}, Reason.NO_IMAGE),
    ],
)
def test_a_photo_that_cannot_be_used_is_left_out_for_a_reason(change: dict[str, Any], reason: Reason):
    result = parse(RECORD | change)
    assert isinstance(result, Rejected)
    assert result.reason == reason


def capture_of(**change: Any) -> Capture:
    result = parse(RECORD | change)
    assert isinstance(result, Capture)
    return result


@pytest.mark.parametrize(
    ("shot_date", "captured_at"),
    [
        ("2024-06-09 09:11:51", datetime(2024, 6, 9, 9, 11, 51, tzinfo=UTC)),
        ("2024-01-09 09:11:51.000", datetime(2024, 1, 9, 9, 11, 51, tzinfo=UTC)),
        ("0000-00-00 00:00:00", None),
        ("1970-01-01 00:00:00", None),
        ("2031-01-01 00:00:00", None),
        ("", None),
        (None, None),
        (1719132025, None),
    ],
)
def test_dates_are_utc_and_junk_is_unknown_never_the_day_of_the_upload(shot_date: Any, captured_at: Any):
    assert capture_of(shot_date=shot_date).captured_at == captured_at


@pytest.mark.parametrize(
    ("heading", "deg"),
    [("", None), (None, None), ("360.00", 0.0), ("-90", 270.0), (12, 12.0), ("-1", None), ("-1.00", None), (-1, None)],
)
def test_headings_are_text_and_may_be_empty(heading: Any, deg: float | None):
    assert capture_of(heading=heading).heading_deg == deg


@pytest.mark.parametrize(
    ("projection", "field_of_view", "is_pano"),
    [
        ("PLANE", None, False),
        ("plane", "62", False),
        (None, None, False),
        ("", "", False),
        ("SPHERE", None, True),
        ("sphere", "0", True),
        ("SPHERE", "180", False),
        ("CYLINDER", None, False),
        ("PLANE", "360", True),
        (None, 360, True),
    ],
)
def test_panoramas_are_told_by_projection_or_field_of_view(projection: Any, field_of_view: Any, is_pano: bool):
    assert capture_of(projection=projection, field_of_view=field_of_view).is_pano is is_pano


def test_a_sphere_that_is_shown_as_the_flat_part_in_front_is_flat():
    assert capture_of(projection="SPHERE", field_of_view="360", is_unwrapped="0").is_pano
    assert not capture_of(projection="SPHERE", field_of_view="360", is_unwrapped="1").is_pano


def test_the_large_thumbnail_is_taken_but_the_whole_image_of_a_panorama():
    full = NAME.replace("/lth/", "/proc/")
    assert "/lth/" in capture_of(name=full, lth_name=NAME).image_url.partition("#")[0]
    assert "/proc/" in capture_of(name=full, lth_name=None).image_url
    assert "/proc/" in capture_of(name=full, lth_name=NAME, projection="SPHERE").image_url.partition("#")[0]
    assert "/lth/" in capture_of(name=NAME.replace("/lth/", "/ori/"), lth_name=NAME, projection="SPHERE").image_url


@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example/files/photo/2024/1/1/lth/a.jpg",
        "//evil.example/storage1/files/photo/a.jpg",
        "evil.example/files/photo/2024/1/1/lth/a.jpg",
        "storage13.evil.example/files/photo/2024/1/1/lth/a.jpg",
        "storage13@evil.example/files/photo/2024/1/1/lth/a.jpg",
        "storage13/files/photo/../../../etc/passwd",
        "storage13/files/photo/2024/./a.jpg",
        "storage13/files/photo//a.jpg",
        "storage13/files/photo/2024/1/1/lth/a.jpg?x=https://evil.example",
        "storage13/files/photo/2024/1/1/lth/a.jpg#x",
        "storage13/files/photo/2024/1/1/lth/a b.jpg",
        "storage13/files/photo/2024/1/1/lth/{storage}.jpg",
        "storage13/files/photo/2024/1/1/lth/a.jpg\n",
        "storage\u0661/files/photo/2024/1/1/lth/a.jpg",
        "storage13/other/2024/a.jpg",
        "storage13/files/photo/" + "a/" * 300 + "a.jpg",
        "",
        None,
        7,
        ["storage13/files/photo/2024/a.jpg"],
    ],
)
def test_no_name_leads_to_another_host(name: Any):
    assert image_url(name) is None
    assert parse(RECORD | {"name": name, "lth_name": name}) == Rejected(Reason.NO_IMAGE, RECORD["id"])


def test_an_image_lies_on_the_storage_host_of_its_name_or_behind_the_proxy_that_is_given_that_address():
    direct = "https://storage13.openstreetcam.org/files/photo/2024/6/23/lth/9073001_b550e_1.jpg"
    assert image_url(NAME) == direct
    proxied = image_url(NAME, CDN)
    assert proxied is not None
    host, encoded = proxied.rsplit("/", 1)
    assert host == "https://cdn.kartaview.org/pr:sharp"
    assert "=" not in encoded
    assert base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode() == direct


def test_a_photo_without_sequence_has_the_platforms_page():
    assert capture_of(sequence_id=None).page_url == "https://kartaview.org"
    assert capture_of(sequence_index="x").page_url == "https://kartaview.org"
    assert capture_of(sequence_id="a/b").page_url == "https://kartaview.org/details/a%2Fb/1/track-info"


def test_a_circle_holds_all_of_its_box():
    box = bounds(90, 51)
    form = around(box)
    for lon in (box.west, box.east):
        for lat in (box.south, box.north):
            assert distance_m(float(form["lng"]), float(form["lat"]), lon, lat) <= float(form["radius"])
    assert 1400 < float(form["radius"]) < 1430
    assert corners(Bbox(4.0, 52.0, 4.5, 52.25)) == {
        "bbTopLeft": "52.250000,4.000000",
        "bbBottomRight": "52.000000,4.500000",
    }


def live(**variables: str) -> Settings:
    return Settings(profile=Profile.LIVE, variables=variables)


@pytest.mark.parametrize("variable", ["GEOPIN_KARTAVIEW_AREA", "GEOPIN_KARTAVIEW_IMAGES"])
def test_an_unknown_choice_is_refused_before_anything_is_asked(variable: str, tmp_path):
    settings = Settings(data_dir=tmp_path, variables={variable: "round"})
    assert variable in (KartaView.disabled_reason(settings) or "")
    with pytest.raises(ConfigurationError, match=variable), open_source("kartaview", settings):
        pass


def test_settings_choose_circles_and_the_proxy():
    bodies: list[dict[str, str]] = []

    def server(request: httpx.Request) -> httpx.Response:
        bodies.append(form_of(request))
        return answer(request)

    client = client_of(httpx.MockTransport(server), "kartaview")
    settings = live(GEOPIN_KARTAVIEW_AREA="circle", GEOPIN_KARTAVIEW_IMAGES="cdn")
    crawl = crawl_cell(KartaView.from_settings(settings, client), CELL)
    assert sorted(bodies[0]) == ["ipp", "lat", "lng", "page", "radius"]
    assert all(capture.image_url.startswith(CDN) for capture in crawl.captures)


# Against the sandbox's stand-in

SHOTS = build_world().of("kartaview")
PLACES = sorted({place for shot in SHOTS if (place := row_column(shot.lon, shot.lat)) is not None})
CELLS = [Cell(f"r{row}c{column}", bounds(row, column)) for row, column in PLACES]


def on_stand_in(*faults: dict[str, Any], **options: Any) -> KartaView:
    transport = asgi_transport(create_app(build_world(), "http://127.0.0.1:1"))
    console = httpx.Client(transport=transport, base_url="http://127.0.0.1:1")
    for fault in faults:
        assert console.post("/faults", json=fault).status_code == 200
    client = client_of(transport, "kartaview", attempts=2, deadline_s=2)
    url = "http://127.0.0.1:1/kartaview"
    more = {"sleep": lambda _: None} | options
    return KartaView(client, endpoint=url, images=f"{url}/{{storage}}/{{path}}", now=lambda: NOW, **more)


@pytest.mark.parametrize("area", ["box", "circle"])
@pytest.mark.parametrize("cap", [{}, {"kartaview": 2}, {"kartaview.area": 6}, {"kartaview": 1, "kartaview.area": 6}])
def test_all_of_the_sandbox_is_found_whatever_the_server_limits(area: str, cap: dict[str, int]):
    source = on_stand_in({"cap": cap}, area=area)
    crawls = [crawl_cell(source, cell) for cell in CELLS]
    found = {c.source_capture_id: c for crawl in crawls for c in crawl.captures}
    usable = {photo_id(shot): shot for shot in SHOTS if shot.quirk is not Quirk.NULL_ISLAND}
    assert set(found) == set(usable)
    assert sum(len(crawl.captures) for crawl in crawls) == len(usable)
    assert not any(crawl.report.incomplete for crawl in crawls)
    for id_, shot in usable.items():
        is_dated = shot.quirk not in (Quirk.NO_DATE, Quirk.JUNK_DATE)
        assert found[id_].captured_at == (shot.captured_at if is_dated else None)
        assert (found[id_].heading_deg is None) == (shot.quirk is Quirk.NO_HEADING)
        assert found[id_].creator == shot.drive.creator


def test_the_photo_at_null_island_is_counted_once():
    source = on_stand_in()
    rejected = [dict(crawl_cell(source, cell).report.rejected) for cell in CELLS]
    assert sum(counts.get("bad_coordinates", 0) for counts in rejected) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 503}, TransientError),
        ({"kind": "html"}, PayloadError),
        ({"kind": "truncated"}, TransientError),
        ({"kind": "reset"}, TransientError),
        ({"kind": "drift", "rename": {"currentPageItems": "items"}}, PayloadError),
        ({"kind": "drift", "rename": {"totalFilteredItems": "total"}}, PayloadError),
        ({"kind": "drift", "rename": {"lat": "latitude"}}, PayloadError),
    ],
)
def test_no_fault_looks_like_an_empty_cell(fault: dict[str, Any], error: type[Exception]):
    with pytest.raises(error, match="kartaview"):
        crawl_cell(on_stand_in({"source": "kartaview"} | fault), CELLS[0])


@pytest.mark.parametrize(
    ("names", "in_turn"),
    [
        ({"lth_name": "lth", "proc_name": "proc", "name": "ori"}, ["lth", "proc"]),
        ({"lth_name": "lth", "name": "proc"}, ["lth", "proc"]),
        ({"lth_name": "lth", "proc_name": "proc", "name": "proc", "projection": "SPHERE"}, ["proc", "lth"]),
        ({"lth_name": "lth", "name": "ori", "projection": "SPHERE"}, ["lth"]),
        ({"lth_name": "lth", "name": "ori"}, ["lth"]),
        ({"lth_name": None, "name": "ori"}, ["ori"]),
        ({"lth_name": None, "proc_name": "proc", "name": "https://evil.example/ori/x.jpg"}, ["proc"]),
    ],
)
@pytest.mark.parametrize("images", [IMAGES, CDN])
def test_the_second_address_is_kept_for_when_the_first_has_nothing(
    names: dict[str, str | None], in_turn: list[str], images: str
):
    sizes = ("lth", "proc", "ori")
    record = RECORD | {k: NAME.replace("/lth/", f"/{v}/") if v in sizes else v for k, v in names.items()}
    capture = parse(record, images=images)
    assert isinstance(capture, Capture)
    assert addresses(capture.image_url) == [image_url(NAME.replace("/lth/", f"/{size}/"), images) for size in in_turn]


@pytest.mark.parametrize("code", [429, "500", 503])
def test_a_failure_that_passes_is_asked_again(code: Any):
    turns = iter([httpx.Response(200, json={"status": {"apiCode": code}})])
    crawl = crawl_cell(source_on(lambda request: next(turns, None) or answer(request)), CELL)
    assert (len(crawl.captures), crawl.report.splits) == (3, 0)
