"""Pages of real STAC APIs, as a client of theirs recorded them; skipped where the recordings are not at hand."""

import gzip
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from geopin_assets.capture import Reason, Rejected
from geopin_assets.grid import Bbox
from geopin_assets.sources import stac_items
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.stac import parse_item
from geopin_assets.sources.stac.ask import Api, matched_of
from geopin_assets_tests.sources.recordings.stac import NOW
from geopin_assets_tests.sources.replay import client_of

CASSETTES = Path(__file__).parents[4] / "shared" / "fixtures" / "recorded" / "pystac_client_cassettes"
PLANETARY = "https://planetarycomputer.microsoft.com/api/stac/v1"
NAIP = Bbox(-73.21, 43.99, -73.12, 44.05)

pytestmark = pytest.mark.skipif(not CASSETTES.is_dir(), reason="the recordings of real STAC APIs are not at hand")


def interactions(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(request, body of the answer) of a cassette."""
    recorded = yaml.safe_load((CASSETTES / f"{name}.yaml").read_text())["interactions"]
    bodies = [interaction["response"]["body"]["string"] for interaction in recorded]
    plain = [gzip.decompress(body) if body[:2] in (b"\x1f\x8b",) else body for body in bodies]
    return [(interaction["request"], orjson.loads(body)) for interaction, body in zip(recorded, plain, strict=True)]


class Replay:
    """Answers a question by GET with the first page, one by POST as recorded; then with an empty page."""

    def __init__(self, name: str) -> None:
        self.pages = interactions(name)
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=self.pages[0][1])
        self.bodies.append(orjson.loads(request.content))
        asked = [page for question, page in self.pages[1:] if orjson.loads(question["body"]) == self.bodies[-1]]
        return httpx.Response(200, json=asked[0] if asked else {"features": [], "links": []})


@pytest.mark.parametrize("name", ["TestItemSearch.test_result_paging", "TestItemSearch.test_result_paging_max_items"])
def test_post_links_of_the_planetary_computer_are_followed_as_its_own_client_does(name: str):
    server, report = Replay(name), CrawlReport()
    api = Api(client_of(httpx.MockTransport(server), "stac"), PLANETARY, collections=("naip",), limit=10)
    found = list(api.fetch(NAIP, report))
    recorded = [feature["id"] for _, page in server.pages for feature in page["features"]]
    assert [feature["id"] for feature in found] == list(dict.fromkeys(recorded))
    assert server.bodies[:-1] == [orjson.loads(question["body"]) for question, _ in server.pages[1:]]
    assert server.bodies[-1]["token"].startswith("next:naip:")  # the last page has a link too
    assert report.incomplete == [] and report.splits == 0


def test_aerial_images_are_not_taken_for_street_level_ones():
    features = interactions("TestItemSearch.test_result_paging")[0][1]["features"]
    for feature in features:
        result = parse_item(feature, NAIP, NOW, url=PLANETARY, prefix="p", license="CC0-1.0")
        assert isinstance(result, Rejected) and result.reason == Reason.BAD_COORDINATES


def test_get_links_of_a_catalog_are_understood():
    first, second = (page for _, page in interactions("TestCollectionSearch.test_result_paging"))
    following = stac_items.next_page(first)
    assert following is not None and following.body is None
    question = interactions("TestCollectionSearch.test_result_paging")[1][0]
    assert dict(httpx.URL(following.url).params) == dict(httpx.URL(question["uri"]).params)
    assert matched_of(first) == matched_of(second)


def test_a_collection_that_does_not_exist_states_no_license():
    recorded = yaml.safe_load((CASSETTES / "test_get_collection_returns_none_if_not_found.yaml").read_text())
    answer = recorded["interactions"][1]["response"]
    body = answer["body"]["string"]
    assert answer["status"]["code"] == 404
    client = client_of(httpx.MockTransport(lambda _: httpx.Response(404, content=body)), "stac")
    assert Api(client, "https://earth-search.aws.element84.com/v1").collection_license("foo", CrawlReport()) is None
