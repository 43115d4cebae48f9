"""Wikimedia Commons: a search in two parts, its thumbnails, and the captures they mean."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.wikimedia_commons import WikimediaCommons
from geopin_assets.sources.wikimedia_commons.read import parse_page, with_thumbnail
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CELL = Cell("nh-amsterdam-r090c052", Bbox(4.8936, 52.37, 4.9229, 52.388))
PARTS = [recorded(f"wikimedia_commons/answer_{number}.json") for number in (1, 2)]
THUMBNAILS = recorded("wikimedia_commons/thumbnails.json")
RECORD = with_thumbnail(PARTS[0]["query"]["pages"][0] | PARTS[1]["query"]["pages"][0], THUMBNAILS["query"]["pages"][0])
parse = partial(parse_page, bbox=CELL.bbox, now=NOW)
_FILES = "https://upload.wikimedia.org/wikipedia/commons"


def _expected(id_: str, name: str, license_id: str, author: str, **fields: Any) -> Capture:
    shared: dict[str, Any] = {"source": "wikimedia_commons", "heading_deg": None, "is_pano": False, "sequence_id": None}
    return Capture(
        source_capture_id=id_,
        license=license_id,
        attribution=f"{author}, {license_id}, via Wikimedia Commons",
        page_url=f"https://commons.wikimedia.org/wiki/File:{name}",
        payload="{}",
        **shared,
        **fields,
    )


EXPECTED = [
    _expected(
        "44672185",
        "SAMPLE_Herengracht_100_Amsterdam.jpg",
        "CC-BY-SA-4.0",
        "PtrQs",
        lon=4.895,
        lat=52.37,
        captured_at=datetime(2012, 9, 25, 14, 23, 2, tzinfo=UTC),
        creator="PtrQs",
        image_url=f"{_FILES}/thumb/2/25/SAMPLE_Herengracht_100_Amsterdam.jpg/960px-SAMPLE_Herengracht_100_Amsterdam.jpg",
        image_version="2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
    ),
    _expected(
        "44672190",
        "SAMPLE_Dam_1_Amsterdam.jpg",
        "CC0-1.0",
        "Foto: Rondvaart & Zonen",
        lon=4.896,
        lat=52.371,
        captured_at=datetime(2020, 9, 25, 10, tzinfo=UTC),
        creator=None,
        image_url=f"{_FILES}/thumb/a/ab/SAMPLE_Dam_1_Amsterdam.jpg/960px-SAMPLE_Dam_1_Amsterdam.jpg",
        image_version="de9f2c7fd25e1b3afad3e85a0bd17d9b100db4b3",
    ),
    _expected(
        "44672192",
        "SAMPLE_Prinsengracht_hoek_Leidsegracht.jpg",
        "PDM-1.0",
        "Jan de Vries",
        lon=4.898,
        lat=52.373,
        captured_at=None,
        creator="Jan de Vries",
        image_url=f"{_FILES}/d/d2/SAMPLE_Prinsengracht_hoek_Leidsegracht.jpg",
        image_version="84983e441c3bd26ebaae4aa1f95129e5e54670f1",
    ),
]
REJECTED = {"not_street_level": 1, "license_not_open": 1}


def answer(request: httpx.Request) -> httpx.Response:
    """The part of the search, or the thumbnails, that is asked for."""
    if "pageids" in request.url.params:
        return httpx.Response(200, json=THUMBNAILS)
    return httpx.Response(200, json=PARTS["iicontinue" in request.url.params])


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> WikimediaCommons:
    return WikimediaCommons(client_of(transport or httpx.MockTransport(answer), "wikimedia_commons"), now=lambda: NOW)
