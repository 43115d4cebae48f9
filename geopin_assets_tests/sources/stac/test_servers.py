"""What servers of the standard really answer: links from last pages and relative ones, counts of what they return,
ranges of time, limits that they refuse, media types and ports in every spelling."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.grid import Cell, bounds
from geopin_assets.sources.crawl import CellCrawl, crawl_cell, crawl_cells
from geopin_assets.sources.stac import Stac
from geopin_assets_tests.sources.recordings.stac import CELL, NOW, parse
from geopin_assets_tests.sources.replay import client_of
from geopin_assets_tests.sources.stac.test_source import API, answer, crawled, inside, item, parsed, with_properties

Server = Callable[[httpx.Request], httpx.Response]


class Pages:
    """Pages of items, by number, and what each says follows it."""

    def __init__(self, pages: list[list[Any]], link: Callable[[int], dict[str, Any] | None], **fields: Any) -> None:
        self.pages, self.link, self.fields, self.asked = pages, link, fields, list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        number = int(request.url.params.get("page", 1))
        features = self.pages[number - 1] if number <= len(self.pages) else []
        return answer(features, self.link(number), **self.fields)


def ever_on(number: int) -> dict[str, Any]:
    return {"href": f"{API}/search?page={number + 1}"}


THREE = [[item(0), item(1)], [item(2), item(3)], [item(4)]]


@pytest.mark.parametrize("count", [{}, {"numberMatched": 5}, {"context": {"matched": 5}}, {"numberMatched": 2}])
@pytest.mark.parametrize(
    ("link", "pages"),
    [
        (ever_on, 4),
        (lambda n: ever_on(min(n, 3)), 4),
        (lambda n: ever_on(min(n, 2)), 4),
        (lambda n: ever_on(n) | {"method": "POST", "body": {}} if n > 2 else ever_on(n), 4),
        (lambda n: ever_on(n) if n < 3 else {"href": None}, 3),
        (lambda n: ever_on(n) if n < 3 else {"href": ""}, 3),
        (lambda n: ever_on(n) if n < 3 else ever_on(0), 4),
    ],
    ids=["empty for ever", "an empty page of its own", "the last again", "POST", "null", "nothing", "the first again"],
)
def test_a_link_from_the_last_page_leads_nowhere(link: Any, pages: int, count: dict[str, Any]):
    server = Pages(THREE, link, **count)
    crawl = crawled(server)
    assert (len(crawl.captures), crawl.report.is_complete, len(server.asked)) == (5, True, pages)


def test_a_cell_with_nothing_but_a_link_is_empty():
    crawl = crawled(Pages([], ever_on))
    assert (crawl.captures, crawl.report.is_complete, crawl.report.requests) == ([], True, 2)


def test_a_count_that_pages_do_not_reach_leaves_the_cell_incomplete_although_they_end():
    crawl = crawled(Pages(THREE, ever_on, numberMatched=60))
    assert (len(crawl.captures), crawl.report.is_complete) == (5, False)


@pytest.mark.parametrize("cap", [12, 250])
def test_the_same_page_under_ever_new_numbers_is_no_paging_and_its_box_is_divided(cap: int):
    everything = [item(n) for n in range(40)]

    def server(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("page", 1))
        bbox = request.url.params["bbox"]
        found = inside(request, everything)[: min(cap, int(request.url.params["limit"]))]
        return answer(found, {"href": f"{API}/search?bbox={bbox}&limit=250&page={page + 1}"})

    crawl = crawled(server)
    assert len(crawl.captures) == 40 and crawl.report.is_complete and crawl.report.splits


@pytest.mark.parametrize(
    ("href", "image"),
    [
        ("./a.jpg", f"{API}/collections/c/items/a.jpg"),
        ("a.jpg", f"{API}/collections/c/items/a.jpg"),
        ("../../pictures/a.jpg", f"{API}/collections/pictures/a.jpg"),
        ("/files/a.jpg", "https://stac.example/files/a.jpg"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("een straat.jpg", f"{API}/collections/c/items/een%20straat.jpg"),
        (" a.jpg\n", f"{API}/collections/c/items/a.jpg"),
        ("https://cdn.example/a.jpg", "https://cdn.example/a.jpg"),
    ],
)
@pytest.mark.parametrize("own", [f"{API}/collections/c/items/x", "/v1/collections/c/items/x", "collections/c/items/x"])
def test_an_address_is_relative_to_the_items_own(href: str, image: str, own: str):
    made = item(1, assets={"v": {"href": href, "type": "image/jpeg"}}, links=[{"rel": "self", "href": own}])
    capture = parsed(made, url=API)
    assert (capture.image_url, capture.page_url) == (image, f"{API}/collections/c/items/x")


@pytest.mark.parametrize("links", [[], [{"rel": "self", "href": "file:///srv/x.json"}], [{"rel": "self"}], None])
def test_of_an_item_without_an_address_it_is_relative_to_that_of_the_answer(links: Any):
    made = item(1, assets={"v": {"href": "a.jpg", "type": "image/jpeg"}}, links=links)
    assert parsed(made, url=API).image_url == f"{API}/a.jpg"


@pytest.mark.parametrize("href", ["", " ", "file:///etc/passwd", "http://u:p@x.example/a.jpg", "javascript:a.jpg", 5])
def test_what_is_no_address_of_an_image_stays_none(href: Any):
    result = parse(item(1, assets={"v": {"href": href, "type": "image/jpeg"}}), url=API)
    assert isinstance(result, Rejected) and result.reason == Reason.NO_IMAGE


@pytest.mark.parametrize(
    "href",
    [
        *("/v1/search?page=2", "search?page=2", "?page=2", "./search?page=2", "//stac.example/v1/search?page=2"),
        *("https://stac.example:443/v1/search?page=2", "http://stac.example:80/v1/search?page=2"),
        *("https://STAC.Example/v1/search?page=2", "http://stac.example/v1/search?page=2"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "post"])
def test_a_next_page_is_on_our_host_however_it_is_spelled(href: str, method: str):
    server = Pages([[item(0)], [item(1)]], lambda n: {"href": href, "method": method, "body": {}} if n == 1 else None)
    assert len(crawled(server, token="secret").captures) == 2
    first, second = server.asked
    assert (second.url.scheme, second.url.host, second.url.port) == ("https", "stac.example", None)
    assert (second.url.path, second.url.params["page"]) == ("/v1/search", "2")
    assert second.headers["authorization"] == first.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "href",
    [
        *("//elsewhere.example/v1/search", "https://stac.example:80/v1/search", "http://stac.example:8080/v1/search"),
        *("https://stac.example.evil.example/", "https://www.stac.example/v1/search"),
    ],
)
def test_no_spelling_leads_to_another_host(href: str):
    server = Pages([[item(0)]], lambda n: {"href": href})
    with pytest.raises(PayloadError, match="another host"):
        crawled(server, token="secret")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("start", "end", "captured_at"),
    [
        ("2024-06-01T10:00:00Z", "2024-06-01T10:00:04Z", datetime(2024, 6, 1, 10, 0, 2, tzinfo=UTC)),
        ("2024-06-01T10:00:00Z", "2024-06-01T10:00:00Z", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01T00:00:00Z", "2024-06-01T23:59:59Z", datetime(2024, 6, 1, 11, 59, 59, 500000, tzinfo=UTC)),
        ("2024-06-01T10:00:00+02:00", "2024-06-01T10:00:00+02:00", datetime(2024, 6, 1, 8, tzinfo=UTC)),
        ("2024-06-01T00:00:00Z", "2024-06-30T23:59:59Z", None),
        ("2024-06-01T10:00:00Z", "2024-06-01T09:00:00Z", None),
        ("2024-06-01T10:00:00Z", None, None),
        (None, "2024-06-01T10:00:00Z", None),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", None),
        ("2024-06-01T10:00:00Z", "soon", None),
    ],
)
@pytest.mark.parametrize("stated", [None, ..., "1970-01-01T00:00:00Z"])
def test_a_short_range_is_a_moment_and_a_long_one_is_none(start: Any, end: Any, captured_at: Any, stated: Any):
    made = with_properties(datetime=stated, start_datetime=start, end_datetime=end)
    assert parsed(made).captured_at == captured_at


def test_a_stated_moment_is_no_range():
    span = {"start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-01-01T00:00:00Z"}
    assert parsed(with_properties(datetime="2024-06-01T08:00:00Z", **span)).captured_at == datetime(
        2024, 6, 1, 8, tzinfo=UTC
    )


EVERYTHING = [item(n) for n in range(60)]


@pytest.mark.parametrize("cap", [10, 17, 250])
@pytest.mark.parametrize(
    "count",
    [
        lambda found, cap: {"numberMatched": len(found[:cap]), "numberReturned": len(found[:cap])},
        lambda found, cap: {"context": {"matched": len(found[:cap]), "limit": cap}},
        lambda found, cap: {"numberMatched": cap},
        lambda found, cap: {"numberMatched": str(len(found[:cap]))},
        lambda found, cap: {"search:metadata": {"matched": len(found), "returned": cap}},
        lambda found, cap: {"numberMatched": len(found)},
    ],
    ids=["of the page", "of the page, old", "the limit", "as text", "true, older", "true"],
)
def test_a_count_of_what_is_returned_hides_nothing(cap: int, count: Callable[[list[Any], int], dict[str, Any]]):
    def server(request: httpx.Request) -> httpx.Response:
        found = inside(request, EVERYTHING)
        return answer(found[:cap], **count(found, cap))

    crawl = crawled(server)
    assert len(crawl.captures) == 60


def test_a_count_of_as_many_as_were_asked_for_proves_nothing_even_of_a_server_that_counts():
    """It counts the whole cell truly, and of its parts no more than it returns."""
    many = [item(n % 200, id=f"item-{n}") for n in range(400)]

    def server(request: httpx.Request) -> httpx.Response:
        found = inside(request, many)
        is_whole = request.url.params["bbox"] == str(CELL.bbox)
        return answer(found[:250], numberMatched=len(found) if is_whole else len(found[:250]))

    crawl = crawled(server)
    assert len(crawl.captures) == 400 and crawl.report.is_complete


def only_up_to(most: int, refusal: Server, asked: list[int] | None = None) -> Server:
    def server(request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params["limit"])
        if asked is not None:
            asked.append(limit)
        found = inside(request, EVERYTHING)
        return refusal(request) if limit > most else answer(found[:limit], numberMatched=len(found))

    return server


@pytest.mark.parametrize("status", [400, 413, 414, 422, 500, 501, 502, 503, 504])
@pytest.mark.parametrize("most", [200, 100, 20])
def test_a_limit_that_is_refused_is_halved_until_it_is_taken(status: int, most: int):
    crawl = crawled(only_up_to(most, lambda _: httpx.Response(status, json={"message": "limit"})))
    assert len(crawl.captures) == 60 and crawl.report.is_complete


def test_a_limit_that_was_taken_is_remembered():
    asked: list[int] = []
    server = only_up_to(100, lambda _: httpx.Response(502), asked)
    source = Stac(client_of(httpx.MockTransport(server), "stac", attempts=3), urls=[API], now=lambda: NOW)
    for _ in range(3):
        assert len(crawl_cell(source, CELL).captures) == 60
    assert asked[:5] == [250, 250, 250, 125, 62]
    assert set(asked[5:]) == {62}


def test_a_limit_that_only_dense_boxes_refuse_is_lowered_there_and_full_answers_below_it_are_divided():
    def server(request: httpx.Request) -> httpx.Response:
        limit, found = int(request.url.params["limit"]), inside(request, EVERYTHING)
        return httpx.Response(502) if len(found[:limit]) > 25 else answer(found[:limit])

    crawl = crawled(server)
    assert len(crawl.captures) == 60 and crawl.report.splits


@pytest.mark.parametrize("status", [400, 500, 503])
def test_an_outage_is_no_refused_limit_and_costs_few_requests(status: int):
    asked: list[int] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(int(request.url.params["limit"]))
        return httpx.Response(status)

    source = Stac(client_of(httpx.MockTransport(server), "stac", attempts=5), urls=[API], now=lambda: NOW)
    for _ in range(20):
        with pytest.raises(PermanentError if status == 400 else TransientError):
            crawl_cell(source, CELL)
    first = 1 if status == 400 else 5
    assert asked[: first + 4] == [250] * first + [125, 62, 31, 15]
    assert set(asked[first + 4 :]) == {250}
    assert status == 400 or len(asked) == 10  # then nothing is asked for a while


def test_refusals_of_several_cells_at_once_do_not_add_up_to_an_outage():
    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(502) if int(request.url.params["limit"]) > 50 else answer([])

    source = Stac(client_of(httpx.MockTransport(server), "stac"), urls=[API], now=lambda: NOW)
    cells = [Cell(f"c{row}", bounds(row, 52)) for row in range(80, 100)]
    assert all(isinstance(crawl, CellCrawl) for _, crawl in crawl_cells(source, cells, concurrency=4))


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429])
def test_what_speaks_of_something_else_is_no_refused_limit(status: int):
    asked: list[int] = []
    with pytest.raises((PermanentError, TransientError)):
        crawled(only_up_to(100, lambda _: httpx.Response(status, headers={"Retry-After": "0"}), asked))
    assert set(asked) == {250}


@pytest.mark.parametrize(
    ("type_", "is_image"),
    [
        ("image/jpeg; charset=binary", True),
        ("IMAGE/JPEG", True),
        ("Image/Jpeg;profile=street", True),
        (" image/png ", True),
        ("image/pjpeg", True),
        ("application/octet-stream", True),
        ("", True),
        (None, True),
        ("image/tiff; application=geotiff", False),
        ("application/json; charset=image/jpeg", False),
        ("text/html", False),
        (5, False),
        (["image/jpeg"], False),
    ],
)
def test_media_types_are_read_whatever_their_parameters_and_capitals(type_: Any, is_image: bool):
    result = parse(item(1, assets={"v": {"href": f"{API}/a.JPG", "type": type_, "roles": ["Visual"]}}))
    assert isinstance(result, Capture) == is_image


@pytest.mark.parametrize(
    ("links", "page"),
    [
        ([{"rel": "self", "href": f"{API}/x?token=s3cret&f=html"}], f"{API}/x?f=html"),
        ([{"rel": "alternate", "href": f"{API}/x#access_token=s3cret"}], f"{API}/x"),
        (
            [{"rel": "alternate", "href": "/see?id=5&X-Amz-Signature=s3cret#street"}],
            "https://stac.example/see?id=5#street",
        ),
        ([{"rel": "self", "href": "https://me:s3cret@stac.example/x"}], f"{API}/collections/c/items/item-1"),
        ([], f"{API}/collections/c/items/item-1"),
    ],
)
def test_no_password_or_key_is_in_what_people_see(links: Any, page: str):
    secret = API.replace("://", "://me:s3cret@")
    capture = parsed(item(1, links=links), url=secret, prefix=secret)
    assert capture.page_url == page
    free = with_properties(license="CC0-1.0", **{"geovisio:producer": ...}) | {"providers": [], "links": []}
    assert parsed(free, url=secret).attribution == "stac.example, CC0-1.0"


def test_a_password_in_the_root_is_in_no_capture():
    def server(request: httpx.Request) -> httpx.Response:
        return answer([item(1, links=[])], numberMatched=1)

    client = client_of(httpx.MockTransport(server), "stac")
    crawl: CellCrawl = crawl_cell(Stac(client, urls=["https://me:s3cret@stac.example/v1"], now=lambda: NOW), CELL)
    assert len(crawl.captures) == 1 and "s3cret" not in repr(crawl.captures)
