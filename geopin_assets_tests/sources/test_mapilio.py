import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import ConfigurationError, PayloadError, PermanentError, TransientError
from geopin_assets.geo import distance_m
from geopin_assets.grid import Bbox, Cell, bounds, row_column
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.stand_ins.mapilio import image_id, sequence_uuid
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import Quirk, World, shots
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import mapilio, open_source
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapilio import ENABLED_BY, Mapilio, is_equirectangular, parse_sequence
from geopin_assets_tests.sandbox.transport import asgi_transport
from geopin_assets_tests.sources.recordings.mapilio import (
    CELL,
    DECODED,
    NOW,
    RECORD,
    REJECTED,
    SEQUENCE,
    TILE,
    answer,
    build,
    encoded,
    parse,
)
from geopin_assets_tests.sources.replay import client_of, recorded

POINTS = DECODED["map_points"]
ERRORS = recorded("mapilio/errors.json")


def source_on(handler: Any, **options: Any) -> Mapilio:
    return Mapilio(client_of(httpx.MockTransport(handler), "mapilio", attempts=2), now=lambda: NOW, **options)


def answering(sequence: httpx.Response, points: list[dict[str, Any]] = POINTS) -> Any:
    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/sequence-detail":
            return httpx.Response(sequence.status_code, content=sequence.content)
        here = (request.url.params["TILECOL"], request.url.params["TILEROW"]) == (str(TILE.x), str(TILE.y))
        return httpx.Response(200, content=encoded(points) if here else b"")

    return server


def settings(value: str = "1", profile: Profile = Profile.LIVE) -> Settings:
    return Settings(profile=profile, variables={ENABLED_BY: value})


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("value", ["", "0"])
def test_it_is_off_in_every_profile_and_says_why_and_how_to_switch_it_on(profile: Profile, value: str):
    reason = Mapilio.disabled_reason(settings(value, profile))
    assert reason is not None
    assert f"{ENABLED_BY}=1" in reason
    assert "permission" in reason
    assert Mapilio.disabled_reason(settings("1", profile)) is None


def test_it_cannot_be_opened_while_it_is_off():
    with pytest.raises(ConfigurationError, match=ENABLED_BY), open_source("mapilio", Settings()):
        pass
    with pytest.raises(ConfigurationError, match=ENABLED_BY), open_source("mapilio", settings("yes")):
        pass


def test_its_description_says_that_the_license_is_in_doubt():
    assert all(word in (mapilio.__doc__ or "") for word in ("contested", "permission", ENABLED_BY, "not as proven"))


def test_a_tile_is_asked_for_as_the_server_wants_it_and_a_sequence_once():
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(request)

    crawl = crawl_cell(source_on(server), CELL)
    tiles = [request for request in seen if request.url.host == "geo.mapilio.com"]
    details = [request for request in seen if request.url.host == "end.mapilio.com"]
    assert len(crawl.captures) == 2
    assert crawl.report.requests == len(seen) == len(tiles) + 1
    assert dict(tiles[0].url.params) == {
        "REQUEST": "GetTile",
        "SERVICE": "WMTS",
        "VERSION": "1.0.0",
        "LAYER": "mapilio:map_points",
        "STYLE": "",
        "TILEMATRIX": "EPSG:900913:14",
        "TILEMATRIXSET": "EPSG:900913",
        "FORMAT": "application/vnd.mapbox-vector-tile",
        "TILECOL": str(TILE.x),
        "TILEROW": str(TILE.y),
    }
    assert dict(details[0].url.params) == {"sequence_uuid": POINTS[0]["properties"]["sequence_uuid"]}


def test_cells_share_tiles_and_sequences():
    source = source_on(answer)
    quarters = [Cell(f"q{n}", box) for n, box in enumerate(CELL.bbox.quarters())]
    crawls = [crawl_cell(source, quarter) for quarter in quarters]
    assert sum(len(crawl.captures) for crawl in crawls) == 2
    assert sum(crawl.report.requests for crawl in crawls) == crawl_cell(source_on(answer), CELL).report.requests


def test_a_sequence_through_two_cells_is_asked_for_once():
    between = (TILE.position(POINTS[0]["xy"][0] / 4096, 0)[0] + TILE.position(POINTS[1]["xy"][0] / 4096, 0)[0]) / 2
    source = source_on(answer)
    west = crawl_cell(source, Cell("west", Bbox(4.88, 52.365, between, 52.375)))
    east = crawl_cell(source, Cell("east", Bbox(between, 52.365, 4.899, 52.375)))
    assert (len(west.captures), len(east.captures)) == (1, 1)
    assert (west.report.requests, east.report.requests) == (2, 0)


def test_sequences_of_points_outside_the_cell_are_not_asked_for():
    crawl = crawl_cell(source_on(answer), Cell("west", Bbox(4.8785, 52.365, 4.88, 52.375)))
    assert (crawl.captures, crawl.report.requests, dict(crawl.report.rejected)) == ([], 1, {})


def test_tiles_are_kept_on_disk_from_run_to_run(tmp_path):
    first = crawl_cell(source_on(answer, tiles_dir=tmp_path), CELL)
    second = crawl_cell(source_on(answer, tiles_dir=tmp_path), CELL)
    assert second.captures == first.captures
    assert (first.report.requests, second.report.requests) == (3, 1)  # two tiles, one sequence


def test_a_tile_without_a_body_is_an_empty_cell():
    crawl = crawl_cell(source_on(lambda _: httpx.Response(200, content=b"")), CELL)
    assert (crawl.captures, crawl.report.requests) == ([], 2)


def test_a_refused_tile_is_never_empty_but_tried_again_later(tmp_path):
    asked = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if request.url.path == "/api/sequence-detail":
            return httpx.Response(200, json=SEQUENCE)
        return httpx.Response(400, text="Problem communicating with GeoServer") if asked <= 2 else answer(request)

    source = source_on(server, tiles_dir=tmp_path)
    with pytest.raises(TransientError, match=r"mapilio.*Problem communicating with GeoServer"):
        crawl_cell(source, CELL)
    assert asked == 2
    assert len(crawl_cell(source, CELL).captures) == 2


def test_a_refused_sequence_is_a_permanent_error():
    server = answering(httpx.Response(400, json=ERRORS["missing"]["body"]))
    with pytest.raises(PermanentError, match=r"mapilio.*sequence_uuid"):
        crawl_cell(source_on(server), CELL)
    too_long = {"success": False, "message": ["Payload Too Large"], "error_code": 413}
    with pytest.raises(PermanentError, match=r"mapilio.*413"):
        crawl_cell(source_on(answering(httpx.Response(413, json=too_long))), CELL)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (encoded(POINTS)[:-40], TransientError),
        (b'{"features": [', TransientError),
        (b"{}", PayloadError),
        (b"<!doctype html><h1>Maintenance</h1>", PayloadError),
        (b"\x00\x01\x02", PayloadError),
    ],
    ids=["cut", "cut JSON", "JSON", "HTML", "bytes"],
)
def test_what_is_no_tile_is_an_error(body: bytes, error: type[Exception]):
    with pytest.raises(error, match="mapilio"):
        crawl_cell(source_on(lambda _: httpx.Response(200, content=body)), CELL)


def test_points_of_a_sequence_that_is_gone_are_left_out_as_without_image():
    server = answering(httpx.Response(200, json=ERRORS["gone"]["body"]), POINTS[:2])
    crawl = crawl_cell(source_on(server), CELL)
    assert (crawl.captures, dict(crawl.report.rejected)) == ([], {"no_image": 2})


@pytest.mark.parametrize("body", [{}, [], None, {"data": {"data": []}}, {"data": 7}, {"success": True}])
def test_a_sequence_of_another_shape_is_not_one_that_is_gone(body: Any):
    with pytest.raises(PayloadError, match="mapilio"):
        crawl_cell(source_on(answering(httpx.Response(200, content=json.dumps(body)), POINTS[:1])), CELL)


def test_an_image_without_id_hides_no_other():
    images = parse_sequence({"data": [None, 5, {"id": None}, {"id": {}}, *SEQUENCE["data"]]}, "here")
    assert list(images) == ["12345678", "12345679"]


def test_the_same_point_twice_counts_once():
    report = CrawlReport()
    source = source_on(answering(httpx.Response(200, json=SEQUENCE), [*POINTS, *POINTS[1:]]))
    assert len(list(source.captures(CELL, report))) == len(POINTS)
    assert report.duplicates == 2


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("tile", {"id": None}, Reason.BAD_ID),
        ("tile", {"id": 1.5}, Reason.BAD_ID),
        ("image", {"uploaded_hash": None}, Reason.NO_IMAGE),
        ("image", {"uploaded_hash": "../../etc"}, Reason.NO_IMAGE),
        ("image", {"filename": ".."}, Reason.NO_IMAGE),
        ("image", {"filename": "a\nb.jpg"}, Reason.NO_IMAGE),
        ("image", {"filename": ""}, Reason.NO_IMAGE),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out_for_a_reason(part: str, change: dict[str, Any], reason: Reason):
    result = parse(RECORD | {part: RECORD[part] | change})
    assert isinstance(result, Rejected)
    assert result.reason == reason


def capture_of(**change: Any) -> Capture:
    result = parse(RECORD | {"image": RECORD["image"] | change})
    assert isinstance(result, Capture)
    return result


def test_names_are_quoted_and_lead_nowhere_else():
    assert capture_of(filename="a b?c#d.jpg").image_url.endswith("/a%20b%3Fc%23d.jpg/2080")
    assert capture_of(uploaded_hash="@evil.example").image_url.startswith("https://cdn.mapilio.com/im/%40evil.example/")


@pytest.mark.parametrize(
    ("resolution", "fov", "is_pano"),
    [
        ("4000x2000", None, True),
        ("5760X2880", "360", True),
        ("2160x1080", "62.1", False),
        ("2000x4000", None, False),
        ("4160x2336", None, False),
        ("3000x3000", None, False),
        ("6000x2000", None, False),
        ("0x0", None, False),
        ("4000", None, False),
        (None, "360", False),
        (4000, None, False),
    ],
)
def test_panoramas_are_twice_as_wide_as_high(resolution: Any, fov: Any, is_pano: bool):
    assert is_equirectangular(resolution, fov) is is_pano


@pytest.mark.parametrize("junk", [None, "", "1970-01-01 00:00:00", "2031-01-01 00:00:00", 5])
def test_junk_dates_are_unknown_and_missing_ones_are_taken_from_the_tile(junk: Any):
    captured_at = capture_of(capture_time=junk).captured_at
    assert captured_at == (capture_of().captured_at if junk is None else None)


def test_the_heading_of_the_sequence_goes_before_the_tiles():
    assert capture_of(heading=360).heading_deg == 0.0
    assert capture_of(heading=12).heading_deg == 12.0
    assert capture_of(heading=None).heading_deg == 87.0


# Against the sandbox's stand-in

SHOTS = build_world().of("mapilio")
PLACES = sorted({place for shot in SHOTS if (place := row_column(shot.lon, shot.lat)) is not None})
CELLS = [Cell(f"r{row}c{column}", bounds(row, column)) for row, column in PLACES]
URL = "http://127.0.0.1:1"


def on_stand_in(*faults: dict[str, Any], world: World | None = None) -> Mapilio:
    transport = asgi_transport(create_app(world or build_world(), URL))
    console = httpx.Client(transport=transport, base_url=URL)
    for fault in faults:
        assert console.post("/faults", json=fault).status_code == 200
    client = client_of(transport, "mapilio", attempts=2, deadline_s=2)
    url = f"{URL}/mapilio"
    return Mapilio(client, endpoint=url, detail_endpoint=url, images=f"{url}/im", now=lambda: NOW)


def test_all_of_the_sandbox_is_found():
    source = on_stand_in()
    found = {c.source_capture_id: c for cell in CELLS for c in crawl_cell(source, cell).captures}
    assert set(found) == {image_id(shot) for shot in SHOTS}
    for shot in SHOTS:
        capture = found[image_id(shot)]
        assert capture.captured_at == shot.captured_at
        assert distance_m(capture.lon, capture.lat, shot.lon, shot.lat) < 0.4
        assert (capture.heading_deg is None) == (shot.quirk is Quirk.NO_HEADING)
        assert (capture.creator, capture.sequence_id) == (shot.drive.creator, sequence_uuid(shot.drive))


def test_what_was_taken_down_is_gone_for_a_new_run():
    gone = image_id(SHOTS[0])
    source = on_stand_in({"vanish": [gone]})
    found = [c.source_capture_id for cell in CELLS for c in crawl_cell(source, cell).captures]
    assert sorted([*found, gone]) == sorted(image_id(shot) for shot in SHOTS)


def test_a_drive_of_panoramas_over_tiles_and_cells_is_found_whole():
    drive = replace(
        SHOTS[0].drive,
        name="long",
        from_m=-3000,
        step_m=20,
        count=300,
        is_pano=True,
    )
    long = World(tuple(shots(drive)))
    source = on_stand_in(world=long)
    places = sorted({place for shot in long.shots if (place := row_column(shot.lon, shot.lat)) is not None})
    crawls = [crawl_cell(source, Cell(f"r{row}c{column}", bounds(row, column))) for row, column in places]
    found = [capture for crawl in crawls for capture in crawl.captures]
    assert len(places) > 4
    assert sorted(c.source_capture_id for c in found) == sorted(image_id(shot) for shot in long.shots)
    assert all(c.is_pano and c.image_url.endswith("/2080") for c in found)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"source": "mapilio", "kind": "status", "status": 503}, TransientError),
        ({"source": "mapilio", "kind": "html"}, PayloadError),
        ({"source": "mapilio", "kind": "truncated"}, TransientError),
        ({"source": "mapilio", "kind": "reset"}, TransientError),
        ({"source": "mapilio", "kind": "drift", "rename": {"data": "images"}}, PayloadError),
        ({"source": "mapilio", "kind": "drift", "rename": {"uploaded_hash": "hash"}}, PayloadError),
        ({"cap": {"mapilio": 4}}, TransientError),
        ({"cap": {"mapilio.sequence": 4}}, PermanentError),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_no_fault_looks_like_an_empty_cell(fault: dict[str, Any], error: type[Exception]):
    with pytest.raises(error, match="mapilio"):
        crawl_cell(on_stand_in(fault), CELLS[0])


@pytest.mark.parametrize("name", ["capture_time", "resolution"])
def test_a_property_of_a_tile_that_is_no_text_costs_nothing_else(name: str, tmp_path: Path):
    """Bytes that are no UTF-8 come out of a tile as bytes."""
    value = DECODED["map_points"][0]["properties"][name].encode()

    def server(request: httpx.Request) -> httpx.Response:
        said = answer(request).content
        is_tile = "TILECOL" in request.url.params
        return httpx.Response(200, content=said.replace(value, b"\xff" * len(value)) if is_tile else said)

    crawl = crawl_cell(build(tmp_path, httpx.MockTransport(server)), CELL)
    assert (len(crawl.captures), dict(crawl.report.rejected)) == (2, REJECTED)
