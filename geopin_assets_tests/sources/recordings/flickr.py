"""Flickr: a recorded table of licenses, a search answer, and the captures they mean."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.capture import Capture
from geopin_assets.grid import Bbox, Cell
from geopin_assets.sources.flickr import Flickr
from geopin_assets.sources.flickr.read import parse_licenses, parse_photo
from geopin_assets_tests.sources.replay import client_of, recorded

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:5061"
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.3655, 4.9, 52.375))
LICENSES, ANSWER = recorded("flickr/licenses.json"), recorded("flickr/search.json")
RECORD = ANSWER["photos"]["photo"][0]
parse = partial(parse_photo, bbox=CELL.bbox, licenses=parse_licenses(LICENSES), now=NOW)


def _expected(id_: str, suffix: str, **fields: Any) -> Capture:
    return Capture(
        source="flickr",
        source_capture_id=id_,
        heading_deg=None,
        is_pano=False,
        sequence_id=None,
        page_url=f"https://www.flickr.com/photos/7478087@N06/{id_}",
        image_url=f"https://live.staticflickr.com/65535/49514337848_0000000000{suffix}.jpg",
        payload="{}",
        **fields,
    )


EXPECTED = [
    _expected(
        "49514337848",
        "_b",
        lon=4.895168,
        lat=52.370216,
        captured_at=datetime(2011, 11, 5, 14, 54, 37, tzinfo=UTC),
        creator="sample",
        license="CC-BY-SA-2.0",
        attribution='"SAMPLE" by sample on Flickr, CC-BY-SA-2.0',
        image_version="",
    ),
    _expected(
        "49514337901",
        "",
        lon=4.8961,
        lat=52.3711,
        captured_at=None,
        creator=None,
        license="CC-BY-2.0",
        attribution="7478087@N06 on Flickr, CC-BY-2.0",
        image_version="1581320000",
    ),
]
REJECTED = {"not_street_level": 1, "no_position": 1, "license_not_open": 1, "no_image": 1}


def answer(request: httpx.Request) -> httpx.Response:
    """The table of licenses or the photos."""
    is_search = request.url.params["method"] == "flickr.photos.search"
    return httpx.Response(200, json=ANSWER if is_search else LICENSES)


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> Flickr:
    client = client_of(transport or httpx.MockTransport(answer), "flickr")
    return Flickr(client, api_key="very-secret", endpoint=ENDPOINT, now=lambda: NOW)


def source_on(search: Callable[[dict[str, str]], Any], *, licenses: Any = LICENSES, **options: Any) -> Flickr:
    """A source whose searches are answered by a function of their parameters."""

    def server(request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        is_search = params["method"] == "flickr.photos.search"
        return httpx.Response(200, json=search(params) if is_search else licenses)

    return source_of(server, **options)


def source_of(server: Callable[[httpx.Request], httpx.Response], **options: Any) -> Flickr:
    """A source of which every request is answered by a function."""
    client = client_of(httpx.MockTransport(server), "flickr")
    return Flickr(client, **{"api_key": "very-secret", "endpoint": ENDPOINT, "now": lambda: NOW} | options)


def page(records: list[Any], total: Any, pages: Any = 1) -> dict[str, Any]:
    """A page of a search."""
    return {"photos": {"page": 1, "pages": pages, "perpage": 250, "total": total, "photo": records}, "stat": "ok"}


def photos(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Photos like the recorded one."""
    return [RECORD | {"id": str(1000 + n)} | changes for n in range(count)]
