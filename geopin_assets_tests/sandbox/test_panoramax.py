from io import BytesIO
from itertools import pairwise

import pytest
from PIL import Image

from geopin_assets.grid import bounds
from geopin_assets.sandbox.drives import CORNER, build_world
from geopin_assets.sandbox.panoramax_item import picture_id
from geopin_assets.sandbox.world import Quirk
from geopin_assets_tests.sandbox.conftest import BASE_URL
from geopin_assets_tests.sandbox.shapes import shape

SHOTS = {shot.name: shot for shot in build_world().of("panoramax")}
SEARCH = "/panoramax/api/search"
CELL = bounds(90, 51)
IMAGE_SIZES = {"hd": (1600, 1200), "sd": (2048, 1536), "thumb": (500, 375)}


def box(bbox):
    return f"{bbox.west},{bbox.south},{bbox.east},{bbox.north}"


def ids(response):
    assert response.status_code == 200
    return [feature["id"] for feature in response.json()["features"]]


def without_exif(feature):
    """EXIF is whatever a camera wrote: only its form (text to text) is fixed."""
    assert all(isinstance(value, str) for value in feature["properties"]["exif"].values())
    properties = {key: value for key, value in feature["properties"].items() if key != "exif"}
    return feature | {"properties": properties}


def feature_of(client, name, **parameters):
    features = client.get(SEARCH, params={"limit": 1000, **parameters}).json()["features"]
    return next(feature for feature in features if feature["id"] == picture_id(SHOTS[name]))


def test_an_item_has_the_recorded_fields_and_nesting(client, recorded_panoramax):
    plain = next(shot for shot in SHOTS.values() if shot.quirk is Quirk.NO_FIELD_OF_VIEW)
    link = feature_of(client, plain.name)["links"][2]
    item = client.get(link["href"])
    assert item.headers["content-type"] == "application/geo+json"
    assert shape(without_exif(item.json())) == shape(without_exif(recorded_panoramax["item"]))
    assert list(item.json()) == list(recorded_panoramax["item"])


def test_an_equirectangular_picture_has_the_recorded_fields_and_nesting(client, recorded_panoramax):
    ours = feature_of(client, "kade-360-003")
    assert shape(without_exif(ours)) == shape(without_exif(recorded_panoramax["equirectangular"]))
    assert ours["properties"]["pers:interior_orientation"]["field_of_view"] == 360


def test_status_is_told_only_to_those_who_ask_for_a_picture(client):
    assert "geovisio:status" not in feature_of(client, "gracht-flat-001")["properties"]
    asked = feature_of(client, "gracht-flat-001", ids=picture_id(SHOTS["gracht-flat-001"]))
    assert asked["properties"]["geovisio:status"] == "ready"


def test_a_search_has_only_a_root_link_and_no_count(client, recorded_panoramax):
    empty = client.get(SEARCH, params={"bbox": "5.7,52.2,5.9,52.3"}).json()
    assert shape(empty) == shape(recorded_panoramax["search_empty"])
    full = client.get(SEARCH, params={"bbox": box(CELL), "limit": 5}).json()
    assert [link["rel"] for link in full["links"]] == ["root"]
    assert set(full) == {"features", "links", "type"}


def test_ten_pictures_are_returned_unless_a_limit_is_given(client):
    assert len(ids(client.get(SEARCH, params={"bbox": box(CELL)}))) == 10
    assert len(ids(client.get(SEARCH, params={"bbox": box(CELL), "limit": ""}))) == 10
    assert len(ids(client.get(SEARCH, params={"bbox": box(CELL), "limit": 10_000}))) == 54


@pytest.mark.parametrize("limit", ["0", "10001", "abc", "-1"])
def test_a_limit_out_of_range_is_the_recorded_400(client, recorded_panoramax, limit):
    answer = client.get(SEARCH, params={"bbox": box(CELL), "limit": limit})
    assert (answer.status_code, answer.json()) == (400, recorded_panoramax["errors"]["limit"])


@pytest.mark.parametrize("bbox", ["1,2,3", "a,b,c,d", "", "4.8,52.3,0,4.9,52.4,10"])
def test_a_malformed_bbox_is_the_recorded_400(client, recorded_panoramax, bbox):
    answer = client.get(SEARCH, params={"bbox": bbox})
    assert (answer.status_code, answer.json()) == (400, recorded_panoramax["errors"]["bbox_format"])


def test_a_bbox_off_the_earth_is_the_recorded_400(client, recorded_panoramax):
    answer = client.get(SEARCH, params={"bbox": "200,10,201,11"})
    assert (answer.status_code, answer.json()) == (400, recorded_panoramax["errors"]["bbox_range"])


def test_reversed_corners_are_the_same_box_and_swapped_coordinates_an_empty_one(client):
    straight = ids(client.get(SEARCH, params={"bbox": box(CELL), "limit": 1000}))
    reversed_ = f"{CELL.east},{CELL.north},{CELL.west},{CELL.south}"
    swapped = f"{CELL.south},{CELL.west},{CELL.north},{CELL.east}"
    assert ids(client.get(SEARCH, params={"bbox": reversed_, "limit": 1000})) == straight
    assert ids(client.get(SEARCH, params={"bbox": swapped})) == []


def test_page_and_token_are_ignored(client):
    first = ids(client.get(SEARCH, params={"bbox": box(CELL), "limit": 3}))
    assert ids(client.get(SEARCH, params={"bbox": box(CELL), "limit": 3, "page": 2, "token": "x"})) == first


def test_a_cut_off_answer_has_lost_the_corners(client):
    lon, lat = CELL.center
    features = client.get(SEARCH, params={"bbox": box(CELL), "limit": 1000}).json()["features"]
    places = [feature["geometry"]["coordinates"] for feature in features]
    distances = [(x - lon) ** 2 + (y - lat) ** 2 for x, y in places]
    assert all(near <= far for near, far in pairwise(distances))


def test_edges_are_inclusive_so_that_a_corner_is_in_four_boxes(client):
    corner = next(s for s in SHOTS.values() if s.drive.street == CORNER and s.lat == 52.37)
    for row, column in [(89, 51), (89, 52), (90, 51), (90, 52)]:
        found = ids(client.get(SEARCH, params={"bbox": box(bounds(row, column)), "limit": 1000}))
        assert picture_id(corner) in found
    point = f"{corner.lon},{corner.lat},{corner.lon},{corner.lat}"
    assert ids(client.get(SEARCH, params={"bbox": point})) == [picture_id(corner)]


def test_ids_select_pictures_and_unknown_ones_are_an_empty_200(client):
    wanted = [picture_id(SHOTS[name]) for name in ("gracht-flat-001", "straat-flat-002")]
    assert sorted(ids(client.get(SEARCH, params={"ids": ",".join(wanted)}))) == sorted(wanted)
    assert ids(client.get(SEARCH, params={"ids": "00000000-0000-0000-0000-000000000000"})) == []


def test_unknown_routes_are_a_404_in_html_and_unknown_pictures_one_in_json(client, recorded_panoramax):
    nothing = client.get("/panoramax/api/nope")
    assert (nothing.status_code, nothing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/panoramax/api/collections/abc/items/def").headers["content-type"].startswith("text/html")
    missing = "00000000-0000-0000-0000-000000000000"
    item = client.get(f"/panoramax/api/collections/{missing}/items/{missing}")
    assert (item.status_code, item.json()) == (404, recorded_panoramax["errors"]["item_404"])
    picture = client.get(f"/panoramax/api/pictures/{missing}/sd.jpg")
    assert (picture.status_code, picture.json()) == (404, recorded_panoramax["errors"]["picture_404"])


def test_a_picture_links_to_its_neighbors_in_the_drive(client):
    links = {link["rel"]: link for link in feature_of(client, "gracht-flat-002")["links"]}
    assert links["next"]["id"] == picture_id(SHOTS["gracht-flat-003"])
    assert links["prev"]["id"] == picture_id(SHOTS["gracht-flat-001"])
    assert [link["rel"] for link in feature_of(client, "gracht-flat-001")["links"]].count("prev") == 0


def test_hidden_pictures_are_nowhere(client):
    hidden = picture_id(next(shot for shot in SHOTS.values() if shot.quirk is Quirk.HIDDEN))
    assert hidden not in ids(client.get(SEARCH, params={"limit": 1000}))
    assert client.get(f"/panoramax/api/pictures/{hidden}/sd.jpg").status_code == 404


def test_what_is_unknown_is_absent(client):
    by_quirk = {shot.quirk: shot.name for shot in SHOTS.values() if shot.quirk}
    assert "view:azimuth" not in feature_of(client, by_quirk[Quirk.NO_HEADING])["properties"]
    unlicensed = feature_of(client, by_quirk[Quirk.NO_LICENSE])
    assert "license" not in unlicensed["properties"]
    assert "license" not in {link["rel"] for link in unlicensed["links"]}
    assert feature_of(client, by_quirk[Quirk.NON_OPEN])["properties"]["license"] == "CC-BY-NC-4.0"


def test_junk_dates_are_long_before_photography(client):
    names = [shot.name for shot in SHOTS.values() if shot.quirk is Quirk.JUNK_DATE]
    years = {feature_of(client, name)["properties"]["datetime"][:4] for name in names}
    assert years <= {"1970", "0026"}


@pytest.mark.parametrize("size", ["hd", "sd", "thumb"])
def test_asset_links_lead_to_jpegs_of_the_real_sizes(client, size):
    feature = feature_of(client, "corner-flat-001")
    href = feature["assets"][size]["href"]
    assert href.startswith(f"{BASE_URL}/panoramax/api/pictures/")
    answer = client.get(href)
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == IMAGE_SIZES[size]
