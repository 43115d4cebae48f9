"""Mapillary: a search answer and the captures it means."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture, HeadingFrom, PositionFrom
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient, Quota
from geopin_assets.sources.mapillary import Mapillary
from geopin_assets.sources.mapillary.read import parse_image
from geopin_assets_tests.sources.replay import DATA, client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:5058"
TILES_ENDPOINT = "http://127.0.0.1:5059"
TOKEN = "MLY|123|very-secret"
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.362, 4.9093, 52.38))
ANSWER = recorded("mapillary/images.json")
ERRORS: list[dict[str, Any]] = recorded("mapillary/errors.json")
TILE = (DATA / "mapillary" / "tile_14_8414_5384.mvt").read_bytes()
RECORD = ANSWER["data"][0]
parse = partial(parse_image, bbox=CELL.bbox, now=NOW)


def _expected(id_: str, link: str, creator: str | None, **fields: Any) -> Capture:
    known = {"position_from": PositionFrom.COMPUTED, "heading_from": HeadingFrom.COMPUTED}
    return Capture(
        source="mapillary",
        source_capture_id=id_,
        creator=creator,
        license="CC-BY-SA-4.0",
        attribution=f"Photo {f'by {creator} ' if creator else ''}on Mapillary, CC BY-SA 4.0",
        page_url=f"https://www.mapillary.com/app/?pKey={id_}&focus=photo",
        image_url=f"https://scontent-ams2-1.xx.fbcdn.net/m1/v/t6/{link}ccb=10-5&oh=00_&oe=6A5C0000&_nc_sid=201bca",
        image_version="",
        payload="{}",
        **known | fields,
    )


EXPECTED = [
    _expected(
        "1933525276802129",
        "An21291024?stp=s1024x1024&",
        "sample_user",
        lon=4.8951694,
        lat=52.3702136,
        captured_at=datetime(2019, 6, 14, 10, 24, 41, tzinfo=UTC),
        heading_deg=86.9036,
        is_pano=False,
        sequence_id="f1ihYvTZNTEhCCnRjyMAuQ",
    ),
    _expected(
        "309999000000001",
        "An00011024?stp=s1024x1024&",
        None,
        lon=4.8949001,
        lat=52.3699003,
        captured_at=datetime(2018, 9, 24, 3, 33, 16, tzinfo=UTC),
        heading_deg=0.0,
        is_pano=False,
        sequence_id="zielicg0a16erifhavnqin",
        position_from=PositionFrom.DEVICE,
        heading_from=HeadingFrom.DEVICE,
    ),
    _expected(
        "506983104207715",
        "An7715original?",
        "sample_user_2",
        lon=4.8955225,
        lat=52.370100099999995,
        captured_at=datetime(2023, 7, 19, 10, 44, 11, 500000, tzinfo=UTC),
        heading_deg=211.7742,
        is_pano=True,
        sequence_id="Pwj2Id3QyEumbNfpit58SK",
    ),
]
REJECTED = {"no_image": 1, "outside_cell": 1}


def client_on(transport: httpx.BaseTransport, **options: Any) -> HttpClient:
    """A client that neither waits nor limits, whatever kind of request."""
    quotas = {kind: Quota(per_second=1e9, per_day=quota.per_day) for kind, quota in Mapillary.quotas.items()}
    return client_of(transport, "mapillary", quotas=quotas, **options)


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Mapillary:
    transport = transport or httpx.MockTransport(lambda request: httpx.Response(200, json=ANSWER))
    return source_on(client_on(transport), tiles_dir=folder)


def source_on(client: HttpClient, **options: Any) -> Mapillary:
    return Mapillary(client, token=TOKEN, endpoint=ENDPOINT, tiles_endpoint=TILES_ENDPOINT, now=lambda: NOW, **options)
