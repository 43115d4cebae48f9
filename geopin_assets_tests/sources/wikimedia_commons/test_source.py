from copy import deepcopy
from typing import Any

import httpx
import pytest

from geopin_assets.errors import ConfigurationError, GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.geo import distance_m
from geopin_assets.grid import Bbox, Cell
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.wikimedia_commons import PROBE, WikimediaCommons
from geopin_assets.sources.wikimedia_commons.answers import Pages, judge, parse_answer, without_history
from geopin_assets_tests.sources.recordings.wikimedia_commons import CELL, NOW, PARTS, THUMBNAILS, answer
from geopin_assets_tests.sources.replay import client_of

LIVE = Settings(profile=Profile.LIVE, contact="crawler@example.org")


def source_on(handler: Any, **options: Any) -> WikimediaCommons:
    client = client_of(httpx.MockTransport(handler), "wikimedia_commons")
    return WikimediaCommons(client, now=lambda: NOW, **options)


def listing(pages: list[Any]) -> httpx.Response:
    return httpx.Response(200, json={"batchcomplete": True, "query": {"pages": pages}})


def asked_box(request: httpx.Request) -> Bbox:
    north, west, south, east = map(float, request.url.params["ggsbbox"].split("|"))
    return Bbox(west, south, east, north)


def drawings(count: int) -> list[Any]:
    """Pages at one place that take no request for thumbnails."""
    place = {"lat": 52.3701, "lon": 4.8937, "primary": True}
    info = {"mime": "image/png", "width": 900, "height": 900, "extmetadata": {"License": {"value": "cc0"}}}
    return [
        {"pageid": n, "title": f"File:{n}.png", "coordinates": [place], "imageinfo": [info]}
        for n in range(1, count + 1)
    ]


def failing(code: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"error": {"code": code, "info": "Said so.", **more}}, headers=headers)


def test_a_block_is_asked_for_once_until_nothing_continues_and_then_for_its_thumbnails():
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer(request)

    source = source_on(server)
    crawl = crawl_cell(source, CELL)
    neighbor = crawl_cell(source, Cell("next", Bbox(4.9229, 52.37, 4.9522, 52.388)))
    assert (crawl.report.requests, neighbor.report.requests) == (3, 0)
    search, rest, thumbnails = (dict(request.url.params) for request in requests)
    assert {request.url.path for request in requests} == {"/w/api.php"}
    assert search["ggsbbox"] == "52.406000|4.893600|52.334000|5.010800"
    assert (search["generator"], search["ggsprimary"], search["ggslimit"]) == ("geosearch", "primary", "500")
    assert (search["ggsnamespace"], search["maxlag"], search["formatversion"]) == ("6", "5", "2")
    assert rest == search | PARTS[0]["continue"]
    assert thumbnails["pageids"] == "44672185|44672190"
    assert (thumbnails["iiprop"], thumbnails["iiurlwidth"]) == ("url", "960")
    assert (thumbnails["prop"], thumbnails["rvprop"], thumbnails["rvslots"]) == (
        "imageinfo|revisions",
        "content",
        "main",
    )
    assert {"NonFree", "DeletionReason"} <= set(search["iiextmetadatafilter"].split("|"))


def test_the_live_profile_wants_a_contact_and_says_so_in_its_name():
    nameless = Settings(profile=Profile.LIVE)
    assert "GEOPIN_CONTACT" in (WikimediaCommons.disabled_reason(nameless) or "")
    assert WikimediaCommons.disabled_reason(LIVE) is None
    assert WikimediaCommons.disabled_reason(Settings()) is None
    with pytest.raises(ConfigurationError, match="GEOPIN_CONTACT"), open_source("wikimedia_commons", nameless):
        pass


def test_live_requests_name_the_contact_and_send_the_token_as_a_header_only():
    settings = Settings(
        profile=Profile.LIVE,
        contact="crawler@example.org",
        variables={"GEOPIN_WIKIMEDIA_COMMONS_TOKEN": "very-secret-token"},
    )
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return failing("nosuchthing", info="for very-secret-token")

    with (
        open_source("wikimedia_commons", settings, transport=httpx.MockTransport(server)) as source,
        pytest.raises(PermanentError) as caught,
    ):
        crawl_cell(source, CELL)
    assert seen[0].headers["authorization"] == "Bearer very-secret-token"
    assert "(+crawler@example.org)" in seen[0].headers["user-agent"]
    assert seen[0].url.host == "commons.wikimedia.org"
    assert "very-secret-token" not in str(seen[0].url)
    assert "very-secret-token" not in str(caught.value)


def test_without_a_token_no_header_is_sent_and_never_one_to_the_sandbox():
    seen: list[httpx.Headers] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return answer(request)

    crawl_cell(source_on(server), CELL)
    sandbox = Settings(variables={"GEOPIN_WIKIMEDIA_COMMONS_TOKEN": "very-secret-token"})
    with open_source("wikimedia_commons", sandbox, transport=httpx.MockTransport(server)) as source:
        crawl_cell(source, CELL)
    assert not any("authorization" in headers for headers in seen)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("maxlag", TransientError),
        ("ratelimited", TransientError),
        ("readonly", TransientError),
        ("internal_api_error_DBQueryError", TransientError),
        ("cirrussearch-too-busy-error", TransientError),
        ("mwoauth-invalid-authorization", ConfigurationError),
        ("blocked", PermanentError),
        ("invalid-bbox", PermanentError),
        ("badvalue", PermanentError),
        ("", PermanentError),
    ],
)
def test_an_error_with_status_200_is_classed_by_its_code(code: str, error: type[GeoPinError]):
    with pytest.raises(error, match="wikimedia_commons") as caught:
        crawl_cell(source_on(lambda _: failing(code)), CELL)
    assert isinstance(caught.value, TransientError) == (error is TransientError)


def test_a_lagging_server_is_asked_again():
    turns = iter(
        [failing("maxlag", headers={"Retry-After": "0"}, lag=6.2), failing("ratelimited", headers={"Retry-After": "0"})]
    )
    crawl = crawl_cell(source_on(lambda request: next(turns, None) or answer(request)), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (3, 5)


@pytest.mark.parametrize(
    ("headers", "code", "wait_s"),
    [({"Retry-After": "7"}, "maxlag", 7), ({}, "maxlag", 5), ({}, "ratelimited", 60), ({}, "readonly", None)],
)
def test_how_long_to_wait_is_what_the_server_says_or_a_usual_time(headers: dict[str, str], code: str, wait_s: float):
    errors: list[GeoPinError | None] = []

    def server(request: httpx.Request) -> httpx.Response:
        return failing(code, headers=headers)

    def listen(said: Any) -> GeoPinError | None:
        errors.append(judge(said))
        return errors[-1]

    client = client_of(httpx.MockTransport(server), "wikimedia_commons", attempts=1)
    with pytest.raises(TransientError):
        client.get_json("https://commons.wikimedia.org/w/api.php", judge=listen)
    assert isinstance(errors[0], TransientError)
    assert errors[0].retry_after_s == wait_s


def test_a_refused_token_stops_all_requests():
    requests = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return failing("mwoauth-invalid-authorization")

    source = source_on(server, token="wrong")
    for _ in range(2):
        with pytest.raises(GeoPinError):
            crawl_cell(source, CELL)
    assert requests == 1


def test_warnings_are_no_errors():
    def server(request: httpx.Request) -> httpx.Response:
        body = answer(request).json()
        return httpx.Response(200, json=body | {"warnings": {"main": {"warnings": "Unrecognized parameter: x."}}})

    assert len(crawl_cell(source_on(server), CELL).captures) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"pages": []}},
        {"batchcomplete": "", "query": {"pages": []}},
        {"batchcomplete": True, "query": {"pages": {"1": {}}}},
        {"batchcomplete": True, "query": {}},
        {"batchcomplete": True, "query": None},
        {"continue": {}},
        {"continue": {"iicontinue": ["x"]}},
        {"continue": {"action": "logout", "iicontinue": "x"}},
        {"continue": "||"},
        {"batchcomplete": True, "result": {"pages": []}},
        {},
        [],
        None,
    ],
)
def test_an_answer_that_is_neither_complete_nor_continued_is_never_taken(body: Any):
    with pytest.raises(PayloadError, match="wikimedia_commons"):
        parse_answer(body)


def test_an_answer_without_a_query_found_nothing():
    assert parse_answer({"batchcomplete": True}).pages == []
    assert crawl_cell(source_on(lambda _: httpx.Response(200, json={"batchcomplete": True})), CELL).captures == []


def test_a_continuation_that_leads_back_ends_as_an_error():
    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=PARTS[0])

    with pytest.raises(PayloadError, match="without end"):
        crawl_cell(source_on(server), CELL)


def test_a_continuation_that_never_ends_is_given_up():
    requests = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return httpx.Response(200, json=PARTS[0] | {"continue": {"iicontinue": f"{requests}|2", "continue": "||"}})

    with pytest.raises(PayloadError, match="without end"):
        crawl_cell(source_on(server), CELL)
    assert requests == 1002


def test_a_page_is_put_together_from_all_the_answers_it_was_in():
    pages = Pages()
    pages.add([{"pageid": 1, "title": "a"}, {"pageid": 2, "coordinates": [{"lat": 1}]}])
    pages.add([{"pageid": 1, "imageinfo": [{"url": "x"}]}, {"pageid": 2, "coordinates": [{"lat": 1}, {"lat": 2}]}])
    pages.add([{"pageid": 3}, "junk", None, 7, {"title": "no id"}])
    assert pages["1"] == {"pageid": 1, "title": "a", "imageinfo": [{"url": "x"}]}
    assert pages["2"]["coordinates"] == [{"lat": 1}, {"lat": 2}]
    assert len(pages) == 7


def test_a_lone_file_is_not_followed_through_its_older_versions():
    more = {"iistart": "2012-01-01T00:00:00Z", "continue": "||coordinates"}
    whole, bare = {"pageid": 1, "imageinfo": [{}]}, {"pageid": 1}
    assert without_history(more, [whole]) == {}
    assert without_history(more, [bare]) == more  # its one version did not fit into the answer
    both = more | {"cocontinue": "1|2"}
    assert without_history(both, [whole]) == {"cocontinue": "1|2", "continue": "||coordinates"}
    assert without_history({"iicontinue": "x|1", "continue": "||"}, [whole]) == {"iicontinue": "x|1", "continue": "||"}


def test_a_lone_file_with_older_versions_takes_one_request():
    requests = 0
    page = deepcopy(PARTS[0]["query"]["pages"][1])
    page["imageinfo"][0]["width"], page["imageinfo"][0]["height"] = 800, 700

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        more = {"iistart": f"20{requests}-01-01T00:00:00Z", "continue": "||coordinates"}
        return httpx.Response(200, json={"continue": more, "query": {"pages": [page]}})

    assert len(crawl_cell(source_on(server), CELL).captures) == 1
    assert requests == 1


def test_a_box_that_the_server_finds_too_big_is_divided():
    boxes: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        box = request.url.params.get("ggsbbox", "")
        boxes.append(box)
        north, _, south, _ = map(float, box.split("|")) if box else (0, 0, 0, 0)
        return failing("toobig") if north - south > 0.05 else answer(request)

    crawl = crawl_cell(source_on(server), CELL)
    assert (crawl.report.splits, len(crawl.captures)) == (1, 3)
    assert crawl.report.incomplete == []


def test_a_thumbnail_that_is_gone_leaves_out_one_photo_only():
    def server(request: httpx.Request) -> httpx.Response:
        if "pageids" not in request.url.params:
            return answer(request)
        first, second = THUMBNAILS["query"]["pages"]
        pages = [first, {"pageid": second["pageid"], "missing": True}]
        return httpx.Response(200, json={"batchcomplete": True, "query": {"pages": pages}})

    crawl = crawl_cell(source_on(server), CELL)
    assert [capture.source_capture_id for capture in crawl.captures] == ["44672185", "44672192"]
    assert crawl.report.rejected["no_image"] == 1


def test_pages_that_all_lost_their_position_fail_the_block_and_not_only_one_of_its_cells():
    pages = [page | {"coordinates": []} for page in drawings(5)]
    with pytest.raises(PayloadError, match="5 of 5 records"):
        crawl_cell(source_on(lambda _: listing(pages)), CELL)


def test_every_box_asked_for_is_one_that_the_server_takes():
    """GeoData refuses boxes below 100 m2 and above 400 km2; a pile of files at one place goes down to the smallest."""
    areas_m2: list[float] = []

    def server(request: httpx.Request) -> httpx.Response:
        box = asked_box(request)
        width_m = distance_m(box.west, box.center[1], box.east, box.center[1])
        areas_m2.append(width_m * distance_m(box.west, box.north, box.west, box.south))
        return listing(drawings(500) if box.west <= 4.8937 <= box.east and box.south <= 52.3701 <= box.north else [])

    report = crawl_cell(source_on(server), CELL).report
    assert 100 < min(areas_m2) < 1000 and max(areas_m2) < 400e6
    assert len(report.incomplete) == 1
    assert report.rejected["not_street_level"] == 500


@pytest.mark.parametrize(("count", "splits"), [(449, 0), (450, 1), (497, 1), (500, 1)])
def test_a_nearly_full_answer_is_not_believed_either(count: int, splits: int):
    """Files deleted a moment ago are found by the search and then left out: 497 pages may be a cut answer."""

    def server(request: httpx.Request) -> httpx.Response:
        if "prop" not in request.url.params:  # the probe
            return listing(drawings(500))
        box = asked_box(request)
        return listing(drawings(count if box.north - box.south > 0.05 else 5))

    report = crawl_cell(source_on(server), CELL).report
    assert (report.splits, report.incomplete) == (splits, [])


def test_a_cap_that_was_lowered_without_a_word_is_found_out_once():
    probes: list[Bbox] = []

    def server(request: httpx.Request) -> httpx.Response:
        box = asked_box(request)
        if "prop" not in request.url.params:
            probes.append(box)
            return listing(drawings(50))
        return listing(drawings(50 if box.north - box.south > 0.01 else 20))

    report = crawl_cell(source_on(server), CELL).report
    assert report.splits == 1 + 4 + 16
    assert report.incomplete == []
    assert probes == [PROBE]
    assert report.requests == 1 + 4 + 16 + 64 + len(probes)


def test_directions_come_with_the_thumbnails():
    def server(request: httpx.Request) -> httpx.Response:
        if "pageids" not in request.url.params:
            return answer(request)
        text = "{{Location|52.37|4.895|heading:90}}"
        pages = [
            page | {"revisions": [{"slots": {"main": {"content": text}}}]} for page in THUMBNAILS["query"]["pages"]
        ]
        return httpx.Response(200, json={"batchcomplete": True, "query": {"pages": pages}})

    crawl = crawl_cell(source_on(server), CELL)
    assert [capture.heading_deg for capture in crawl.captures] == [90.0, 90.0, None]


@pytest.mark.parametrize("code", ["internal_api_error_TimeoutException", "unknownerror", "too-many-requests"])
def test_errors_that_pass_are_asked_again(code: str):
    turns = iter([failing(code)])
    assert len(crawl_cell(source_on(lambda request: next(turns, None) or answer(request)), CELL).captures) == 3
