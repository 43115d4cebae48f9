from dataclasses import replace
from io import BytesIO

import mapbox_vector_tile
import pytest
from PIL import Image

from geopin_assets.grid import Bbox
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.mapilio import MapilioStandIn, sequence_uuid
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk, World, shots
from geopin_assets.sources.tiles import points_of, tiles_of
from geopin_assets_tests.sandbox.conftest import BASE_URL, Client
from geopin_assets_tests.sandbox.shapes import shape
from geopin_assets_tests.sources.replay import recorded

SHOTS = build_world().of("mapilio")
WMTS, DETAIL = "/mapilio/geoserver/gwc/service/wmts", "/mapilio/api/sequence-detail"
FIRST = SHOTS[0]
TILE = tiles_of(Bbox(FIRST.lon, FIRST.lat, FIRST.lon + 1e-9, FIRST.lat + 1e-9), 14)[0]
QUERY = {
    "SERVICE": "WMTS",
    "REQUEST": "GetTile",
    "VERSION": "1.0.0",
    "LAYER": "mapilio:map_points",
    "STYLE": "",
    "TILEMATRIX": "EPSG:900913:14",
    "TILEMATRIXSET": "EPSG:900913",
    "FORMAT": "application/vnd.mapbox-vector-tile",
    "TILECOL": str(TILE.x),
    "TILEROW": str(TILE.y),
}
UUID = sequence_uuid(FIRST.drive)


def images_of(client, uuid=UUID):
    answer = client.get(DETAIL, params={"sequence_uuid": uuid})
    assert answer.status_code == 200
    return answer.json()["data"]


def test_a_tile_has_the_documented_layer_and_properties(client):
    answer = client.get(WMTS, params=QUERY)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.mapbox-vector-tile")
    assert list(mapbox_vector_tile.decode(answer.content)) == ["map_points"]
    documented = recorded("mapilio/tile.json")["map_points"][0]["properties"]
    points = points_of(TILE, answer.content, "map_points")
    assert shape(points[0].properties) == shape(documented)
    assert {str(point.properties["id"]) for point in points} <= {MapilioStandIn.id_of(shot) for shot in SHOTS}
    odd = [point for point in points if "heading" not in point.properties]
    assert [str(point.properties["id"]) for point in odd] == [
        MapilioStandIn.id_of(shot) for shot in SHOTS if shot.quirk is Quirk.NO_HEADING
    ]


def test_an_empty_tile_is_200_without_a_body(client):
    answer = client.get(WMTS, params=QUERY | {"TILECOL": "8500"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_names_of_parameters_may_be_in_lower_case(client):
    query = {name.lower(): value for name, value in QUERY.items()}
    assert client.get(WMTS, params=query).content == client.get(WMTS, params=QUERY).content


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE", "WMS"),
        ("REQUEST", "GetMap"),
        ("LAYER", "mapilio:other"),
        ("TILEMATRIXSET", "EPSG:4326"),
        ("TILEMATRIX", "14x"),
        ("TILEMATRIX", "EPSG:900913:99"),
        ("TILECOL", "-1"),
        ("TILEROW", str(2**14)),
        ("FORMAT", "image/png"),
    ],
)
def test_wrong_parameters_are_refused_in_xml(client, name, value):
    for query in (QUERY | {name: value}, {key: other for key, other in QUERY.items() if key != name}):
        answer = client.get(WMTS, params=query)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/xml")
        assert f'locator="{name}"' in answer.text


def test_a_tile_fails_when_the_four_by_four_around_it_hold_too_much(client):
    client.request("POST", "/faults", json={"cap": {"mapilio": len(SHOTS) - 1}})
    answer = client.get(WMTS, params=QUERY)
    assert (answer.status_code, answer.text) == (400, "Problem communicating with GeoServer")
    neighbor = QUERY | {"TILECOL": str(TILE.x // 4 * 4 + 3 - TILE.x % 4), "TILEROW": str(TILE.y // 4 * 4)}
    assert client.get(WMTS, params=neighbor).status_code == 400
    assert client.get(WMTS, params=QUERY | {"TILECOL": str(TILE.x + 4)}).status_code == 200


def test_a_sequence_has_the_documented_rows_in_the_order_of_ids(client):
    rows = images_of(client)
    documented = recorded("mapilio/sequence.json")["data"][0]
    assert shape(rows[0]) == shape(documented)
    assert [row["id"] for row in rows] == sorted(int(MapilioStandIn.id_of(shot)) for shot in SHOTS)


def test_a_missing_parameter_is_the_documented_400(client):
    documented = recorded("mapilio/errors.json")["missing"]
    for query in ({}, {"sequence_uuid": ""}):
        answer = client.get(DETAIL, params=query)
        assert (answer.status_code, answer.json()) == (documented["http_status"], documented["body"])


def test_an_unknown_or_emptied_sequence_is_data_null(client):
    assert images_of(client, "nope") is None
    client.request("POST", "/faults", json={"vanish": [MapilioStandIn.id_of(shot) for shot in SHOTS]})
    assert images_of(client) is None


def test_a_sequence_that_is_too_long_is_a_413(client):
    client.request("POST", "/faults", json={"cap": {"mapilio.sequence": len(SHOTS) - 1}})
    answer = client.get(DETAIL, params={"sequence_uuid": UUID})
    assert (answer.status_code, answer.json()["message"]) == (413, ["Payload Too Large"])


def address(row, size):
    return f"/mapilio/im/{row['uploaded_hash']}/{row['filename']}/{size}"


@pytest.mark.parametrize("size", [1080, 2080])
def test_hash_and_name_lead_to_the_image(client, size):
    answer = client.get(address(images_of(client)[0], size))
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == (size, size * 3 // 4)


def test_other_sizes_and_images_that_were_taken_down_are_not_served(client):
    row = images_of(client)[0]
    assert client.get(address(row, 640)).status_code == 404
    client.request("POST", "/faults", json={"vanish": [str(row["id"])]})
    assert client.get(address(row, 1080)).status_code == 404


def test_panoramas_are_twice_as_wide_as_high():
    drive = replace(FIRST.drive, name="round", is_pano=True, count=1, quirks=())
    client = Client(create_app(World(tuple(shots(drive))), BASE_URL))
    row = images_of(client, sequence_uuid(drive))[0]
    assert (row["resolution"], row["fov"]) == ("5760x2880", "360")
    assert Image.open(BytesIO(client.get(address(row, 2080)).content)).size == (2080, 1040)
