from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from geopin_assets.capture import Capture, Reason, Rejected, vector_id
from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.grid import Cell, bounds, row_column
from geopin_assets.http_client import HttpClient
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.stac import StacStandIn
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.stac import Stac, capture_id, prefix_of
from geopin_assets.sources.stac.ask import Api
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.recordings.stac import CELL, DRIVE, NOW, RECORD, ROOT, parse, replay
from geopin_assets_tests.sources.replay import client_of

API = "https://stac.example/v1"
RATE = {"GEOPIN_STAC_REQUESTS_PER_SECOND": "1000"}


def item(n: int, **changes: Any) -> dict[str, Any]:
    """The recorded item under another id, at a place of its own in CELL."""
    place = {"type": "Point", "coordinates": [4.851 + n * 1e-4, 52.351 + n * 1e-4]}
    return deepcopy(RECORD) | {"id": f"item-{n}", "geometry": place, "collection": "c"} | changes


def with_properties(**properties: Any) -> dict[str, Any]:
    kept = {k: v for k, v in (RECORD["properties"] | properties).items() if v is not ...}
    return deepcopy(RECORD) | {"properties": kept}


def parsed(record: Any, **options: Any) -> Capture:
    result = parse(record, **options)
    assert isinstance(result, Capture), result
    return result


def crawled(server: Callable[[httpx.Request], httpx.Response], **options: Any) -> CellCrawl:
    client = client_of(httpx.MockTransport(server), "stac", attempts=2)
    return crawl_cell(Stac(client, urls=[API], now=lambda: NOW, **options), CELL)


def answer(features: list[Any], following: dict[str, Any] | None = None, **fields: Any) -> httpx.Response:
    links = [{"rel": "root", "href": API}, *([{"rel": "next"} | following] if following else [])]
    return httpx.Response(200, json={"type": "FeatureCollection", "features": features, "links": links} | fields)


def test_get_links_are_followed_to_the_end():
    asked: list[httpx.URL] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        place = int(request.url.params.get("token", 0))
        return answer(
            [item(place), item(place + 1)], {"href": f"{API}/search?token={place + 2}"} if place < 6 else None
        )

    crawl = crawled(server)
    assert len(crawl.captures) == 8
    assert crawl.report.requests == len(asked) == 4
    assert asked[0].params["bbox"] == "4.850000,52.350000,4.900000,52.400000"
    assert asked[0].path == "/v1/search"


@pytest.mark.parametrize("is_merged", [True, False])
def test_post_links_are_followed_with_a_whole_or_a_partial_body(is_merged: bool):
    bodies: list[dict[str, Any]] = []

    def server(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(orjson.loads(request.content))
        place = len(bodies)
        body = {"token": f"t{place + 1}"} if is_merged else {"token": f"t{place + 1}", "limit": 7}
        following = {"href": f"{API}/search", "method": "POST", "body": body, "merge": is_merged}
        return answer([item(place)], following if place < 3 else None)

    assert len(crawled(server, collections=("c",)).captures) == 4
    merged = {"bbox": [4.85, 52.35, 4.9, 52.4], "limit": 250, "collections": ["c"]}
    assert bodies[0] == (merged | {"token": "t1"} if is_merged else {"token": "t1", "limit": 7})
    assert [body["token"] for body in bodies] == ["t1", "t2", "t3"]


def test_the_next_link_of_an_item_is_no_page():
    features = [item(n, links=[{"rel": "next", "href": f"{API}/collections/c/items/item-{n + 1}"}]) for n in range(3)]
    crawl = crawled(lambda _: answer(features, numberMatched=3))
    assert (len(crawl.captures), crawl.report.requests) == (3, 1)


@pytest.mark.parametrize(
    "href", ["https://elsewhere.example/v1/search?token=1", "https://stac.example:8443/v1/search?token=1"]
)
def test_a_page_on_another_host_is_refused_and_the_token_stays(href: str):
    asked: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer([item(1)], {"href": href})

    with pytest.raises(PayloadError, match="another host"):
        crawled(server, token="secret")
    assert [(request.url.host, request.headers["authorization"]) for request in asked] == [
        ("stac.example", "Bearer secret")
    ]


def test_a_link_by_http_is_followed_by_https():
    def server(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        is_first = "token" not in request.url.params
        return answer([item(is_first)], {"href": "http://stac.example/v1/search?token=1"} if is_first else None)

    assert len(crawled(server).captures) == 2


def test_pages_without_end_are_an_error():
    asked: list[httpx.URL] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return answer([item(len(asked))], {"href": f"{API}/search?token={len(asked)}"})

    api = Api(client_of(httpx.MockTransport(server), "stac"), API, max_pages=20)
    with pytest.raises(PayloadError, match="without end"):
        list(api.fetch(CELL.bbox, CrawlReport()))
    assert len(asked) == 21


@pytest.mark.parametrize(
    "link",
    [{"href": 5}, {"href": "mailto:x@stac.example"}, {"href": "//[/search"}, {"href": f"{API}/x", "method": "DELETE"}],
)
def test_a_next_link_that_cannot_be_followed_is_an_error(link: dict[str, Any]):
    with pytest.raises(PayloadError):
        crawled(lambda _: answer([item(1)], link))


@pytest.mark.parametrize("count", [{"numberMatched": 3}, {"context": {"matched": 3}}])
def test_pages_that_hold_fewer_than_counted_are_read_again_and_reported(count: dict[str, Any]):
    def server(request: httpx.Request) -> httpx.Response:
        is_first = "token" not in request.url.params
        return answer([item(is_first)], {"href": f"{API}/search?token=1"} if is_first else None, **count)

    crawl = crawled(server)
    assert len(crawl.captures) == 2
    assert crawl.report.requests == 4
    assert crawl.report.incomplete == [str(CELL.bbox)]


def inside(request: httpx.Request, features: list[Any]) -> list[Any]:
    west, south, east, north = map(float, request.url.params["bbox"].split(","))
    places = [(f, f["geometry"]["coordinates"]) for f in features]
    return [f for f, (lon, lat) in places if west <= lon <= east and south <= lat <= north]


@pytest.mark.parametrize("says", ["a count", "nothing"])
def test_a_full_answer_without_pages_divides_the_box(says: str):
    features = [item(n) for n in range(120)]
    boxes: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        boxes.append(request.url.params["bbox"])
        found = inside(request, features)
        return answer(found[:25], **({"numberMatched": len(found)} if says == "a count" else {}))

    crawl = crawled(server)
    assert len(crawl.captures) == 120
    assert crawl.report.splits > 0 and crawl.report.incomplete == []
    assert crawl.report.requests == len(boxes)
    assert ("3.370000,50.750000,7.210000,53.470000" in boxes) == (says == "nothing")  # the proof, where it is needed


def test_a_server_that_pages_is_believed_when_it_stops():
    """The first cell's answer was paged: a short one without a link is all there is, and needs no proof."""
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.params))
        if "token" in request.url.params:
            return answer([item(n) for n in range(20, 40)])
        return answer([item(n) for n in range(20)], {"href": f"{API}/search?token=1"} if len(asked) == 1 else None)

    source = Stac(client_of(httpx.MockTransport(server), "stac"), urls=[API], now=lambda: NOW)
    assert len(crawl_cell(source, CELL).captures) == 40
    assert len(crawl_cell(source, CELL).captures) == 20
    assert len(asked) == 3


def test_more_at_one_spot_than_a_server_gives_is_reported_and_what_came_is_kept():
    spot = {"type": "Point", "coordinates": [4.86, 52.36]}
    features = [item(n, geometry=spot) for n in range(30)]
    crawl = crawled(
        lambda request: answer(inside(request, features)[:12], numberMatched=len(inside(request, features)))
    )
    assert len(crawl.captures) == 12
    assert crawl.report.incomplete


def test_a_count_that_is_not_of_the_box_costs_no_thousand_requests():
    features = [item(n) for n in range(30)]
    crawl = crawled(lambda request: answer(inside(request, features)[:20], numberMatched=1_000_000))
    assert len(crawl.captures) == 30
    assert crawl.report.requests < 60
    assert crawl.report.incomplete


def test_a_collection_is_asked_for_its_license_once_and_only_if_an_item_states_none():
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return replay(request)

    source = Stac(client_of(httpx.MockTransport(server), "stac"), urls=[ROOT], now=lambda: NOW)
    for _ in range(2):
        assert len(crawl_cell(source, CELL).captures) == 4
    assert asked.count(f"/api/collections/{DRIVE}") == 1


@pytest.mark.parametrize(
    ("item_says", "collection_says", "configured", "license"),
    [
        ("CC-BY-4.0", "CC0-1.0", "etalab-2.0", "CC-BY-4.0"),
        ("cc-by-4.0", None, "", "CC-BY-4.0"),
        (..., "CC0-1.0", "etalab-2.0", "CC0-1.0"),
        (None, None, "etalab-2.0", "etalab-2.0"),
        ("various", "CC0-1.0", "", "CC0-1.0"),
        ("various", "various", "etalab-2.0", "etalab-2.0"),
        (["CC0-1.0"], None, "", None),
        ("proprietary", "CC0-1.0", "CC0-1.0", None),
        ("CC-BY-NC-4.0", "CC0-1.0", "CC0-1.0", None),
        (..., "proprietary", "CC0-1.0", None),
        (..., None, "", None),
    ],
)
def test_the_item_then_its_collection_then_the_setting_says_the_license(
    item_says: Any, collection_says: str | None, configured: str, license: str | None
):
    def of_collection(id_: str) -> str | None:
        return None if collection_says == "various" else collection_says

    record = with_properties(license=item_says) | {"links": []}
    result = parse(record, license_of=of_collection, license=configured)
    if license is None:
        assert isinstance(result, Rejected) and result.reason == Reason.LICENSE_NOT_OPEN
    else:
        assert isinstance(result, Capture) and result.license == license


@pytest.mark.parametrize(
    ("href", "is_open"),
    [("https://creativecommons.org/licenses/by/4.0/", True), ("https://example.org/terms", False), (5, False)],
)
def test_another_license_is_known_by_its_link(href: Any, is_open: bool):
    record = with_properties(license="other") | {"links": [{"rel": "license", "href": href}]}
    assert isinstance(parse(record), Capture) == is_open


def test_of_several_licenses_that_are_linked_the_newest_counts_and_none_if_one_is_closed():
    def linked(*kinds: str) -> Capture | Rejected:
        links = [{"rel": "license", "href": f"https://creativecommons.org/licenses/{kind}/"} for kind in kinds]
        return parse(with_properties(license="various") | {"links": links}, license="CC0-1.0")

    newest = linked("by/2.0", "by-sa/4.0", "by-sa/3.0/nl")
    assert isinstance(newest, Capture) and newest.license == "CC-BY-SA-4.0"
    for kinds in (("by/4.0", "by-nc/4.0"), ("by-nd/2.0",)):
        closed = linked(*kinds)
        assert isinstance(closed, Rejected) and closed.reason == Reason.LICENSE_NOT_OPEN


def test_a_license_of_databases_is_one_of_images_where_an_item_states_it_and_not_where_its_collection_does():
    collection = httpx.Response(200, json={"id": "lantern", "license": "ODbL-1.0"})
    with HttpClient("stac", transport=httpx.MockTransport(lambda _: collection)) as client:
        assert Api(client, API).collection_license("lantern", CrawlReport()) is None
    stated = parse(with_properties(license="ODbL-1.0") | {"links": []})
    assert isinstance(stated, Capture) and stated.license == "ODbL-1.0"


@pytest.mark.parametrize(
    ("assets", "pano", "chosen"),
    [
        ({"a": ("image/jpeg", ["data"]), "b": ("image/jpeg", ["visual"])}, False, "b"),
        ({"a": ("image/jpeg", ["data"]), "b": ("image/jpeg", ["visual"])}, True, "a"),
        ({"t": ("image/jpeg", ["thumbnail"]), "x": ("image/png", ["other"])}, False, "x"),
        ({"t": ("image/jpeg", ["thumbnail"]), "o": ("image/jpeg", ["overview"])}, False, None),
        ({"g": ("image/tiff; application=geotiff; profile=cloud-optimized", ["data"])}, False, None),
        ({"j": ("application/json", ["visual"])}, False, None),
        ({"n": (None, ["data"])}, False, "n"),
        ({"thumb": ("image/jpeg", None)}, False, None),
        ({"hd": ("image/jpeg", None)}, False, "hd"),
        ({"q": ([], {"data": 1})}, False, None),
    ],
)
def test_the_image_is_chosen_by_role_and_type(assets: dict[str, Any], pano: bool, chosen: str | None):
    body = {
        name: {"href": f"{API}/{name}.jpg", "roles": roles} | ({} if type_ is None else {"type": type_})
        for name, (type_, roles) in assets.items()
    }
    record = with_properties(**{"pers:interior_orientation": {"field_of_view": 360 if pano else 60}}) | {"assets": body}
    result = parse(record)
    if chosen is None:
        assert isinstance(result, Rejected) and result.reason == Reason.NO_IMAGE
    else:
        assert isinstance(result, Capture) and result.image_url == f"{API}/{chosen}.jpg"


@pytest.mark.parametrize(
    ("properties", "is_pano"),
    [
        ({"pers:interior_orientation": {"field_of_view": 360}}, True),
        ({"pers:interior_orientation": {"field_of_view": 90}}, False),
        ({"pano:type": "equirectangular"}, True),
        ({"pers:interior_orientation": {"projection": "equirectangular"}}, True),
        ({"pers:interior_orientation": 5, "pano:type": ["equirectangular"]}, False),
    ],
)
def test_a_panorama_is_known_by_its_field_of_view_or_name(properties: dict[str, Any], is_pano: bool):
    bare = {"pers:interior_orientation": ..., **properties}
    assert parsed(with_properties(**bare)).is_pano == is_pano


def test_a_footprint_is_no_position():
    square = [[[4.86, 52.36], [4.87, 52.36], [4.87, 52.37], [4.86, 52.36]]]
    result = parse(deepcopy(RECORD) | {"geometry": {"type": "Polygon", "coordinates": square}})
    assert isinstance(result, Rejected) and result.reason == Reason.BAD_COORDINATES


def test_the_credit_is_the_items_then_the_settings_then_the_producers():
    stated = with_properties(attribution="© Stad")
    assert parsed(stated, attribution="Somebody").attribution == "© Stad, CC-BY-SA-4.0"
    assert parsed(RECORD, attribution="Somebody").attribution == "Somebody, CC-BY-SA-4.0"
    assert parsed(RECORD).attribution == "Default account, CC-BY-SA-4.0"


def test_a_license_that_asks_for_a_name_needs_one():
    nameless = with_properties(**{"geovisio:producer": ...}) | {"providers": []}
    result = parse(nameless)
    assert isinstance(result, Rejected) and result.reason == Reason.NO_ATTRIBUTION
    free = with_properties(**{"geovisio:producer": ..., "license": "CC0-1.0"}) | {"providers": []}
    assert parsed(free).attribution == "127.0.0.1:5055, CC0-1.0"


def test_providers_are_found_where_the_standard_puts_them():
    record = with_properties(**{"geovisio:producer": ..., "providers": [{"name": "Stad"}]})
    del record["providers"]
    assert parsed(record).creator == "Stad"


def test_ids_of_two_apis_and_collections_never_meet():
    ids = {
        capture_id(prefix_of(url), collection, id_)
        for url in (API, "https://stac.example/v2", "https://other.example/v1", "https://stac.example:8443/v1")
        for collection, id_ in (("a", "b/c"), ("a/b", "c"), ("a", "c"), ("b", "c"))
    }
    assert len(ids) == 16
    assert capture_id(prefix_of(API), "a/b", "c d") == "stac.example/v1/a%2Fb/c%20d"


def test_long_ids_are_cut_to_a_hash_and_stay_stable():
    long, other = capture_id("stac.example", "c" * 150, "i" * 150), capture_id("stac.example", "c" * 150, "j" * 150)
    assert len(long) < 200 and long != other
    assert long == capture_id("stac.example", "c" * 150, "i" * 150)
    assert len(vector_id(f"stac:{long}", 0)) <= 64


def test_a_server_that_repeats_the_token_does_not_get_it_stored():
    record = item(1, assets={"hd": {"href": f"{API}/x.jpg?key=s3cret-t0ken", "type": "image/jpeg", "roles": ["data"]}})
    crawl = crawled(lambda _: answer([record, item(2)], numberMatched=2), token="s3cret-t0ken")
    assert [capture.source_capture_id for capture in crawl.captures] == ["stac.example/v1/c/item-2"]
    assert crawl.report.rejected == {"malformed": 1}


def test_the_same_id_in_two_collections_is_two_captures():
    features = [item(1), item(1, collection="d")]
    assert len(crawled(lambda _: answer(features, numberMatched=2)).captures) == 2


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "GEOPIN_STAC_URLS"),
        ({"GEOPIN_STAC_URLS": " , "}, "GEOPIN_STAC_URLS"),
        ({"GEOPIN_STAC_URLS": "ftp://x.example"}, "GEOPIN_STAC_URLS"),
        ({"GEOPIN_STAC_URLS": "https://x.example/?key=1"}, "GEOPIN_STAC_URLS"),
        ({"GEOPIN_STAC_URLS": "http://x.example", "GEOPIN_STAC_TOKEN": "t"}, "GEOPIN_STAC_TOKEN"),
        ({"GEOPIN_STAC_URLS": API, "GEOPIN_STAC_LICENSE": "CC-BY-NC-4.0"}, "GEOPIN_STAC_LICENSE"),
    ],
)
def test_live_it_is_disabled_until_an_api_is_named(variables: dict[str, str], reason: str):
    assert reason in (Stac.disabled_reason(Settings(profile=Profile.LIVE, variables=variables)) or "")


def test_settings_are_what_is_asked_with(tmp_path: Path):
    asked: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return (
            answer([with_properties(license=None) | {"collection": "c"}], numberMatched=1)
            if request.url.path.endswith("search")
            else httpx.Response(404)
        )

    variables = {
        "GEOPIN_STAC_URLS": f"{API}/, https://other.example",
        "GEOPIN_STAC_COLLECTIONS": "street, canal",
        "GEOPIN_STAC_LICENSE": "cc0-1.0",
        "GEOPIN_STAC_ATTRIBUTION": "Stad",
        "GEOPIN_STAC_TOKEN": "t0ken",
    }
    settings = Settings(profile=Profile.LIVE, data_dir=tmp_path, variables=variables | RATE)
    assert Stac.disabled_reason(settings) is None
    with open_source("stac", settings, transport=httpx.MockTransport(server)) as source:
        captures = crawl_cell(source, CELL).captures
    assert {capture.attribution for capture in captures} == {"Stad, CC0-1.0"}
    assert {capture.source_capture_id.split("/")[0] for capture in captures} == {"stac.example", "other.example"}
    searches = [request for request in asked if request.url.path.endswith("search")]
    assert [request.url.params["collections"] for request in searches] == ["street,canal"] * 2
    assert {request.headers["authorization"] for request in asked} == {"Bearer t0ken"}


def test_the_sandbox_asks_no_other_machine():
    assert Stac.disabled_reason(Settings()) is None
    assert "only this machine" in (Stac.disabled_reason(Settings(variables={"GEOPIN_STAC_URLS": API})) or "")


def test_one_api_that_fails_fails_the_cell():
    def server(request: httpx.Request) -> httpx.Response:
        return answer([], numberMatched=0) if request.url.host == "stac.example" else httpx.Response(503)

    client = client_of(httpx.MockTransport(server), "stac", attempts=2)
    with pytest.raises(TransientError):
        crawl_cell(Stac(client, urls=[API, "https://other.example"]), CELL)


@pytest.mark.parametrize("cap", [None, 2])
def test_everything_open_in_the_sandbox_is_found_once(cap: int | None, tmp_path: Path):
    app = asgi_transport(create_app(build_world(), "http://127.0.0.1:8791"))
    if cap is not None:
        body = {"cap": {"stac": cap}}
        app.handle_request(httpx.Request("POST", "http://127.0.0.1:8791/faults", json=body))
    shots = build_world().of("stac")
    crawls = []
    with open_source("stac", Settings(data_dir=tmp_path), transport=app) as source:
        for row, column in sorted({row_column(shot.lon, shot.lat) for shot in shots}):
            crawls.append(crawl_cell(source, Cell("x", bounds(row, column))))
    captures = {capture.source_capture_id: capture for crawl in crawls for capture in crawl.captures}
    assert set(captures) == {StacStandIn.id_of(shot) for shot in shots}
    assert {capture.license for capture in captures.values()} == {"CC0-1.0"}  # one of them by its collection
    for shot in shots:
        heading = captures[StacStandIn.id_of(shot)].heading_deg
        assert (heading is None) == (shot.quirk is Quirk.NO_HEADING)
