from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image
from starlette.datastructures import QueryParams

from geopin_assets.grid import bounds
from geopin_assets.sandbox.stand_ins.europeana import EuropeanaStandIn, item_id
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Drive, Quirk, World, shots
from geopin_assets_tests.sandbox.conftest import BASE_URL
from geopin_assets_tests.sources.recordings.europeana import PAGES

SEARCH = "/europeana/record/v2/search.json"
SHOTS = build_world().of("europeana")
CELL = bounds(90, 51)
PARAMS = {"wskey": "sandbox", "query": "*", "cursor": "*"}
FIRST = SHOTS[0]


def answered(client: Any, *refinements: str, **params: Any) -> Any:
    asked = [(key, value) for key, value in (PARAMS | params).items() if value is not None]
    return client.get(SEARCH, params=[*asked, *(("qf", refinement) for refinement in refinements)])


def found(client: Any, *refinements: str, **params: Any) -> list[str]:
    answer = answered(client, *refinements, **params)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    return [item["id"] for item in answer.json()["items"]]


def of_world(count: int, quirks: tuple[tuple[int, Quirk], ...] = ()) -> EuropeanaStandIn:
    drive = {name: getattr(FIRST.drive, name) for name in Drive.__slots__} | {"count": count, "quirks": quirks}
    return EuropeanaStandIn(Sandbox(World(tuple(shots(Drive(**drive)))), BASE_URL))


def asked(stand_in: EuropeanaStandIn, **params: Any) -> dict[str, Any]:
    return orjson.loads(stand_in.answer(QueryParams(PARAMS | params), "sandbox").body)


def test_an_answer_and_an_item_have_the_recorded_fields(client):
    page = answered(client, profile="rich").json()
    assert list(page) == list(PAGES[0])
    recorded = PAGES[0]["items"][0]
    for name, value in recorded.items():
        assert type(page["items"][0][name]) is type(value), name


def test_the_rich_profile_alone_has_the_full_image(client):
    assert "edmIsShownBy" in answered(client, profile="rich").json()["items"][0]
    assert "edmIsShownBy" not in answered(client).json()["items"][0]
    assert "edmIsShownBy" not in answered(client, profile="minimal").json()["items"][0]


def test_the_key_is_repeated_where_the_real_one_repeats_it(client):
    page = answered(client).json()
    assert page["apikey"] == "sandbox"
    assert page["items"][0]["guid"].endswith("utm_campaign=sandbox")
    assert page["items"][0]["link"].endswith("?wskey=sandbox")


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"wskey": None}, 400, "400-AM"),
        ({"wskey": "other"}, 401, "401-AR"),
        ({"query": None}, 400, "400-SE"),
        ({"query": ""}, 400, "400-SE"),
        ({"cursor": "nonsense"}, 400, "400-SC"),
        ({"cursor": ""}, 400, "400-SC"),
        ({"cursor": "AoE/"}, 400, "400-SC"),
        ({"start": "1"}, 400, "400-SD"),
        ({"cursor": None, "start": "990"}, 400, "400-SL"),
    ],
)
def test_a_refused_search_is_said_with_status_and_code(client, params: dict[str, Any], status: int, code: str):
    answer = answered(client, **params)
    assert (answer.status_code, answer.json()["success"], answer.json()["code"]) == (status, False, code)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "refinement", ["pl_wgs84_pos_lat:[52 53]", "pl_wgs84_pos_lat:52", "pl_wgs84_pos_lat:[a TO b]", "LANGUAGE:nl", ""]
)
def test_a_refinement_that_is_none_is_refused(client, refinement: str):
    assert answered(client, refinement).json()["code"] == "400-SA"


def test_the_key_may_be_a_header(client):
    answer = client.get(SEARCH, params={"query": "*"}, headers={"X-Api-Key": "sandbox"})
    assert answer.json()["totalResults"] == 3


def test_ranges_include_their_ends(client):
    lon, lat = FIRST.lon, FIRST.lat
    here = (f"pl_wgs84_pos_lat:[{lat} TO {lat}]", f"pl_wgs84_pos_long:[{lon} TO {lon}]")
    assert found(client, *here) == [item_id(FIRST)]
    assert found(client, f"pl_wgs84_pos_lat:[{lat + 1e-6} TO *]", here[1]) == []
    assert len(found(client, "pl_wgs84_pos_long:[* TO *]", "TYPE:IMAGE")) == 3


def test_reusability_and_type_select(client):
    closed = [item_id(shot) for shot in SHOTS if shot.quirk is Quirk.NON_OPEN]
    assert found(client, reusability="restricted") == closed
    assert found(client, reusability="open", media="true") == [item_id(shot) for shot in SHOTS if shot.quirk is None]
    assert found(client, "TYPE:TEXT") == []
    assert len(found(client, "TYPE:IMAGE")) == 3


def test_a_page_holds_12_and_at_most_100():
    stand_in = of_world(120)
    assert [asked(stand_in, rows=rows)["itemsCount"] for rows in ("5", "100", "101", "x")] == [5, 100, 100, 12]
    assert asked(stand_in)["totalResults"] == 120


def test_following_the_cursor_yields_every_item_once_and_ends_with_an_empty_page():
    stand_in, cursor, seen, counts = of_world(25), "*", [], []
    while cursor:
        page = asked(stand_in, rows="10", cursor=cursor)
        seen += [item["id"] for item in page["items"]]
        counts.append(page["itemsCount"])
        cursor = page.get("nextCursor")
    assert counts == [10, 10, 5, 0]
    assert (len(seen), len(set(seen))) == (25, 25)


def test_without_a_cursor_only_the_first_1000_are_reached(client):
    ids = found(client, cursor=None, rows="2", start="2")
    assert ids == [item_id(shot) for shot in SHOTS[1:]]
    assert "nextCursor" not in answered(client, cursor=None).json()


def test_a_page_is_shortened_without_a_word(client):
    client.request("POST", "/faults", json={"cap": {"europeana": 2}})
    page = answered(client, rows="100").json()
    assert (page["itemsCount"], page["totalResults"]) == (2, 3)


def test_a_fault_in_a_box_is_met_by_searches_there(client):
    client.request("POST", "/faults", json={"source": "europeana", "status": 500, "bbox": [4, 52, 5, 53]})
    assert answered(client).status_code == 500
    assert answered(client, "pl_wgs84_pos_lat:[53.1 TO 53.2]").status_code == 200
    assert client.get("/stats").json()["europeana.search"] == 2


@pytest.mark.parametrize(("field", "width"), [("edmIsShownBy", 1600), ("edmPreview", 400)])
def test_image_links_lead_to_jpegs(client, field: str, width: int):
    item = answered(client, profile="rich").json()["items"][0]
    answer = client.get(item[field][0])
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).width == width


def test_an_item_that_was_taken_down_is_neither_found_nor_shown(client):
    item = answered(client, profile="rich").json()["items"][0]
    client.request("POST", "/faults", json={"vanish": [item["id"]]})
    assert item["id"] not in found(client)
    assert client.get(item["edmIsShownBy"][0]).status_code == 404
    assert client.get("/europeana/thumbnail/v2/url.json").status_code == 404


def test_quirks_take_the_form_europeana_gives_them():
    quirks = (
        (1, Quirk.NOT_STREET), (2, Quirk.NO_DATE), (3, Quirk.JUNK_DATE), (4, Quirk.NO_CREATOR), (5, Quirk.NULL_ISLAND),
        (6, Quirk.NO_LICENSE), (7, Quirk.HIDDEN), (8, Quirk.NO_GPS), (9, Quirk.POSITION_IN_TABLE),
    )  # fmt: skip
    one, two, three, four, five, six, eight, nine = asked(of_world(9, quirks))["items"]
    assert one["type"] == "TEXT"
    assert "year" not in two
    assert three["year"] == ["0026"]
    assert "dcCreator" not in four
    assert five["edmPlaceLatitude"] == ["0"]
    assert six["rights"] == ["http://rightsstatements.org/vocab/InC/1.0/"]
    assert eight["edmPlace"] == ["http://data.europeana.eu/place/7"]
    assert len(nine["edmPlaceLatitude"]) == len(nine["edmPlaceLongitude"]) == 2
