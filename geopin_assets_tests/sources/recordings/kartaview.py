"""KartaView: two recorded pages of one listing and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.kartaview import KartaView
from geopin_assets.sources.kartaview.read import parse_photo
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.365, 4.9, 52.375))
PAGES = [recorded(f"kartaview/page_{number}.json") for number in (1, 2)]
RECORD = PAGES[0]["currentPageItems"][0]
parse = partial(parse_photo, bbox=CELL.bbox, now=NOW)


def _expected(id_: str, index: int, **fields: Any) -> Capture:
    shared: dict[str, Any] = {"source": "kartaview", "image_version": "", "payload": "{}", "license": "CC-BY-SA-4.0"}
    folder = "https://storage13.openstreetcam.org/files/photo/2024/6/23/lth"
    return Capture(
        source_capture_id=id_,
        sequence_id="9073001",
        creator="sample_user",
        attribution="© Grab and KartaView contributors, CC BY-SA 4.0",
        page_url=f"https://kartaview.org/details/9073001/{index}/track-info",
        image_url=f"{folder}/9073001_b550e_{id_}.jpg",
        **shared,
        **fields,
    )


EXPECTED = [
    _expected(
        "1994435177",
        1,
        lon=4.895168,
        lat=52.370216,
        captured_at=datetime(2024, 6, 9, 9, 11, 51, tzinfo=UTC),
        heading_deg=87.41,
        is_pano=False,
    ),
    _expected("1994435209", 2, lon=4.8953, lat=52.3703, captured_at=None, heading_deg=None, is_pano=False),
    _expected("1994435225", 3, lon=4.8954, lat=52.3704, captured_at=None, heading_deg=178.57, is_pano=True),
]
REJECTED = {"bad_coordinates": 1}


def form_of(request: httpx.Request) -> dict[str, str]:
    """What a request asks for."""
    return {key: values[0] for key, values in parse_qs(request.content.decode()).items()}


def answer(request: httpx.Request) -> httpx.Response:
    """The page that is asked for."""
    return httpx.Response(200, json=PAGES[int(form_of(request)["page"]) - 1])


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> KartaView:
    client = client_of(transport or httpx.MockTransport(answer), "kartaview")
    return KartaView(client, now=lambda: NOW, sleep=lambda _: None)
