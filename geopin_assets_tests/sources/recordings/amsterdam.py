"""Amsterdam: three recorded pages and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.amsterdam import Amsterdam, parse_panorama
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:5056"
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.3655, 4.9, 52.375))
PAGES = [recorded(f"amsterdam/page_{number}.json") for number in (1, 2, 3)]
RECORD = PAGES[0]["_embedded"]["panoramas"][0]
parse = partial(parse_panorama, bbox=CELL.bbox, now=NOW)


def _expected(recording: str, day: str, pano: str, lon: float, lat: float, captured_at: datetime) -> Capture:
    shared: dict[str, Any] = {"source": "amsterdam", "image_version": "", "payload": "{}", "is_pano": True}
    return Capture(
        source_capture_id=f"{recording}_{pano}",
        lon=lon,
        lat=lat,
        captured_at=captured_at,
        heading_deg=0.0,
        sequence_id=recording,
        creator="Gemeente Amsterdam",
        license="CC-BY-4.0",
        attribution="Panoramabeelden, Gemeente Amsterdam, CC BY 4.0",
        page_url=f"{ENDPOINT}/panorama/panoramas/{recording}_{pano}/",
        image_url=f"http://127.0.0.1:5057/panorama/{day}/{recording}/{pano}/equirectangular/panorama_4000.jpg",
        **shared,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


EXPECTED = [
    _expected(
        "TMX7315120208-000073",
        "2016/06/09",
        "pano_0004_000087",
        4.89593266865189,
        52.3717022854865,
        _time("2016-03-24T08:11:35.868290"),
    ),
    _expected(
        "TMX7316010203-000009", "2016/03/04", "pano_0000_000084", 4.8936, 52.3679, _time("2016-12-28T10:25:57.320000")
    ),
    _expected(
        "TMX7316010203-000009", "2023/03/04", "pano_0000_000085", 4.895, 52.3679, _time("2023-09-09T12:05:52.175000")
    ),
    _expected(
        "TMX7316010203-000010", "2022/03/04", "pano_0000_000120", 4.888, 52.3715, _time("2022-07-10T14:01:03.823000")
    ),
    _expected(
        "TMX7316010203-000010", "2020/03/04", "pano_0000_000121", 4.8894, 52.3715, _time("2020-12-19T18:52:50.023000")
    ),
]
REJECTED = {"outside_cell": 1}


def answer(request: httpx.Request) -> httpx.Response:
    """The page that is asked for."""
    return httpx.Response(200, json=PAGES[int(request.url.params.get("page", "1")) - 1])


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Amsterdam:
    return Amsterdam(
        client_of(transport or httpx.MockTransport(answer), "amsterdam"), endpoint=ENDPOINT, now=lambda: NOW
    )
