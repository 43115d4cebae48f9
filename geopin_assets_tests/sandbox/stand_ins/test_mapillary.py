from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from geopin_assets.grid import bounds, row_column
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.mapillary import MapillaryStandIn, creator_id, image, image_id, link
from geopin_assets.sandbox.streets.drives import STRAAT, build_world
from geopin_assets.sandbox.streets.world import Drive, World, shots
from geopin_assets.sources.mapillary.ask import IMAGE_FIELDS
from geopin_assets.sources.tiles import Tile, points_of, tiles_of
from geopin_assets_tests.sandbox.conftest import BASE_URL, Client
from geopin_assets_tests.sandbox.shapes import shape
from geopin_assets_tests.sources.replay import recorded

SHOTS = build_world().of("mapillary")
STREET = [shot for shot in SHOTS if shot.drive.name == "straat-mly"]
AROUND = "4.88,52.38,4.9,52.39"
TOKEN = {"Authorization": "OAuth sandbox"}
FIELDS = ",".join(IMAGE_FIELDS)
TILES = tiles_of(bounds(*row_column(STREET[0].lon, STREET[0].lat)), 14)
STREET_TILE = next(at for at in TILES if at.bbox.contains(STREET[0].lon, STREET[0].lat))


def search(client: Client, headers: dict[str, str] = TOKEN, **params: Any) -> Any:
    return client.get("/mapillary/images", params={"bbox": AROUND, "fields": FIELDS} | params, headers=headers)


def tile(client: Client, at: Tile, headers: dict[str, str] | None = None, **params: str) -> Any:
    return client.get(f"/mapillary/tiles/maps/vtp/mly1_public/2/{at.z}/{at.x}/{at.y}", params=params, headers=headers)


def error(beginning: str) -> dict[str, Any]:
    return next(case for case in recorded("mapillary/errors.json") if case["case"].startswith(beginning))


def cap(client: Client, **caps: int) -> None:
    assert client.request("POST", "/faults", json={"cap": caps}).status_code == 200


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [record["id"] for record in answer.json()["data"]]


def same_error(answer: Any, beginning: str) -> bool:
    known = error(beginning)
    return (answer.status_code, shape(answer.json()), answer.json()["error"]["code"]) == (
        *(known["http_status"], shape(known["body"])),
        known["body"]["error"]["code"],
    )


@pytest.fixture
def crowded() -> Client:
    """A street with 70 images."""
    drive = Drive(
        source="mapillary", name="crowd", street=STRAAT, from_m=-30, step_m=1, count=70, creator="kaart_maker",
        started_at=datetime(2025, 5, 11, tzinfo=UTC),
    )  # fmt: skip
    return Client(create_app(World(tuple(shots(drive))), BASE_URL))


def test_an_image_has_the_documented_fields_and_types(client):
    known = {record["id"]: record for record in recorded("mapillary/images.json")["data"]}["1933525276802129"]
    complete = next(shot for shot in STREET if shot.rank == 1)
    record = next(r for r in search(client).json()["data"] if r["id"] == image_id(complete))
    assert shape(record) == shape(known)


def test_fields_without_a_value_are_absent(client):
    records = {record["id"]: record for record in search(client).json()["data"]}
    by_rank = {shot.rank: records[image_id(shot)] for shot in STREET}
    assert not {"compass_angle", "computed_compass_angle"} & set(by_rank[2])
    assert "creator" not in by_rank[8]
    assert "computed_geometry" not in by_rank[3]
    assert by_rank[5]["captured_at"] == 0


def test_only_what_is_asked_for_is_answered_and_always_the_id(client):
    assert set(search(client, fields="is_pano").json()["data"][0]) == {"id", "is_pano"}
    assert set(search(client, fields="").json()["data"][0]) == {"id"}


def test_a_search_holds_the_box_with_its_edges_in_no_order_but_always_the_same(client):
    shot = STREET[3]
    exact = f"{shot.lon},{shot.lat},{shot.lon + 1e-4},{shot.lat + 1e-4}"
    assert image_id(shot) in ids(search(client, bbox=exact))
    found = ids(search(client))
    assert sorted(found) == sorted(image_id(shot) for shot in STREET)
    assert found != [image_id(shot) for shot in STREET]
    assert found == ids(search(client))


def test_a_search_is_cut_without_a_word(crowded):
    assert len(ids(search(crowded, limit=60))) == 60
    cap(crowded, mapillary=20)
    answer = search(crowded)
    assert len(ids(answer)) == 20
    assert set(answer.json()) == {"data"}


def test_a_box_that_holds_too_much_is_refused_whatever_the_limit(crowded):
    assert len(ids(search(crowded))) == 70
    cap(crowded, **{"mapillary.density": 69})
    assert same_error(search(crowded, limit=1), "box too dense")
    cap(crowded, **{"mapillary.density": 70})
    assert len(ids(search(crowded))) == 70


@pytest.mark.parametrize(
    "params",
    [
        {"bbox": "4.8,52.3,4.9,52.4"},
        {"bbox": "52.38,4.88,52.39,x"},
        {"bbox": "4.9,52.38,4.88,52.39"},
        {"bbox": "1,2,3"},
        {"bbox": ""},
        {"limit": "2001"},
        {"limit": "0"},
        {"limit": "many"},
        {"fields": "id,username"},
        {"image_ids": "1,x"},
        {"image_ids": ",".join(map(str, range(51)))},
    ],
)
def test_wrong_parameters_are_refused(client, params):
    answer = search(client, **params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)


def test_an_area_just_below_the_limit_is_answered(client):
    assert search(client, bbox="4.85,52.35,4.9499,52.45").status_code == 200


def test_a_missing_token_and_an_unknown_one_are_different_errors(client):
    assert same_error(search(client, headers={}), "no Authorization header")
    assert same_error(search(client, headers={"Authorization": "OAuth other"}), "unknown token")
    assert same_error(search(client, headers={"Authorization": "Bearer sandbox"}), "unknown token")
    in_query = search(client, headers={}, access_token="other")
    assert (in_query.status_code, in_query.json()["error"]["code"]) == (400, 190)
    assert search(client, headers={}, access_token="sandbox").status_code == 200
    assert client.get(f"/mapillary/{image_id(SHOTS[0])}").status_code == 500


def test_an_image_by_id_and_an_unknown_one(client):
    answer = client.get(f"/mapillary/{image_id(STREET[0])}", params={"fields": "id,creator"}, headers=TOKEN)
    assert answer.json() == {
        "id": image_id(STREET[0]),
        "creator": {"id": creator_id(STREET[0]), "username": "kaart_maker"},
    }
    assert same_error(client.get("/mapillary/1", headers=TOKEN), "unknown or removed")


def test_images_by_id_without_those_that_were_taken_down(client):
    wanted = [image_id(shot) for shot in STREET[:3]]
    client.request("POST", "/faults", json={"vanish": [wanted[1]]})
    assert ids(search(client, image_ids=",".join([*wanted, "12345"]), fields="id")) == [wanted[0], wanted[2]]


def test_a_tile_has_the_same_images_where_the_device_saw_them(client):
    found = {
        str(point.properties["id"]): (at, point)
        for at in TILES
        for point in points_of(at, tile(client, at, access_token="sandbox").content, "image")
    }
    for shot in STREET:
        at, point = found[image_id(shot)]
        assert (point.lon, point.lat) == pytest.approx((shot.lon, shot.lat), abs=5.5e-6)
        assert at.bbox.contains(shot.lon, shot.lat)


def test_the_properties_of_a_tile_have_the_types_of_real_ones(client):
    data = tile(client, STREET_TILE, access_token="sandbox").content
    points = {point.properties["id"]: point.properties for point in points_of(STREET_TILE, data, "image")}
    types = {
        "id": int,
        "captured_at": int,
        "compass_angle": float,
        "is_pano": bool,
        "sequence_id": str,
        "creator_id": int,
    }
    assert {key: type(value) for key, value in points[int(image_id(STREET[0]))].items()} == types
    assert "creator_id" not in points[int(image_id(STREET[7]))]
    assert "compass_angle" not in points[int(image_id(STREET[1]))]


def test_a_tile_without_images_is_not_found(client):
    assert tile(client, Tile(14, 8345, 5301), access_token="sandbox").status_code == 404
    assert tile(client, Tile(13, 4207, 2692), access_token="sandbox").status_code == 404


def test_the_tile_host_reads_no_header(client):
    assert tile(client, STREET_TILE, headers=TOKEN).status_code == 403
    assert tile(client, STREET_TILE, access_token="other").status_code == 403


def test_too_many_tiles_lock_out_by_a_redirect_to_the_login_page(client):
    cap(client, **{"mapillary.tiles": 2})
    answers = [tile(client, STREET_TILE, access_token="sandbox") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 302, 302]
    assert answers[-1].headers["location"].startswith("https://www.facebook.com/login/?next=")
    assert search(client).status_code == 200


def test_faults_meet_searches_by_box_tiles_by_theirs_and_images_by_id(client):
    client.request("POST", "/faults", json={"source": "mapillary", "status": 503, "bbox": [5.0, 52.0, 5.1, 52.1]})
    assert search(client).status_code == 200
    assert search(client, bbox="5.01,52.01,5.02,52.02").status_code == 503
    assert tile(client, tiles_of(bounds(72, 57), 14)[0], access_token="sandbox").status_code == 503
    picture = search(client).json()["data"][0]
    client.request("POST", "/faults", json={"source": "mapillary", "status": 404, "capture": picture["id"]})
    assert client.get(picture["thumb_1024_url"]).status_code == 404


def test_links_lead_to_pictures_of_their_width(client):
    record = search(client).json()["data"][0]
    for name, width in (("thumb_1024_url", 1024), ("thumb_2048_url", 2048), ("thumb_original_url", 4096)):
        answer = client.get(record[name])
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(BytesIO(answer.content)).size == (width, width * 3 // 4)


def test_a_link_ends_and_cannot_be_changed(client):
    url = search(client).json()["data"][0]["thumb_1024_url"]
    for wrong in (url.replace("oe=", "oe=F"), url.replace("s1024x1024", "s2048x2048"), url.replace("oh=00_", "oh=01_")):
        assert (client.get(wrong).status_code, client.get(wrong).text) == (403, "Bad URL hash")
    old = link(STREET[0], 1024, f"{BASE_URL}/mapillary", now_s=1_600_000_000.0)
    assert (client.get(old).status_code, client.get(old).text) == (403, "URL signature expired")
    assert client.get(url.replace(url.split("/")[-1].split("?")[0], "5")).status_code == 404


def test_links_are_the_same_all_day():
    noon = 1_700_000_000 // 86_400 * 86_400
    links = {image(STREET[0], {"thumb_1024_url"}, "", noon + s)["thumb_1024_url"] for s in (0, 4000, 86_399)}
    assert len(links) == 1


def test_ids_are_stable_and_differ():
    assert len({image_id(shot) for shot in SHOTS}) == len(SHOTS)
    assert MapillaryStandIn.id_of(STREET[0]) == image_id(STREET[0]) == "263152458640643"
