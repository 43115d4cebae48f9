import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import ConfigurationError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.panoramax import Panoramax, parse_picture
from geopin_assets_tests.sources.recordings.panoramax import ANSWER, CELL, ENDPOINT, NOW, RECORD, parse
from geopin_assets_tests.sources.replay import client_of, recorded

DAM = Bbox(4.89, 52.37, 4.9, 52.38)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The recorded feature with one value replaced; `path` is separated by slashes."""
    feature = deepcopy(RECORD)
    parent, last = feature, path.split("/")[-1]
    for key in path.split("/")[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return feature


def parsed(path: str, value: Any) -> Capture:
    result = parse(changed(path, value))
    assert isinstance(result, Capture)
    return result


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("id", "", Reason.BAD_ID),
        ("id", "a\nb", Reason.BAD_ID),
        ("id", "x" * 201, Reason.BAD_ID),
        ("id", None, Reason.BAD_ID),
        ("properties", [], Reason.MALFORMED),
        ("properties", ..., Reason.MALFORMED),
        ("properties/geovisio:status", "preparing", Reason.NOT_READY),
        ("geometry", ..., Reason.BAD_COORDINATES),
        ("geometry", None, Reason.BAD_COORDINATES),
        ("geometry/type", "LineString", Reason.BAD_COORDINATES),
        ("geometry/coordinates", [float("nan"), 52.37], Reason.BAD_COORDINATES),
        ("geometry/coordinates", [4.89], Reason.BAD_COORDINATES),
        ("geometry/coordinates", [0, 0], Reason.BAD_COORDINATES),
        ("geometry/coordinates", ["x", "y"], Reason.BAD_COORDINATES),
        ("geometry/coordinates", [52.37, 4.89], Reason.OUTSIDE_CELL),
        ("geometry/coordinates", [4.9, 52.37], Reason.OUTSIDE_CELL),
        ("properties/license", "CC-BY-NC-4.0", Reason.LICENSE_NOT_OPEN),
        ("properties/license", ["CC0-1.0"], Reason.LICENSE_NOT_OPEN),
        ("properties/license", ..., Reason.LICENSE_NOT_OPEN),
        ("assets", {}, Reason.NO_IMAGE),
        ("assets", {"hd": {"href": "file:///etc/passwd"}}, Reason.NO_IMAGE),
        ("assets", {"hd": {"href": "http://[/hd.jpg"}}, Reason.NO_IMAGE),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out_for_a_reason(path: str, value: Any, reason: Reason):
    result = parse(changed(path, value))
    assert isinstance(result, Rejected)
    assert result.reason == reason


@pytest.mark.parametrize(
    ("azimuth", "heading_deg"),
    [
        (0, 0),
        (359, 359),
        (360, 0),
        (-10, 350),
        (449, 89),
        (720, None),  # no turn of any camera
        (-1, None),  # what many write that know none
        (-1e-20, 0),
        ("90", 90),
        (None, None),
        ("north", None),
        (True, None),
        (float("inf"), None),
    ],
)
def test_headings_are_brought_into_one_turn(azimuth: Any, heading_deg: float | None):
    assert parsed("properties/view:azimuth", azimuth).heading_deg == heading_deg


@pytest.mark.parametrize(
    "junk", ["0026-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "yesterday", "", None, 5]
)
def test_junk_dates_are_unknown(junk: Any):
    assert parsed("properties/datetime", junk).captured_at is None


def test_the_field_of_view_says_what_is_a_panorama():
    assert not parsed("properties/pers:interior_orientation", {"field_of_view": 359}).is_pano
    assert parsed("properties/pers:interior_orientation", {"field_of_view": 360}).is_pano
    assert not parsed("properties/pers:interior_orientation", None).is_pano
    cropped = {"field_of_view": 360, "sensor_array_dimensions": [15872, 7936], "visible_area": [0, 2538, 0, 2792]}
    assert not parsed("properties/pers:interior_orientation", cropped).is_pano
    assert parsed("properties/pers:interior_orientation", cropped | {"visible_area": [0, 0, 0, 0]}).is_pano


def test_the_payload_holds_no_person_and_nothing_volatile():
    assert "nobody" in json.dumps(RECORD)  # the Artist of the EXIF, repeated as a provider
    payload = parse(RECORD).payload
    assert "nobody" not in payload
    for changing in (
        changed("properties/updated", "2030-01-01"),
        changed("links", []),
        changed("properties/exif/Exif.Image.Artist", "X"),
    ):
        assert parse(changing).payload == payload


def test_an_oversize_record_keeps_a_bounded_payload():
    payload = parsed("properties/annotations", ["x" * 100_000]).payload
    assert len(payload) < 16_384
    assert json.loads(payload)["truncated"] is True
    assert json.loads(payload)["id"] == RECORD["id"]


def test_the_federated_catalog_names_the_instance_by_a_via_link():
    first, second = recorded("panoramax/search_federated.json")["features"]
    pano = parse_picture(first, DAM, Panoramax.endpoint, NOW)
    flat = parse_picture(second, DAM, Panoramax.endpoint, NOW)
    assert isinstance(pano, Capture) and isinstance(flat, Capture)
    assert pano.attribution == "sample_user – Panoramax / panoramax.openstreetmap.fr, CC-BY-SA-4.0"
    assert (pano.is_pano, pano.image_url.rsplit("/", 1)[1]) == (True, "hd.jpg")
    assert flat.attribution == "sample_org – Panoramax / panoramax.ign.fr, etalab-2.0"
    assert flat.image_url.startswith("https://panoramax.ign.fr/derivates/")
    assert flat.page_url == "https://api.panoramax.xyz/#focus=pic&pic=47784c93-1fba-4fdb-94a5-bace9e75bef0"


def features_in(request: httpx.Request) -> list[dict[str, Any]]:
    """What an instance with the recorded pictures answers."""
    west, south, east, north = map(float, request.url.params["bbox"].split(","))
    inside = [
        f
        for f in ANSWER["features"]
        if west <= f["geometry"]["coordinates"][0] <= east and south <= f["geometry"]["coordinates"][1] <= north
    ]
    return inside[: int(request.url.params["limit"])]


def only_search(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.MockTransport:
    """A server that offers nothing but search: no tiles, no list of collections."""
    return httpx.MockTransport(
        lambda asked: answer(asked) if asked.url.path.endswith("/api/search") else httpx.Response(404)
    )


def test_a_full_answer_is_divided_until_everything_is_found():
    asked: list[str] = []

    def instance(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["bbox"])
        return httpx.Response(200, json={"features": features_in(request)})

    source = Panoramax(client_of(only_search(instance), "panoramax"), urls=[ENDPOINT], limit=2, now=lambda: NOW)
    crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 3
    assert len(asked) == 4 * crawl.report.splits + 1
    assert crawl.report.requests == len(asked) + 2  # one for the grid, one for what was taken down
    assert asked[0] == "4.850000,52.350000,4.900000,52.400000"


def test_instances_are_united_by_id_and_the_first_wins():
    def instance(request: httpx.Request) -> httpx.Response:
        features = deepcopy(features_in(request))
        if request.url.host == "second":
            features[0]["id"] = "only-on-the-second"
        return httpx.Response(200, json={"features": features})

    client = client_of(only_search(instance), "panoramax")
    crawl = crawl_cell(Panoramax(client, urls=["http://first", "http://second"], now=lambda: NOW), CELL)
    assert len(crawl.captures) == 4
    assert crawl.report.duplicates == 2
    pages = {capture.source_capture_id: capture.page_url.split("/#")[0] for capture in crawl.captures}
    assert pages.pop("only-on-the-second") == "http://second"
    assert set(pages.values()) == {"http://first"}


def test_one_instance_that_fails_fails_the_cell():
    def instance(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ANSWER) if request.url.host == "first" else httpx.Response(503)

    client = client_of(httpx.MockTransport(instance), "panoramax")
    with pytest.raises(TransientError):
        crawl_cell(Panoramax(client, urls=["http://first", "http://second"]), CELL)


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many"])
def test_a_limit_the_server_would_refuse_is_a_configuration_error(limit: str):
    settings = Settings(variables={"GEOPIN_PANORAMAX_LIMIT": limit})
    assert "GEOPIN_PANORAMAX_LIMIT" in (Panoramax.disabled_reason(settings) or "")
    with pytest.raises(ConfigurationError, match="GEOPIN_PANORAMAX_LIMIT"), open_source("panoramax", settings):
        pass


def test_a_wrong_address_is_a_configuration_error():
    settings = Settings(variables={"GEOPIN_PANORAMAX_URLS": "https://good.example, ftp://bad.example"})
    assert "ftp://bad.example" in (Panoramax.disabled_reason(settings) or "")


@pytest.mark.parametrize("url", ["https://api.panoramax.xyz", "http://127.0.0.1.example:5000", "http://10.0.0.5"])
def test_the_sandbox_asks_no_other_machine(url: str):
    listed = {"GEOPIN_PANORAMAX_URLS": f"http://localhost:5000,{url}"}
    assert "GEOPIN_PROFILE=live" in (Panoramax.disabled_reason(Settings(variables=listed)) or "")
    assert Panoramax.disabled_reason(Settings(profile=Profile.LIVE, variables=listed)) is None


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        (Settings(profile=Profile.LIVE), ["https://api.panoramax.xyz/api/search"]),
        (Settings(sandbox_port=99), ["http://127.0.0.1:99/panoramax/api/search"]),
        (
            Settings(
                profile=Profile.LIVE,
                variables={"GEOPIN_PANORAMAX_URLS": "https://a.example/, https://b.example,https://a.example"},
            ),
            ["https://a.example/api/search", "https://b.example/api/search"],
        ),
        (
            Settings(variables={"GEOPIN_PANORAMAX_URLS": "http://127.0.0.1:5000"}),
            ["http://127.0.0.1:5000/api/search"],
        ),
    ],
)
def test_the_profile_or_the_list_says_who_is_asked(settings: Settings, hosts: list[str], tmp_path: Path):
    asked: list[str] = []

    def instance(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.copy_with(query=None)))
        return httpx.Response(200, json={"features": []})

    rate = {"GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "1000"}
    settings = settings.model_copy(update={"data_dir": tmp_path, "variables": {**settings.variables, **rate}})
    with open_source("panoramax", settings, transport=only_search(instance)) as source:
        assert crawl_cell(source, Cell("dam", DAM)).captures == []
    assert asked == hosts


def test_records_that_are_no_features_are_counted():
    body = {"features": [None, 5, {}, *ANSWER["features"]]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    crawl = crawl_cell(Panoramax(client_of(transport, "panoramax"), now=lambda: NOW), CELL)
    assert len(crawl.captures) == 3
    assert crawl.report.rejected["malformed"] == 3


def lone(azimuth: Any, exif: Any, *neighbors: str) -> float | None:
    """The heading of the recorded picture with this azimuth and EXIF, and neighbors in its sequence."""
    feature = changed("properties/view:azimuth", azimuth)
    feature["properties"]["exif"] = exif
    feature["links"] = [{"rel": rel, "href": f"{ENDPOINT}/x"} for rel in ("self", "collection", *neighbors)]
    result = parse(feature)
    assert isinstance(result, Capture)
    return result.heading_deg


@pytest.mark.parametrize("azimuth", [0, 0.0, "0", 360])
def test_north_is_believed_of_a_lone_picture_only_if_something_told_it(azimuth: Any):
    for told in (
        "Exif.GPSInfo.GPSImgDirection",
        "Exif.GPSInfo.GPSTrack",
        "Xmp.GPano.PoseHeadingDegrees",
        "Xmp.Camera.Yaw",
    ):
        assert lone(azimuth, {told: "0/1"}) == 0
        assert lone(azimuth, {told: "0/0"}) is None
        assert lone(azimuth, {f"{told}Ref": "T"}) is None
    assert lone(azimuth, {"MAPCompassHeading": {"TrueHeading": 0}}) == 0
    assert lone(azimuth, {"Exif.GPSInfo.GPSLatitude": "52/1 22/1 12/1"}) is None
    assert lone(azimuth, {}) is None
    assert lone(azimuth, None) == 0  # a server that does not show EXIF
    assert lone(azimuth, {}, "next") == lone(azimuth, {}, "prev") == 0  # from its neighbor
    assert lone(12, {}) == 12


def test_a_real_server_says_0_of_lone_pictures_without_a_direction():
    """19 photos of Stuttgart that an instance of geovisio 2.15 was given: two of them in a sequence."""
    features = recorded("panoramax/lone_pictures.json")["features"]
    captures = [parse_picture(feature, Bbox(-180, -90, 180, 90), ENDPOINT, NOW) for feature in features]
    assert [c.heading_deg for c in captures if isinstance(c, Capture)] == [None, 42, 42, None]


@pytest.mark.parametrize("href", ["/api/pictures/1/hd.jpg", "../../../../pictures/1/hd.jpg"])
def test_an_address_that_is_relative_leads_to_the_instance(href: str):
    feature = changed("assets", {"hd": {"href": href, "type": "image/jpeg; charset=binary"}})
    own = f"{ENDPOINT}/api/collections/c/items/i/"
    feature["links"] = [{"rel": "self", "href": own}]
    result = parse(feature)
    assert isinstance(result, Capture) and result.image_url == f"{ENDPOINT}/api/pictures/1/hd.jpg"


@pytest.mark.parametrize("status", [400, 502])
def test_a_limit_that_an_instance_refuses_is_halved_and_remembered(status: int):
    asked: list[int] = []

    def instance(request: httpx.Request) -> httpx.Response:
        asked.append(int(request.url.params["limit"]))
        return (
            httpx.Response(status) if asked[-1] > 300 else httpx.Response(200, json={"features": features_in(request)})
        )

    source = Panoramax(client_of(only_search(instance), "panoramax", attempts=1), urls=[ENDPOINT], now=lambda: NOW)
    assert [len(crawl_cell(source, CELL).captures) for _ in range(2)] == [3, 3]
    assert asked == [1000, 500, 250, 250]


def test_a_full_answer_below_a_lowered_limit_is_divided():
    def instance(request: httpx.Request) -> httpx.Response:
        limit = int(request.url.params["limit"])
        features = [deepcopy(ANSWER["features"][0]) | {"id": f"{n:04d}"} for n in range(40)]
        for n, feature in enumerate(features):
            feature["geometry"] = {"type": "Point", "coordinates": [4.851 + n * 1e-3, 52.351 + n * 1e-3]}
        west, south, east, north = map(float, request.url.params["bbox"].split(","))
        inside = [f for f in features if west <= f["geometry"]["coordinates"][0] <= east]
        inside = [f for f in inside if south <= f["geometry"]["coordinates"][1] <= north]
        return httpx.Response(400) if limit > 15 else httpx.Response(200, json={"features": inside[:limit]})

    source = Panoramax(client_of(only_search(instance), "panoramax"), urls=[ENDPOINT], limit=60, now=lambda: NOW)
    crawl = crawl_cell(source, CELL)
    assert len(crawl.captures) == 40 and crawl.report.splits and crawl.report.is_complete


def test_a_password_in_an_address_is_in_no_capture():
    result = parse_picture(deepcopy(RECORD), CELL.bbox, "https://me:s3cret@panoramax.example", NOW)
    assert isinstance(result, Capture) and "s3cret" not in repr(result)
    assert result.page_url == f"https://panoramax.example/#focus=pic&pic={RECORD['id']}"
