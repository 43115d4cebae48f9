"""Lantern: two recorded pages and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.lantern import Lantern, parse_view
from geopin_assets_tests.sources.replay import client_of

CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.36, 4.91, 52.39))
PAGES = {
    "": {
        "views": [
            {"id": "a1", "lon": 4.9, "lat": 52.37, "quarter": 3, "by": "Ilse", "at": "2024-05-01T20:00:00Z",
             "lamp": "https://img.lantern.example/a1.jpg"},
            {"id": "a2", "lon": 4.9, "lat": 52.37, "quarter": 1, "by": "Ilse", "at": "2024-05-01T20:01:00Z"},
        ],
        "next": "p2",
    },
    "p2": {
        "views": [
            {"id": 17, "lon": 4.89, "lat": 52.38, "lamp": "https://img.lantern.example/17.jpg"},
            {"id": "a4", "lon": 5.9, "lat": 52.37, "lamp": "https://img.lantern.example/a4.jpg"},
        ]
    },
}  # fmt: skip
RECORD = PAGES[""]["views"][0]
parse = partial(parse_view, bbox=CELL.bbox)


def _expected(
    id_: str, lon: float, lat: float, at: datetime | None, heading_deg: float | None, by: str | None
) -> Capture:
    return Capture(
        source="lantern",
        source_capture_id=id_,
        lon=lon,
        lat=lat,
        captured_at=at,
        heading_deg=heading_deg,
        is_pano=False,
        sequence_id=None,
        creator=by,
        license="CC-BY-4.0",
        attribution=f"{by or 'unknown'}, Lantern, CC BY 4.0",
        page_url=f"https://lantern.example/view/{id_}",
        image_url=f"https://img.lantern.example/{id_}.jpg",
        image_version="",
        payload="{}",
    )


EXPECTED = [
    _expected("17", 4.89, 52.38, None, None, None),
    _expected("a1", 4.9, 52.37, datetime(2024, 5, 1, 20, tzinfo=UTC), 270.0, "Ilse"),
]
REJECTED = {"no_image": 1, "outside_cell": 1}


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Lantern:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=PAGES[request.url.params["after"]])

    return Lantern(client_of(transport or httpx.MockTransport(answer), "lantern"), "https://api.lantern.example")
