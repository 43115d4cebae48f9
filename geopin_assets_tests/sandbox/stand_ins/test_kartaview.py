from dataclasses import replace
from io import BytesIO
from urllib.parse import urlencode

import pytest
from PIL import Image

from geopin_assets.grid import bounds
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.kartaview import KartaViewStandIn, photo_id
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk, World, shots
from geopin_assets_tests.sandbox.conftest import BASE_URL, Client
from geopin_assets_tests.sandbox.shapes import shape
from geopin_assets_tests.sources.replay import recorded

SHOTS = build_world().of("kartaview")
NEARBY = "/kartaview/1.0/list/nearby-photos/"
SOUTH_WEST, NORTH_EAST = bounds(88, 51), bounds(90, 54)
BOX = {
    "bbTopLeft": f"{NORTH_EAST.north},{SOUTH_WEST.west}",
    "bbBottomRight": f"{SOUTH_WEST.south},{NORTH_EAST.east}",
}


def listing(client, **form):
    answer = client.request("POST", NEARBY, data=BOX | form)
    assert answer.status_code == 200
    return answer.json()


def item_of(client, quirk):
    id_ = next(photo_id(shot) for shot in SHOTS if shot.quirk is quirk)
    return next(item for item in listing(client)["currentPageItems"] if item["id"] == id_)


def test_a_page_has_the_documented_fields_and_nesting(client):
    page, documented = listing(client), recorded("kartaview/page_1.json")
    assert page["status"] == documented["status"]
    assert page["totalFilteredItems"] == [str(len(SHOTS))]
    assert list(page) == list(documented)
    assert set(page["currentPageItems"][0]) == set(documented["currentPageItems"][0])


def test_every_scalar_is_text_or_null(client):
    assert shape(listing(client)["totalFilteredItems"]) == ["'str'"]
    for item in listing(client)["currentPageItems"]:
        assert set(shape(item).values()) <= {"str", "NoneType"}


def test_ids_are_those_of_the_shots_in_the_order_of_the_drive(client):
    items = listing(client)["currentPageItems"]
    assert [item["id"] for item in items] == [KartaViewStandIn.id_of(shot) for shot in SHOTS]
    assert [item["sequence_index"] for item in items] == [str(n) for n in range(len(SHOTS))]


def test_pages_end_with_an_empty_one_and_none_overlap(client):
    pages = [listing(client, page=n, ipp=3)["currentPageItems"] for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert len({item["id"] for page in pages for item in page}) == len(SHOTS)


def test_a_lowered_page_size_is_not_announced(client):
    client.request("POST", "/faults", json={"cap": {"kartaview": 2}})
    page = listing(client, ipp=1000)
    assert (len(page["currentPageItems"]), page["totalFilteredItems"]) == (2, [str(len(SHOTS))])


def test_a_page_holds_2000_at_most_and_200_unless_asked_otherwise():
    drive = replace(SHOTS[0].drive, name="long", count=2001, step_m=0.1, quirks=())
    client = Client(create_app(World(tuple(shots(drive))), BASE_URL))
    assert len(listing(client, ipp=5000)["currentPageItems"]) == 2000
    assert len(listing(client)["currentPageItems"]) == 200


def test_latitude_comes_first(client):
    swapped = {name: ",".join(reversed(value.split(","))) for name, value in BOX.items()}
    assert listing(client, **swapped)["currentPageItems"] == []


def test_a_circle_selects_by_distance(client):
    shot = SHOTS[0]
    form = {"lat": shot.lat, "lng": shot.lon, "radius": "30"}
    near = client.request("POST", NEARBY, data=form).json()
    assert near["totalFilteredItems"] == ["2"]


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"bbTopLeft": BOX["bbTopLeft"]},
        BOX | {"bbTopLeft": "52.3"},
        BOX | {"bbTopLeft": "a,b"},
        BOX | {"page": "0"},
        BOX | {"page": "x"},
        BOX | {"ipp": "-1"},
        {"lat": "52.3", "lng": "4.9"},
        {"lat": "52.3", "lng": "4.9", "radius": "far"},
    ],
)
def test_wrong_parameters_are_refused_with_a_status_body(client, form):
    answer = client.request("POST", NEARBY, data=form)
    assert answer.status_code == 400
    assert answer.json()["status"]["apiCode"] == 400


def test_only_forms_that_are_posted_are_understood(client):
    assert client.get(NEARBY, params=BOX).status_code == 405
    assert client.request("POST", NEARBY, params=BOX).status_code == 400
    assert client.request("POST", NEARBY, json=BOX).status_code == 400
    plain = {"content": urlencode(BOX), "headers": {"Content-Type": "text/plain"}}
    assert client.request("POST", NEARBY, **plain).status_code == 400


@pytest.mark.parametrize(
    "corners",
    [
        {"bbTopLeft": "53,4", "bbBottomRight": "52,5"},
        {"bbTopLeft": "-6.1,106.8", "bbBottomRight": "-6.2,106.9"},
    ],
    ids=["a province", "south of the equator"],
)
def test_too_large_or_southern_areas_are_back_pressure_in_an_http_400(client, corners):
    answer = client.request("POST", NEARBY, data=corners)
    assert (answer.status_code, answer.json()["status"]["apiCode"]) == (400, 690)
    assert shape(answer.json()) == shape(recorded("kartaview/errors.json")[0]["body"])


def test_an_area_that_holds_too_much_is_refused_until_it_is_smaller(client):
    client.request("POST", "/faults", json={"cap": {"kartaview.area": len(SHOTS) - 1}})
    assert client.request("POST", NEARBY, data=BOX).json()["status"]["apiCode"] == 690
    lat, lon = SHOTS[0].lat, SHOTS[0].lon
    small = {"bbTopLeft": f"{lat + 1e-4},{lon - 1e-4}", "bbBottomRight": f"{lat - 1e-4},{lon + 1e-4}"}
    assert len(listing(client, **small)["currentPageItems"]) == 1


def test_oddities_look_as_on_the_platform(client):
    assert item_of(client, Quirk.NO_HEADING)["heading"] == ""
    assert item_of(client, Quirk.NO_DATE)["shot_date"] is None
    assert item_of(client, Quirk.JUNK_DATE)["shot_date"] == "0000-00-00 00:00:00"
    island = item_of(client, Quirk.NULL_ISLAND)
    assert (float(island["lat"]), float(island["lng"])) == (0.0, 0.0)


@pytest.mark.parametrize(("name", "width"), [("th_name", 320), ("lth_name", 1280), ("name", 1920)])
def test_a_name_leads_to_the_image_on_its_storage(client, name, width):
    item = listing(client)["currentPageItems"][0]
    assert item[name].startswith("storage13/files/photo/2020/8/23/")
    answer = client.get(f"/kartaview/{item[name]}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == (width, width * 3 // 4)


def test_originals_and_images_that_were_taken_down_are_not_served(client):
    item = listing(client)["currentPageItems"][0]
    assert client.get(f"/kartaview/{item['name'].replace('/proc/', '/ori/')}").status_code == 404
    client.request("POST", "/faults", json={"vanish": [item["id"]]})
    assert client.get(f"/kartaview/{item['name']}").status_code == 404
    assert listing(client)["totalFilteredItems"] == [str(len(SHOTS) - 1)]


def test_faults_concern_listings_of_an_area_or_one_image(client):
    item = listing(client)["currentPageItems"][0]
    client.request("POST", "/faults", json={"source": "kartaview", "status": 502, "capture": item["id"]})
    assert client.get(f"/kartaview/{item['name']}").status_code == 502
    listing(client)
    cell = bounds(89, 52)
    corners = [cell.west, cell.south, cell.east, cell.north]
    client.request("POST", "/faults", json={"source": "kartaview", "status": 503, "bbox": corners})
    assert client.request("POST", NEARBY, data=BOX).status_code == 503
    assert client.request("POST", NEARBY, data={"lat": 51, "lng": 4, "radius": 100}).status_code == 200
