from collections import Counter
from typing import Any

import httpx
import pytest

from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Cell, bounds
from geopin_assets.http_client import Answer
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.flickr import photo_id
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.fields import EARLIEST
from geopin_assets.sources.flickr import UNTIL_S, Flickr
from geopin_assets.sources.flickr.read import judge, parse_licenses
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.recordings.flickr import ANSWER, CELL, answer, page, photos, source_of, source_on
from geopin_assets_tests.sources.replay import client_of

Params = dict[str, str]


def table(*rows: tuple[Any, str, Any]) -> dict[str, Any]:
    return {"licenses": {"license": [{"id": id_, "name": name, "url": url} for id_, name, url in rows]}, "stat": "ok"}


def test_a_block_of_four_cells_is_asked_once_for_all_open_licenses():
    asked: list[Params] = []

    def search(params: Params) -> Any:
        asked.append(params)
        return ANSWER

    source = source_on(search)
    block = [bounds(row, column) for row in (90, 91) for column in (52, 53)]
    crawls = [crawl_cell(source, Cell(f"c{n}", box)) for n, box in enumerate(block)]
    assert [crawl.report.requests for crawl in crawls] == [2, 0, 0, 0]  # the licenses, then the block
    assert sum(len(crawl.captures) for crawl in crawls) == 2
    (params,) = asked
    west, south, east, north = map(float, params.pop("bbox").split(","))
    assert (west, south, east, north) == (block[0].west, block[0].south, block[3].east, block[3].north)
    assert params.pop("extras").split(",") == [
        "geo", "license", "date_taken", "date_upload", "last_update", "owner_name", "url_m", "url_l", "o_dims", "tags",
    ]  # fmt: skip
    assert params == {
        "method": "flickr.photos.search",
        "api_key": "very-secret",
        "format": "json",
        "nojsoncallback": "1",
        "has_geo": "1",
        "accuracy": "16",
        "license": "4,5,9,10",
        "media": "photos",
        "content_types": "0",
        "safe_search": "1",
        "min_upload_date": str(int(EARLIEST.timestamp())),
        "max_upload_date": str(UNTIL_S - 1),
        "sort": "date-posted-asc",
        "per_page": "250",
        "page": "1",
    }


def test_the_table_of_licenses_is_asked_once_a_run_and_again_after_a_failure():
    methods: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        methods.append(request.url.params["method"].rpartition(".")[2])
        return httpx.Response(400) if len(methods) == 1 else answer(request)

    source = source_of(server)
    with pytest.raises(PermanentError, match="flickr"):
        crawl_cell(source, CELL)
    for row in (84, 86, 88):
        crawl_cell(source, Cell("far", bounds(row, 20)))
    assert methods == ["getInfo", "getInfo", "search", "search", "search"]


def test_licenses_are_found_by_name_and_address_whatever_their_numbers():
    renumbered = table(
        (70, "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("5", "CC BY-NC-ND 4.0", "https://creativecommons.org/licenses/by-nc-nd/4.0/"),
        ("4", "All Rights Reserved", ""),
    )
    asked: list[str] = []

    def search(params: Params) -> Any:
        asked.append(params["license"])
        return page(photos(1, license=70) + photos(2, license="5")[1:], 2)

    crawl = crawl_cell(source_on(search, licenses=renumbered), CELL)
    assert asked == ["70"]
    assert [capture.license for capture in crawl.captures] == ["CC-BY-4.0"]
    assert dict(crawl.report.rejected) == {"license_not_open": 1}


@pytest.mark.parametrize(
    ("name", "url", "license_id"),
    [
        ("Attribution License", "https://creativecommons.org/licenses/by/2.0/", "CC-BY-2.0"),
        ("Attribution-ShareAlike License", "http://creativecommons.org/licenses/by-sa/2.0/", "CC-BY-SA-2.0"),
        ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/deed.en", "CC-BY-4.0"),
        ("Attribution-ShareAlike 4.0 International", "https://creativecommons.org/licenses/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("Public Domain Dedication (CC0)", "https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Public Domain Mark", "https://creativecommons.org/publicdomain/mark/1.0/", "PDM-1.0"),
        ("CC BY-SA 4.0", "", "CC-BY-SA-4.0"),
        ("Public Domain Mark", None, "PDM-1.0"),
        ("No known copyright restrictions", "https://www.flickr.com/commons/usage/", None),
        ("United States Government Work", "http://www.usa.gov/copyright.shtml", None),
        ("All Rights Reserved", "", None),
        ("Attribution-NoDerivs License", "https://creativecommons.org/licenses/by-nd/2.0/", None),
        ("CC BY-NC 4.0", "https://creativecommons.org/licenses/by/4.0/", None),
        ("Attribution License", "https://creativecommons.org/licenses/by-nc/2.0/", None),
        ("Something New", "", None),
    ],
)
def test_a_license_is_open_only_if_name_and_address_agree(name: str, url: Any, license_id: str | None):
    listed = table((1, name, url), (9, "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"))
    assert parse_licenses(listed).get("1") == license_id


@pytest.mark.parametrize("answered", [table(), table(("0", "All Rights Reserved", "")), {"stat": "ok"}, {}, None])
def test_a_table_without_open_licenses_is_an_error_and_not_a_search_for_nothing(answered: Any):
    with pytest.raises(PayloadError, match="flickr"):
        parse_licenses(answered)


def failing(code: Any, message: Any = "SAMPLE") -> dict[str, Any]:
    return {"stat": "fail", "code": code, "message": message}


@pytest.mark.parametrize("code", [100, "100"])
def test_a_bad_key_is_a_configuration_error_that_names_the_variable_and_is_not_tried_again(code: Any):
    requests: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=failing(code, "Invalid API Key (Key has invalid format)"))

    source = source_of(server)
    with pytest.raises(ConfigurationError, match=r"flickr.*GEOPIN_FLICKR_API_KEY"):
        crawl_cell(source, CELL)
    with pytest.raises(PermanentError, match="GEOPIN_FLICKR_API_KEY"):
        crawl_cell(source, CELL)
    assert len(requests) == 1


@pytest.mark.parametrize("code", [10, 105, "105"])
def test_a_service_that_is_unavailable_is_asked_again(code: Any):
    answers = [failing(code, "Service currently unavailable"), failing(code)]
    crawl = crawl_cell(source_on(lambda params: answers.pop() if answers else ANSWER), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (2, 4)


def test_a_service_that_stays_unavailable_is_a_passing_failure():
    with pytest.raises(TransientError, match=r"flickr.*105"):
        crawl_cell(source_on(lambda params: failing(105)), CELL)


@pytest.mark.parametrize("code", [1, 3, 18, 112, None, "x", {}])
def test_other_failures_are_not_cured_by_asking_again(code: Any):
    asked: list[Params] = []

    def search(params: Params) -> Any:
        asked.append(params)
        return failing(code, None)

    with pytest.raises(PermanentError, match="flickr"):
        crawl_cell(source_on(search), CELL)
    assert len(asked) == 1


UNAVAILABLE = "Sorry, the Flickr API service is not currently available."


@pytest.mark.parametrize("code", [0, "201", 106, 504])
def test_an_outage_is_known_by_its_words_whatever_its_code(code: Any):
    answers = [failing(code, UNAVAILABLE)]
    assert len(crawl_cell(source_on(lambda params: answers.pop() if answers else ANSWER), CELL).captures) == 2


@pytest.mark.parametrize(
    ("status", "said"), [(400, f"message={UNAVAILABLE}"), (418, f'{{"message": "{UNAVAILABLE}"}}')]
)
def test_an_outage_that_looks_like_a_refusal_is_asked_again(status: int, said: str):
    turns = iter([httpx.Response(status, text=said)])
    assert len(crawl_cell(source_of(lambda request: next(turns, None) or answer(request)), CELL).captures) == 2
    with pytest.raises(PermanentError, match="400"):
        crawl_cell(source_of(lambda _: httpx.Response(400, text="Bad Request")), CELL)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"fail"', b'{"stat": []}', b'{"stat": "ok"}'])
def test_only_what_says_fail_is_judged_a_failure(body: bytes):
    assert judge(Answer(200, {}, body)) is None
    assert judge(Answer(500, {}, b'{"stat": "fail", "code": 100}')) is None


def test_the_key_is_in_no_message_payload_or_address():
    variables = {"GEOPIN_FLICKR_API_KEY": "very-secret", "GEOPIN_FLICKR_REQUESTS_PER_SECOND": "1000"}
    settings = Settings(profile=Profile.LIVE, variables=variables)
    keys: list[str] = []

    def refusing(request: httpx.Request) -> httpx.Response:
        keys.append(request.url.params["api_key"])
        assert request.url.host == "api.flickr.com"
        return httpx.Response(200, json=failing(96, f"bad {request.url}"))

    with (
        open_source("flickr", settings, transport=httpx.MockTransport(refusing)) as source,
        pytest.raises(PermanentError) as caught,
    ):
        crawl_cell(source, CELL)
    assert keys == ["very-secret"]
    assert "very-secret" not in str(caught.value)
    with open_source("flickr", settings, transport=httpx.MockTransport(answer)) as source:
        crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 2
    assert "very-secret" not in repr(crawl)


def test_it_is_disabled_without_a_key_and_says_where_to_get_one():
    reason = Flickr.disabled_reason(Settings(profile=Profile.LIVE))
    assert reason == "set GEOPIN_FLICKR_API_KEY; get a key at https://www.flickr.com/services/apps/create/"
    assert Flickr.disabled_reason(Settings()) is None


def test_a_block_whose_photos_lost_their_positions_fails_for_all_its_cells():
    lost = [{key: value for key, value in record.items() if key != "latitude"} for record in photos(4)]
    source = source_on(lambda params: page(lost, 4))
    for box in (bounds(90, 52), bounds(90, 53)):
        with pytest.raises(PayloadError, match=r"flickr: 4 of 4 records .* without a position"):
            crawl_cell(source, Cell("c", box))


@pytest.mark.parametrize("name", ["license", "accuracy", "longitude", "id"])
def test_a_renamed_field_is_an_error_and_not_an_empty_cell(name: str):
    renamed = [{f"{key}_" if key == name else key: value for key, value in photo.items()} for photo in photos(4)]
    for n, record in enumerate(renamed):
        record["title"] = str(n)
    with pytest.raises(PayloadError, match="flickr"):
        crawl_cell(source_on(lambda params: page(renamed, 4)), CELL)


def test_crawling_the_stand_in_finds_what_is_open_and_street_level():
    world = build_world()
    shots = {photo_id(shot): shot for shot in world.of("flickr")}
    transport = asgi_transport(create_app(world, "http://127.0.0.1:1"))
    source = Flickr(client_of(transport, "flickr"), api_key="sandbox", endpoint="http://127.0.0.1:1/flickr")
    crawls = [crawl_cell(source, Cell(f"{n}", bounds(90 + n // 2, 50 + n % 2))) for n in range(4)]
    found = {capture.source_capture_id: capture for crawl in crawls for capture in crawl.captures}
    assert {shots[id_].rank for id_ in found} == {1, 4, 5, 6}
    assert sum((crawl.report.rejected for crawl in crawls), Counter()) == {"not_street_level": 1}
    for id_, capture in found.items():
        shot = shots[id_]
        assert (capture.lon, capture.lat) == (shot.lon, shot.lat)
        assert capture.captured_at == (None if shot.rank == 4 else shot.captured_at)
        assert (capture.creator, capture.license) == ("stadswandelaar", "CC-BY-SA-2.0")
    assert not any("sandbox" in repr(capture) for capture in found.values())
