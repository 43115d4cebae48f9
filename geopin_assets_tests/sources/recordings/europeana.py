"""Europeana: three recorded pages and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.europeana import Europeana
from geopin_assets.sources.europeana.read import parse_item
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:5062"
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.3655, 4.9, 52.375))
PAGES = [recorded(f"europeana/page_{number}.json") for number in (1, 2, 3)]
CURSORS = ["*", *(page["nextCursor"] for page in PAGES[:2])]
RECORD = PAGES[0]["items"][0]
parse = partial(parse_item, bbox=CELL.bbox, now=NOW)


def _expected(number: int, **fields: Any) -> Capture:
    return Capture(
        source="europeana",
        source_capture_id=f"/90402/SK_C_{number}",
        heading_deg=None,
        is_pano=False,
        sequence_id=None,
        page_url=f"https://www.europeana.eu/item/90402/SK_C_{number}",
        image_version="",
        payload="{}",
        **fields,
    )


EXPECTED = [
    _expected(
        5,
        lon=4.88969,
        lat=52.37403,
        captured_at=None,
        creator=None,
        license="PDM-1.0",
        attribution="Rijksmuseum, via Europeana, PDM-1.0",
        image_url="https://example.invalid/full.jpg",
    ),
    _expected(
        6,
        lon=4.8899,
        lat=52.3741,
        captured_at=datetime(2008, 4, 4, tzinfo=UTC),
        creator="J. Olie",
        license="CC-BY-SA-4.0",
        attribution="J. Olie, Rijksmuseum, via Europeana, CC-BY-SA-4.0",
        image_url="https://api.europeana.eu/thumbnail/v2/url.json?uri=SAMPLE&size=w400&type=IMAGE",
    ),
]
REJECTED = {"license_not_open": 1, "no_position": 2}


def answer(request: httpx.Request) -> httpx.Response:
    """The page that a cursor leads to."""
    return httpx.Response(200, json=PAGES[CURSORS.index(request.url.params["cursor"])])


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Europeana:
    client = client_of(transport or httpx.MockTransport(answer), "europeana")
    return Europeana(client, api_key="very-secret", endpoint=ENDPOINT, now=lambda: NOW)
