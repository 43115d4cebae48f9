"""Panoramax: a recorded search answer and the captures it means."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.panoramax import Panoramax, parse_picture
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:5055"
CELL = Cell("nh-amsterdam-test", Bbox(4.85, 52.35, 4.9, 52.4))
ANSWER = recorded("panoramax/search.json")
RECORD = ANSWER["features"][0]
parse = partial(parse_picture, bbox=CELL.bbox, endpoint=ENDPOINT, now=NOW)


def _expected(id_: str, size: str, file_size: str, **fields: Any) -> Capture:
    shared: dict[str, Any] = {
        "source": "panoramax",
        "creator": "Default account",
        "license": "CC-BY-SA-4.0",
        "attribution": "Default account – Panoramax / 127.0.0.1:5055, CC-BY-SA-4.0",
        "payload": "{}",
    }
    return Capture(
        source_capture_id=id_,
        page_url=f"{ENDPOINT}/#focus=pic&pic={id_}",
        image_url=f"{ENDPOINT}/api/pictures/{id_}/{size}.jpg",
        image_version=file_size,
        **shared,
        **fields,
    )


EXPECTED = [
    _expected(
        "58b2fc00-6246-4277-8914-6b221842f629",
        "sd",
        "164972",
        lon=4.896872,
        lat=52.37344,
        captured_at=datetime(2024, 6, 1, 8, 1, 6, tzinfo=UTC),
        heading_deg=80.0,
        is_pano=False,
        sequence_id="190cdf96-d547-47fd-afdf-47f71efb7714",
    ),
    _expected(
        "c3ae8aad-306e-487d-bd71-8ac7e8114cdb",
        "hd",
        "405339",
        lon=4.881,
        lat=52.36,
        captured_at=datetime(2023, 9, 10, 6, 0, 25, tzinfo=UTC),
        heading_deg=50.0,
        is_pano=True,
        sequence_id="fb7a5243-7047-4f95-a62d-7d38f40fcc1b",
    ),
    _expected(
        "d6769ece-edd2-4cb3-ba30-ee8a3358b8e3",
        "sd",
        "169431",
        lon=4.897048,
        lat=52.37346,
        captured_at=datetime(2024, 6, 1, 8, 1, 9, tzinfo=UTC),
        heading_deg=80.0,
        is_pano=False,
        sequence_id="190cdf96-d547-47fd-afdf-47f71efb7714",
    ),
]
REJECTED = {"outside_cell": 1}


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Panoramax:
    transport = transport or httpx.MockTransport(lambda request: httpx.Response(200, json=ANSWER))
    return Panoramax(client_of(transport, "panoramax"), urls=[ENDPOINT], now=lambda: NOW)
