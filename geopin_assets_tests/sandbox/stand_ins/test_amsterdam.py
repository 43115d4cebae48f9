from io import BytesIO
from math import cos, radians

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.datastructures import QueryParams

from geopin_assets.grid import bounds
from geopin_assets.sandbox.stand_ins.amsterdam import filters_of, pano_id
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets_tests.sandbox.conftest import BASE_URL
from geopin_assets_tests.sandbox.shapes import shape

SHOTS = build_world().of("amsterdam")
LIST = "/amsterdam/panorama/panoramas/"
CELL = bounds(90, 51)
BBOX = f"{CELL.west},{CELL.south},{CELL.east},{CELL.north}"


def ids(response):
    assert response.status_code == 200
    return [item["pano_id"] for item in response.json()["_embedded"]["panoramas"]]


def test_a_page_has_the_recorded_fields_and_nesting(client, recorded_amsterdam):
    page = client.get(LIST, params={"bbox": BBOX, "page": 2, "page_size": 5})
    assert page.headers["content-type"] == "application/hal+json"
    assert shape(page.json()) == shape(recorded_amsterdam["page"])
    assert list(page.json()["_embedded"]["panoramas"][0]) == list(recorded_amsterdam["detail"])


def test_an_empty_page_is_the_recorded_one(client, recorded_amsterdam):
    answer = client.get(f"{LIST}?bbox=5.5,52.0,5.6,52.1&srid=4326").json()
    recorded = recorded_amsterdam["empty"]
    recorded["_links"]["self"]["href"] = f"{BASE_URL}{LIST}?bbox=5.5,52.0,5.6,52.1&srid=4326"
    assert answer == recorded


def test_a_detail_has_the_recorded_fields_and_nesting(client, recorded_amsterdam):
    detail = client.get(f"{LIST}{pano_id(SHOTS[0])}/").json()
    assert shape(detail) == shape(recorded_amsterdam["detail"])
    assert detail["_links"]["self"]["href"] == f"{BASE_URL}{LIST}{pano_id(SHOTS[0])}/"


def test_following_next_yields_every_panorama_once(client):
    seen, url = [], f"{LIST}?page_size=7"
    while url:
        answer = client.get(url)
        seen += ids(answer)
        url = answer.json()["_links"]["next"]["href"]
    assert sorted(seen) == sorted(pano_id(shot) for shot in SHOTS)
    assert answer.json()["count"] == len(SHOTS)


def test_the_next_link_encodes_commas_and_keeps_other_parameters(client):
    links = client.get(f"{LIST}?bbox={BBOX}&srid=4326&page_size=5").json()["_links"]
    encoded = BBOX.replace(",", "%2C")
    assert links["next"]["href"] == f"{BASE_URL}{LIST}?bbox={encoded}&page=2&page_size=5&srid=4326"
    assert links["previous"]["href"] is None


def test_pages_hold_25_unless_asked_otherwise(client):
    assert len(ids(client.get(LIST))) == 25
    assert len(ids(client.get(LIST, params={"page_size": 10_000}))) == len(SHOTS)
    assert ids(client.get(LIST, params={"page": "last"})) == ids(client.get(LIST, params={"page": 2}))


@pytest.mark.parametrize("page", ["0", "9999", "x"])
def test_a_page_that_is_not_there_is_the_recorded_404(client, recorded_amsterdam, page):
    answer = client.get(LIST, params={"page": page})
    assert (answer.status_code, answer.json()) == (404, recorded_amsterdam["errors"]["page"])


@pytest.mark.parametrize("bbox", ["1,2,3", "a,b,c,d"])
def test_a_malformed_bbox_crashes_the_server(client, bbox):
    answer = client.get(LIST, params={"bbox": bbox})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")


def test_an_empty_bbox_is_no_filter_and_swapped_coordinates_find_nothing(client):
    swapped = f"{CELL.south},{CELL.west},{CELL.north},{CELL.east}"
    assert client.get(f"{LIST}?bbox=").json()["count"] == len(SHOTS)
    assert client.get(LIST, params={"bbox": swapped}).json()["count"] == 0


def test_any_two_opposite_corners_are_the_same_box(client):
    other = f"{CELL.west},{CELL.north},{CELL.east},{CELL.south}"
    assert ids(client.get(LIST, params={"bbox": other})) == ids(client.get(LIST, params={"bbox": BBOX}))


def test_unknown_parameters_are_ignored(client):
    assert client.get(LIST, params={"mission_year": "1999", "nonsense": "1"}).json()["count"] == len(SHOTS)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("near=4.89,52.37", "near_only"),
        ("radius=100", "radius_only"),
        (f"near=4.89,52.37&radius=100&bbox={BBOX}", "radius_bbox"),
        ("srid=3857", "srid"),
        ("timestamp_after=yesterday", "timestamp"),
    ],
)
def test_refused_filters_are_the_recorded_400(client, recorded_amsterdam, query, error):
    answer = client.get(f"{LIST}?{query}")
    assert (answer.status_code, answer.json()) == (400, recorded_amsterdam["errors"][error])


def test_near_and_times_select(client):
    corner = next(shot for shot in SHOTS if shot.lat == 52.37)
    near = client.get(f"{LIST}?near={corner.lon},{corner.lat}&radius=30").json()
    assert near["count"] == 3
    newest = client.get(f"{LIST}?timestamp_after=2025-01-01").json()
    assert newest["count"] == sum(shot.captured_at.year == 2025 for shot in SHOTS)
    older = client.get(f"{LIST}?timestamp_before=2024-12-31T00:00:00Z").json()
    assert older["count"] + newest["count"] == len(SHOTS)


def test_accepting_only_plain_json_is_the_recorded_406(client, recorded_amsterdam):
    answer = client.get(LIST, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()) == (406, recorded_amsterdam["errors"]["accept"])
    for accept in ("application/hal+json", "application/geo+json", "application/json, */*;q=0.1"):
        assert client.get(LIST, headers={"Accept": accept}).status_code == 200
    assert client.get(f"{LIST}?format=json", headers={"Accept": "application/json"}).status_code == 200
    bad = client.get(f"{LIST}?format=xml")
    assert (bad.status_code, bad.json()) == (404, recorded_amsterdam["errors"]["format"])


def test_a_missing_last_slash_is_redirected_with_its_query(client):
    listing = client.get("/amsterdam/panorama/panoramas?page=2")
    assert (listing.status_code, listing.headers["location"]) == (301, "/amsterdam/panorama/panoramas/?page=2")
    detail = client.get("/amsterdam/panorama/panoramas/NOPE")
    assert (detail.status_code, detail.headers["location"]) == (301, "/amsterdam/panorama/panoramas/NOPE/")


def test_an_unknown_panorama_is_the_recorded_404(client, recorded_amsterdam):
    answer = client.get(f"{LIST}NOPE/")
    assert (answer.status_code, answer.json()) == (404, recorded_amsterdam["errors"]["detail_404"])


@given(width=st.floats(0.001, 0.05), height=st.floats(0.001, 0.05), data=st.data())
def test_a_box_selects_all_of_itself_and_hardly_more(width, height, data):
    shot = data.draw(st.sampled_from(SHOTS))
    west = shot.lon - width * data.draw(st.floats(-0.5, 1.5))
    south = shot.lat - height * data.draw(st.floats(-0.5, 1.5))
    bbox = f"{west!r},{south!r},{west + width!r},{south + height!r}"
    selected = all(keep(shot) for keep in filters_of(QueryParams(f"bbox={bbox}")))
    beyond_x = max(west - shot.lon, shot.lon - west - width) * cos(radians(52.37))
    beyond_y = max(south - shot.lat, shot.lat - south - height)
    margin = 0.008 * max(width * cos(radians(52.37)), height)
    if max(beyond_x, beyond_y) <= 0:
        assert selected
    if max(beyond_x, beyond_y) > margin:
        assert not selected


def test_west_of_the_grids_origin_a_box_selects_too_much_south_of_its_western_end_but_not_of_its_eastern():
    shot = SHOTS[0]
    north = f"{shot.lat + 0.00004},{{}},{shot.lat + 0.02}"
    western = f"{shot.lon - 0.001},{north.format(shot.lon + 0.02)}"
    eastern = f"{shot.lon - 0.02},{north.format(shot.lon + 0.001)}"
    assert all(keep(shot) for keep in filters_of(QueryParams(f"bbox={western}")))
    assert not all(keep(shot) for keep in filters_of(QueryParams(f"bbox={eastern}")))


@pytest.mark.parametrize(("size", "width"), [("small", 2000), ("medium", 4000), ("full", 8000)])
def test_image_links_lead_to_equirectangular_jpegs(client, size, width):
    item = client.get(f"{LIST}{pano_id(SHOTS[-1])}/").json()
    answer = client.get(item["_links"][f"equirectangular_{size}"]["href"])
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == (width, width // 2)
