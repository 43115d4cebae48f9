"""What Mapillary's errors mean: the code decides, whatever the status."""

from typing import Any

import httpx
import pytest

from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import Answer, HttpClient, KeyRefused, Quota
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapillary.ask import Gone, TooDense, judge
from geopin_assets_tests.sources.mapillary.server import Server, image, kind_of
from geopin_assets_tests.sources.recordings.mapillary import CELL, ERRORS, TOKEN, client_on, source_on

OTHER_CELL = Cell("other", Bbox(5.1, 52.08, 5.12, 52.09))


def case(beginning: str) -> dict[str, Any]:
    return next(error for error in ERRORS if error["case"].startswith(beginning))


def answer(error: dict[str, Any]) -> httpx.Response:
    return httpx.Response(error["http_status"], json=error["body"])


def failing(error: dict[str, Any], times: int = 10**9) -> Server:
    """Answers the first searches with an error."""
    server = Server([image(1001, 4.895, 52.37)])
    server.overrides["search"] = lambda _: answer(error) if server.counts["search"] <= times else None
    return server


@pytest.mark.parametrize(
    ("beginning", "meaning"),
    [
        ("box too dense", TooDense),
        ("transient", TransientError),
        ("application rate limit", TransientError),
        ("no Authorization header", KeyRefused),
        ("unknown token", KeyRefused),
        ("unknown or removed image", Gone),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_the_code_decides_and_not_the_status(beginning: str, meaning: type[GeoPinError], status: int):
    body = httpx.Response(200, json=case(beginning)["body"]).content
    assert type(judge(Answer(status, {}, body))) is meaning


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b'{"error": null}', b'{"error": []}', b"<h1>error</h1>", b'{"error": {"code": 9999}}'],
)
def test_a_body_that_says_nothing_more_leaves_it_to_the_status(body: bytes):
    assert judge(Answer(500, {}, body)) is None


def test_an_error_that_nobody_knows_is_never_a_200():
    assert isinstance(judge(Answer(200, {}, b'{"error": {"code": 9999, "message": "?"}}')), PermanentError)


def test_an_image_that_mentions_an_error_is_no_error():
    assert judge(Answer(200, {}, b'{"data": [{"id": "1", "error": {"code": 190}}]}')) is None
    assert judge(Answer(200, {}, b'{"data": [], "error": "none"}')) is None


def test_a_passing_fault_is_asked_again():
    server = failing(case("transient"), times=2)
    assert len(crawl_cell(source_on(client_on(server.transport)), CELL).captures) == 1
    assert server.counts["search"] == 3


def test_too_many_requests_pause_for_a_minute_and_go_on():
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    server = failing(case("application rate limit"), times=1)
    client = HttpClient(
        "mapillary",
        transport=server.transport,
        quotas={"search": Quota(per_second=1e9)},
        clock=lambda: now[0],
        sleep=sleep,
    )
    assert len(crawl_cell(source_on(client), CELL).captures) == 1
    assert sum(slept) >= 60


@pytest.mark.parametrize("beginning", ["no Authorization header", "unknown token"])
def test_a_refused_token_is_a_configuration_error_that_names_it_and_nothing_more_is_asked(beginning: str):
    server = failing(case(beginning))
    source = source_on(client_on(server.transport, secrets=[TOKEN]))
    with pytest.raises(ConfigurationError, match="GEOPIN_MAPILLARY_TOKEN") as caught:
        crawl_cell(source, CELL)
    with pytest.raises(PermanentError, match="GEOPIN_MAPILLARY_TOKEN"):
        crawl_cell(source, OTHER_CELL)
    assert server.counts["search"] == 1
    assert TOKEN not in str(caught.value)


def test_a_density_error_is_never_asked_again_as_it_is():
    server = Server([image(1001, 4.895, 52.37)])
    server.overrides["search"] = lambda request: answer(case("box too dense"))
    crawl_cell(source_on(client_on(server.transport)), CELL)
    boxes = [request.url.params["bbox"] for request in server.asked("search")]
    assert len(boxes) == len(set(boxes)) == 1 + 4 + 16 + 64


def test_removed_images_do_not_spoil_a_batch():
    """Whether the server leaves them out or refuses the batch."""
    server = Server([image(n, 4.895, 52.37) for n in range(1000, 1120)])
    gone = {"1003", "1077"}

    def refuse(request: httpx.Request) -> httpx.Response | None:
        ids = set(request.url.params["image_ids"].split(","))
        assert len(ids) <= 50
        return answer(case("unknown or removed image")) if ids & gone else None

    server.overrides["entity"] = refuse
    links = source_on(client_on(server.transport)).image_urls([str(n) for n in range(1000, 1130)], CrawlReport())
    assert set(links) == {str(n) for n in range(1000, 1120)} - gone
    assert links["1000"] == "https://cdn.example/1000.jpg?oe=7A5C0000"


def test_an_image_that_was_not_asked_for_is_not_taken():
    server = Server([])
    server.overrides["entity"] = lambda _: httpx.Response(200, json={"data": [image(5, 4.9, 52.3), {"id": None}, 7]})
    assert source_on(client_on(server.transport)).image_urls(["4"], CrawlReport()) == {}


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"data": {}}', b'{"data": null}'])
def test_links_that_could_not_be_asked_for_are_an_error_and_not_gone(body: bytes):
    server = Server([])
    server.overrides["entity"] = lambda _: httpx.Response(200, content=body)
    with pytest.raises(PermanentError, match="mapillary"):
        source_on(client_on(server.transport)).image_urls(["4"], CrawlReport())


def test_requests_are_counted_where_they_are_made():
    server, tally = Server([image(1001, 4.895, 52.37)]), CrawlReport()
    source_on(client_on(server.transport)).image_urls(["1001"], tally)
    assert tally.requests == 1
    assert kind_of(server.requests[0]) == "entity"
