import json
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import mapbox_vector_tile
import pytest
from PIL import Image

from geopin_assets.grid import Bbox, bounds
from geopin_assets.sandbox.stand_ins.panoramax_item import collection_id, picture_id
from geopin_assets.sandbox.streets.drives import CORNER, build_world
from geopin_assets.sandbox.streets.world import Quirk
from geopin_assets.sources.tiles import Tile, points_of, tiles_of
from geopin_assets_tests.sandbox.conftest import BASE_URL
from geopin_assets_tests.sandbox.shapes import shape

SHOTS = {shot.name: shot for shot in build_world().of("panoramax")}
SEARCH = "/panoramax/api/search"
RECORDED_TILE = Path(__file__).parents[2] / "data" / "panoramax" / "tile_15_16829_10768.mvt"
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


def ids_of_post(client, body, **parts):
    answer = client.request("POST", SEARCH, **({"json": body} if parts == {} else parts))
    return ids(answer) if answer.status_code == 200 else answer


def test_a_post_reads_a_text_of_ids_whole_and_of_a_list_the_first_alone(client):
    wanted = [picture_id(SHOTS[name]) for name in ("gracht-flat-001", "straat-flat-002")]
    assert sorted(ids_of_post(client, {"ids": ",".join(wanted), "limit": 9})) == sorted(wanted)
    assert ids_of_post(client, {"ids": wanted, "limit": 9}) == wanted[:1]
    assert len(ids_of_post(client, {"ids": []})) == 10  # no filter at all
    assert len(ids_of_post(client, {"bbox": [4.8, 52.3, 5.0, 52.4], "limit": 3})) == 3


def test_a_post_without_json_and_ids_that_are_none_are_the_recorded_400(client):
    plain = ids_of_post(client, None, content=b"ids=1", headers={"content-type": "text/plain"})
    message = "Search using POST method should have a JSON body"
    assert (plain.status_code, plain.json()) == (400, {"message": message, "status_code": 400})
    junk = ids_of_post(client, {"ids": ["x"]})
    assert junk.json()["message"] == "Parameter ids should be a JSON array of strings"


def tile(client, path):
    answer = client.get(f"/panoramax/api/map/{path}.mvt")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.mapbox-vector-tile")
    return mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True}) if answer.content else {}


def path_of(shot, z):
    at = tiles_of(Bbox(shot.lon, shot.lat, shot.lon + 1e-9, shot.lat + 1e-9), z)[0]
    return f"{at.z}/{at.x}/{at.y}"


def test_tiles_show_pictures_and_sequences_at_zoom_15(client):
    layers = tile(client, path_of(SHOTS["gracht-flat-005"], 15))
    picture = layers["pictures"]["features"][0]
    recorded = points_of(Tile(15, 16829, 10768), RECORDED_TILE.read_bytes(), "pictures")[0].properties
    assert set(recorded) == set(picture["properties"])
    assert {type(value) for value in recorded.values()} == {type(value) for value in picture["properties"].values()}
    assert json.loads(picture["properties"]["sequences"]) == [picture["properties"]["first_sequence"]]
    assert layers["sequences"]["features"]


def test_every_picture_is_in_the_one_tile_that_it_lies_in(client):
    shown = {}
    for path in {path_of(shot, 15) for shot in SHOTS.values()}:
        data = client.get(f"/panoramax/api/map/{path}.mvt").content
        points = points_of(Tile(*map(int, path.split("/"))), data, "pictures")
        shown |= {point.properties["id"]: point for point in points}
    published = {picture_id(shot): shot for shot in SHOTS.values() if shot.quirk is not Quirk.HIDDEN}
    assert shown.keys() == published.keys()
    for id_, point in shown.items():
        assert (point.lon, point.lat) == pytest.approx((published[id_].lon, published[id_].lat), abs=3e-6)


def test_sequences_begin_at_zoom_6_and_the_grid_ends_there(client):
    assert set(tile(client, "5/16/10")) == {"grid"}
    assert set(tile(client, "6/32/21")) == {"grid", "sequences"}
    for z in (7, 14):
        assert set(tile(client, path_of(SHOTS["gracht-flat-005"], z))) == {"sequences"}
    assert tile(client, "6/32/21")["sequences"]["features"][0]["properties"] == {}
    assert tile(client, "6/0/0") == tile(client, "15/0/0") == {}


def test_the_grid_counts_every_published_picture_in_squares_and_in_hexagons(client):
    published = sum(shot.quirk is not Quirk.HIDDEN for shot in SHOTS.values())
    for path, type_ in (("6/32/21", "Point"), ("2/6/32/21", "Polygon")):
        features = tile(client, path)["grid"]["features"]
        assert sum(feature["properties"]["nb_pictures"] for feature in features) == published
        assert {feature["geometry"]["type"] for feature in features} == {type_}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("6/32/21.png", 400, "Tile format is invalid, should be either pbf or mvt"),
        ("6/64/21.mvt", 404, "X or Y parameter is out of bounds"),
        ("16/33654/21534.mvt", 404, "Z parameter is out of bounds (should be 0-15)"),
    ],
)
def test_tiles_that_do_not_exist_are_refused(client, path, status, message):
    answer = client.get(f"/panoramax/api/map/{path}")
    assert (answer.status_code, answer.json()) == (status, {"message": message, "status_code": status})


def test_collections_are_linked_page_by_page(client):
    url, seen = "/panoramax/api/collections?limit=3", []
    while url:
        body = client.get(url).json()
        seen += [collection["id"] for collection in body["collections"]]
        url = next((link["href"] for link in body["links"] if link["rel"] == "next"), "").removeprefix(BASE_URL)
    assert len(seen) == len(set(seen)) == len({shot.drive for shot in SHOTS.values()})


def test_deleted_collections_are_shown_on_request_with_their_id_alone(client):
    gone = [shot for shot in SHOTS.values() if shot.drive.name == "kade-360"]
    client.request("POST", "/faults", json={"vanish": [picture_id(shot) for shot in gone]})
    deleted = {"geovisio:status": "deleted", "id": collection_id(gone[0].drive)}
    plain = client.get("/panoramax/api/collections").json()["collections"]
    assert deleted["id"] not in {collection["id"] for collection in plain}
    params = {"show_deleted": "true", "filter": "updated > '2026-06-01T00:00:00Z'"}
    assert client.get("/panoramax/api/collections", params=params).json()["collections"] == [deleted]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"limit": "0"}, 400),
        ({"limit": "1001"}, 400),
        ({"limit": "abc"}, 400),
        ({"filter": "status = 'deleted'"}, 400),
        ({"filter": "title = 'x'"}, 400),
        ({"filter": "updated > 'yesterday'"}, 500),
    ],
)
def test_collections_refuse_what_the_real_ones_refuse(client, params, status):
    assert client.get("/panoramax/api/collections", params=params).status_code == status
