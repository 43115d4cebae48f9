"""STAC: two recorded pages and a collection, and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.stac import Stac, parse_item
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ROOT = "http://127.0.0.1:5055/api"
CELL = Cell("nh-amsterdam-test", Bbox(4.85, 52.35, 4.9, 52.4))
PAGES = [recorded("stac/page_1.json"), recorded("stac/page_2.json")]
COLLECTION = recorded("stac/collection.json")
DRIVE, WALK = "190cdf96-d547-47fd-afdf-47f71efb7714", "fb7a5243-7047-4f95-a62d-7d38f40fcc1b"
RECORD = PAGES[0]["features"][0]
parse = partial(parse_item, bbox=CELL.bbox, now=NOW, url=ROOT, prefix="127.0.0.1:5055/api")


def _expected(id_: str, collection: str, asset: str, size: str, **fields: Any) -> Capture:
    shared: dict[str, Any] = {
        "source": "stac",
        "creator": "Default account",
        "license": "CC-BY-SA-4.0",
        "attribution": "Default account, CC-BY-SA-4.0",
        "payload": "{}",
    }
    return Capture(
        source_capture_id=f"127.0.0.1:5055/api/{collection}/{id_}",
        sequence_id=collection,
        page_url=f"{ROOT}/collections/{collection}/items/{id_}",
        image_url=f"{ROOT}/pictures/{id_}/{asset}.jpg",
        image_version=size,
        **shared,
        **fields,
    )


EXPECTED = [
    _expected(
        "b3e67602-6b38-4f7f-8ac1-43fa10eeb118",
        DRIVE,
        "sd",
        "163000",
        lon=4.893176,
        lat=52.37302,
        captured_at=datetime(2024, 6, 1, 8, 0, 3, tzinfo=UTC),
        heading_deg=80.0,
        is_pano=False,
    ),
    _expected(
        "b57be961-03b3-46e4-ab2a-96c31cfa67d4",
        DRIVE,
        "sd",
        "158142",
        lon=4.89476,
        lat=52.3732,
        captured_at=datetime(2024, 6, 1, 8, 0, 30, tzinfo=UTC),
        heading_deg=80.0,
        is_pano=False,
    ),
    _expected(
        "edac8dd5-0bd1-4957-8311-9b4ea0711267",
        DRIVE,
        "sd",
        "158883",
        lon=4.893,
        lat=52.373,
        captured_at=datetime(2024, 6, 1, 8, 0, tzinfo=UTC),
        heading_deg=80.0,
        is_pano=False,
    ),
    _expected(
        "9239b2c7-15e1-4f5b-a7ed-75591cf69fb6",
        WALK,
        "hd",
        "417082",
        lon=4.8804,
        lat=52.36,
        captured_at=datetime(2023, 9, 10, 6, 0, 10, tzinfo=UTC),
        heading_deg=20.0,
        is_pano=True,
    ),
]
REJECTED: dict[str, int] = {}


def replay(request: httpx.Request) -> httpx.Response:
    """The first page for a search, the second for its `next` link, the one collection."""
    if request.url.path == f"/api/collections/{DRIVE}":
        return httpx.Response(200, json=COLLECTION)
    return httpx.Response(200, json=PAGES["startAfterRank" in request.url.params])


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Stac:
    transport = transport or httpx.MockTransport(replay)
    return Stac(client_of(transport, "stac"), urls=[ROOT], now=lambda: NOW)
