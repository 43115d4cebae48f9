from io import BytesIO

import pytest
from PIL import Image

from geopin_assets.grid import bounds, row_column
from geopin_assets.sandbox.stand_ins.stac import StacStandIn
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk
from geopin_assets_tests.sandbox.conftest import BASE_URL

SHOTS = build_world().of("stac")
SEARCH = "/stac/search"
BBOX = "4.8,52.3,5.0,52.4"


def page(answer):
    assert answer.status_code == 200
    body = answer.json()
    following = next((link for link in body["links"] if link["rel"] == "next"), None)
    return [feature["id"] for feature in body["features"]], following, body


def test_the_landing_page_says_where_to_search(client):
    body = client.get("/stac/").json()
    assert body["type"] == "Catalog"
    assert {link["rel"]: link["href"] for link in body["links"]}["search"] == f"{BASE_URL}/stac/search"
    assert "https://api.stacspec.org/v1.0.0/item-search" in body["conformsTo"]


def test_get_pages_are_linked_by_a_token_until_all_are_shown(client):
    url, seen, pages = f"{SEARCH}?bbox={BBOX}&limit=2", [], 0
    while url:
        ids, following, body = page(client.get(url))
        assert body["numberMatched"] == len(SHOTS)
        seen, pages, url = seen + ids, pages + 1, following and following["href"].removeprefix(BASE_URL)
    assert len(seen) == len(set(seen)) == len(SHOTS)
    assert pages == 3


def test_post_pages_are_linked_by_a_body_to_merge(client):
    body, seen = {"bbox": [4.8, 52.3, 0, 5.0, 52.4, 100], "limit": 3}, []
    while True:
        ids, following, _ = page(client.request("POST", SEARCH, json=body))
        seen += ids
        if following is None:
            break
        assert following["method"] == "POST" and following["merge"] is True
        body |= following["body"]
    assert len(seen) == len(SHOTS)


def test_a_cap_makes_pages_shorter_and_loses_nothing(client):
    client.request("POST", "/faults", json={"cap": {"stac": 1}})
    ids, following, body = page(client.get(SEARCH, params={"bbox": BBOX, "limit": 100}))
    assert len(ids) == body["numberReturned"] == 1 and following is not None


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_no_number_of_items_is_refused(client, limit):
    answer = client.get(SEARCH, params={"limit": limit})
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")


def test_a_limit_above_the_most_is_cut_without_a_word(client):
    assert client.get(SEARCH, params={"limit": 100_000}).status_code == 200


@pytest.mark.parametrize("bbox", ["", "1,2,3", "a,b,c,d", "5,52,4,53", "4,53,5,52", "200,10,201,11"])
def test_a_malformed_box_is_refused(client, bbox):
    assert client.get(SEARCH, params={"bbox": bbox}).status_code == 400


@pytest.mark.parametrize("token", ["", "x", "bmV4dDox"])
def test_a_token_of_nobody_is_refused(client, token):
    assert client.get(SEARCH, params={"token": token}).status_code == 400


def test_a_body_that_is_no_json_object_is_refused(client):
    assert client.request("POST", SEARCH, content=b"{").status_code == 400
    assert client.request("POST", SEARCH, json=[1]).status_code == 400


def test_collections_narrow_a_search(client):
    (drive,) = {shot.drive for shot in SHOTS}
    collection = f"straatbeelden-{drive.name}"
    assert len(page(client.get(SEARCH, params={"collections": collection}))[0]) == len(SHOTS)
    assert page(client.get(SEARCH, params={"collections": "others"}))[0] == []


def test_the_license_of_some_is_on_their_collection_alone(client):
    features = client.get(SEARCH, params={"bbox": BBOX}).json()["features"]
    unlicensed = [feature for feature in features if "license" not in feature["properties"]]
    assert len(unlicensed) == sum(shot.quirk is Quirk.NO_LICENSE for shot in SHOTS) == 1
    link = next(link["href"] for link in unlicensed[0]["links"] if link["rel"] == "collection")
    assert client.get(link.removeprefix(BASE_URL)).json()["license"] == "CC0-1.0"


def test_what_does_not_exist_is_a_404(client):
    for path in ("/stac/collections/nope", "/stac/collections/nope/items/nope", "/stac/images/a/b/image.jpg"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "NotFoundError")


def test_an_item_links_to_the_next_item_not_to_a_page(client):
    feature = client.get(SEARCH, params={"bbox": BBOX}).json()["features"][0]
    following = next(link["href"] for link in feature["links"] if link["rel"] == "next")
    assert client.get(following.removeprefix(BASE_URL)).json()["type"] == "Feature"


def test_images_have_the_sizes_of_their_roles(client):
    assets = client.get(SEARCH, params={"bbox": BBOX}).json()["features"][0]["assets"]
    widths = {}
    for asset in assets.values():
        answer = client.get(asset["href"].removeprefix(BASE_URL))
        widths[asset["roles"][0]] = Image.open(BytesIO(answer.content)).width
    assert widths == {"data": 2048, "visual": 1024, "thumbnail": 256}


def test_what_vanished_is_nowhere_and_a_fault_meets_its_box_alone(client):
    gone = StacStandIn.id_of(SHOTS[0])
    client.request("POST", "/faults", json={"vanish": [gone]})
    ids, _, body = page(client.get(SEARCH, params={"bbox": BBOX}))
    assert len(ids) == body["numberMatched"] == len(SHOTS) - 1
    cell = bounds(*row_column(SHOTS[1].lon, SHOTS[1].lat))
    fault = {"source": "stac", "status": 503, "bbox": [cell.west, cell.south, cell.east, cell.north]}
    client.request("POST", "/faults", json=fault)
    assert client.get(SEARCH, params={"bbox": BBOX}).status_code == 503
    assert client.get(SEARCH, params={"bbox": "3.5,51.0,3.6,51.1"}).status_code == 200
