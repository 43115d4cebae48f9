from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image
from starlette.datastructures import QueryParams

from geopin_assets.grid import bounds
from geopin_assets.sandbox.stand_ins.flickr import FlickrStandIn, photo_id, uploaded_at_s
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Drive, Quirk, World, shots
from geopin_assets.sources.flickr.read import EXTRAS
from geopin_assets_tests.sandbox.conftest import BASE_URL
from geopin_assets_tests.sandbox.shapes import shape
from geopin_assets_tests.sources.recordings.flickr import ANSWER, LICENSES

REST = "/flickr/services/rest/"
SHOTS = build_world().of("flickr")
CELL = bounds(90, 51)
COMMON = {"api_key": "sandbox", "format": "json", "nojsoncallback": "1"}
SEARCH = COMMON | {"method": "flickr.photos.search", "bbox": str(CELL), "min_upload_date": "1072915200"}
FIRST = SHOTS[0]


def photos(client: Any, **params: Any) -> dict[str, Any]:
    answer = client.get(REST, params={key: value for key, value in (SEARCH | params).items() if value is not None})
    assert (answer.status_code, answer.json()["stat"]) == (200, "ok")
    return answer.json()["photos"]


def ids(client: Any, **params: Any) -> list[str]:
    return [photo["id"] for photo in photos(client, **params)["photo"]]


def many(count: int, **changes: Any) -> World:
    drive = Drive(**{name: getattr(FIRST.drive, name) for name in Drive.__slots__} | {"count": count} | changes)
    return World(tuple(shots(drive)))


def test_a_photo_has_the_recorded_fields_and_the_one_for_its_last_change(client):
    photo = photos(client, extras=EXTRAS, sort="date-posted-asc")["photo"][1]
    assert shape(photo) == shape(ANSWER["photos"]["photo"][0] | {"lastupdate": "1"})


def test_fields_come_only_with_their_extras(client):
    plain = photos(client)["photo"][0]
    assert plain.keys() == {"id", "owner", "secret", "server", "farm", "title", "ispublic", "isfriend", "isfamily"}
    assert "latitude" not in photos(client, extras="license")["photo"][0]


def test_the_table_of_licenses_has_the_recorded_form(client):
    answer = client.get(REST, params=COMMON | {"method": "flickr.photos.licenses.getInfo"}).json()
    assert shape(answer) == shape(LICENSES)
    rows = answer["licenses"]["license"]
    assert [row for row in LICENSES["licenses"]["license"] if row not in rows] == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"api_key": "other"}, 100),
        ({"api_key": None}, 100),
        ({"format": "php"}, 111),
        ({"format": None}, 111),
        ({"method": "flickr.photos.getUntagged"}, 112),
        ({"method": None}, 112),
        ({"bbox": None}, 3),
        ({"bbox": "1,2,3"}, 18),
        ({"bbox": "a,b,c,d"}, 18),
        ({"bbox": "5,52,4,53"}, 18),
        ({"bbox": "52,4,53,191"}, 18),
    ],
)
def test_a_refused_call_fails_with_status_200(client, params: dict[str, Any], code: int):
    asked = {key: value for key, value in (SEARCH | params).items() if value is not None}
    answer = client.get(REST, params=asked)
    assert (answer.status_code, answer.json()["stat"], answer.json()["code"]) == (200, "fail", code)
    assert answer.json()["message"]


def test_without_nojsoncallback_the_answer_is_a_script(client):
    answer = client.get(REST, params={key: value for key, value in SEARCH.items() if key != "nojsoncallback"})
    assert answer.text.startswith('jsonFlickrApi({"photos"')


def test_a_search_by_box_without_a_limit_means_the_last_12_hours(client):
    assert photos(client, min_upload_date=None)["total"] == 0
    assert photos(client)["total"] == 6


def test_only_asked_licenses_are_found(client):
    assert len(ids(client, license="5")) == 5
    assert ids(client, license="2") == [photo_id(shot) for shot in SHOTS if shot.quirk is Quirk.NON_OPEN]
    assert ids(client, license="9,10") == []
    assert len(ids(client, license="2, 5")) == 6


def test_dates_of_upload_are_inclusive_seconds_or_mysql_times(client):
    first, second = uploaded_at_s(SHOTS[0]), uploaded_at_s(SHOTS[1])
    assert ids(client, min_upload_date=first, max_upload_date=first) == [photo_id(SHOTS[0])]
    assert len(ids(client, min_upload_date=first, max_upload_date=second)) == 2
    assert ids(client, min_upload_date=first + 1, max_upload_date=second - 1) == []
    assert ids(client, min_upload_date="2013-08-25 22:00:00", max_upload_date=first) == [photo_id(SHOTS[0])]
    assert ids(client, min_upload_date="2013-08-25 22:00:01", max_upload_date=first) == []


def test_the_newest_come_first_unless_asked_otherwise(client):
    ascending = [photo_id(shot) for shot in SHOTS]
    assert ids(client, sort="date-posted-asc") == ascending
    assert ids(client) == ascending[::-1]


def test_a_box_selects_its_edges_and_nothing_else(client):
    lon, lat = FIRST.lon, FIRST.lat
    assert photo_id(FIRST) in ids(client, bbox=f"{lon},{lat},{lon + 1},{lat + 1}")
    assert photo_id(FIRST) not in ids(client, bbox=f"{lon + 1e-6},{lat},{lon + 1},{lat + 1}")


def answered(stand_in: FlickrStandIn, **params: Any) -> dict[str, Any]:
    query = QueryParams(SEARCH | {"bbox": "4,52,6,53", "sort": "date-posted-asc"} | params)
    return orjson.loads(stand_in.answer(query).body)["photos"]


def test_a_page_holds_100_and_at_most_250():
    stand_in = FlickrStandIn(Sandbox(many(300, quirks=()), BASE_URL))
    assert [len(answered(stand_in, per_page=n)["photo"]) for n in ("7", "250", "251", "500", "x", "0")] == [
        7, 250, 250, 250, 100, 1,
    ]  # fmt: skip
    assert (answered(stand_in, per_page="500")["perpage"], answered(stand_in)["pages"]) == (250, 3)


def test_the_total_is_a_number_on_the_first_page_and_text_after_it():
    stand_in = FlickrStandIn(Sandbox(many(30, quirks=()), BASE_URL))
    assert [answered(stand_in, per_page="10", page=page)["total"] for page in "123"] == [30, "30", "30"]


def test_pages_beyond_4000_photos_repeat_the_last():
    stand_in = FlickrStandIn(Sandbox(many(60, quirks=()), BASE_URL), most_results=40)
    pages = [answered(stand_in, per_page="10", page=str(page)) for page in range(1, 8)]
    found = [[photo["id"] for photo in page["photo"]] for page in pages]
    assert {(int(page["total"]), page["pages"]) for page in pages} == {(60, 6)}
    assert len({id_ for page in found for id_ in page}) == 40
    assert found[3] == found[4] == found[5] == found[6]


def test_the_real_limit_is_4000():
    stand_in = FlickrStandIn(Sandbox(many(4100, quirks=()), BASE_URL))
    pages = [answered(stand_in, per_page="250", page=str(page)) for page in range(1, 18)]
    assert len({photo["id"] for page in pages for photo in page["photo"]}) == 4000


def test_a_page_is_shortened_without_a_word(client):
    assert client.request("POST", "/faults", json={"cap": {"flickr": 4}}).status_code == 200
    page = photos(client, per_page=250)
    assert (len(page["photo"]), page["pages"], page["total"]) == (4, 2, 6)


def test_a_fault_in_a_box_is_met_by_searches_there(client):
    fault = {"source": "flickr", "status": 503, "bbox": [CELL.west, CELL.south, CELL.east, CELL.north]}
    client.request("POST", "/faults", json=fault)
    assert client.get(REST, params=SEARCH).status_code == 503
    assert client.get(REST, params=SEARCH | {"bbox": "6,53,6.1,53.1"}).status_code == 200
    assert client.get("/stats").json()["flickr.search"] == 2


@pytest.mark.parametrize(("size", "pixels"), [("l", (1024, 768)), ("m", (500, 375))])
def test_image_links_lead_to_jpegs_of_their_size(client, size: str, pixels: tuple[int, int]):
    photo = photos(client, extras=EXTRAS)["photo"][0]
    assert (photo[f"width_{size}"], photo[f"height_{size}"]) == pixels
    answer = client.get(photo[f"url_{size}"])
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == pixels


def test_a_photo_that_was_taken_down_is_neither_found_nor_shown(client):
    photo = photos(client, extras=EXTRAS)["photo"][0]
    client.request("POST", "/faults", json={"vanish": [photo["id"]]})
    assert photo["id"] not in ids(client)
    assert client.get(photo["url_l"]).status_code == 404
    assert client.get(f"{BASE_URL}/flickr/65535/nothing.jpg").status_code == 404


def test_quirks_take_the_form_flickr_gives_them():
    quirks = (
        (1, Quirk.NOT_STREET), (2, Quirk.NO_DATE), (3, Quirk.JUNK_DATE), (4, Quirk.NO_CREATOR),
        (5, Quirk.NULL_ISLAND), (6, Quirk.NO_LICENSE), (7, Quirk.HIDDEN),
    )  # fmt: skip
    stand_in = FlickrStandIn(Sandbox(many(7, quirks=quirks), BASE_URL))
    one, two, three, four, five, six = answered(stand_in, extras=EXTRAS)["photo"]
    assert one["context"] == 1
    assert two["datetakenunknown"] == "1"
    assert three["datetaken"].startswith("0000")
    assert four["ownername"] == ""
    assert (five["latitude"], five["longitude"]) == (0, 0)
    assert six["license"] == "0"
