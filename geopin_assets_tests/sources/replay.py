"""Transports that answer from recorded payloads, and JSON files of `data/`."""

import json
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.http_client import HttpClient

DATA = Path(__file__).parent.parent / "data"


def recorded(path: str) -> Any:
    """A JSON file of `geopin_assets_tests/data`."""
    return json.loads((DATA / path).read_text("utf-8"))


def client_of(transport: httpx.BaseTransport, name: str, **options: Any) -> HttpClient:
    """A client that neither waits nor limits."""
    return HttpClient(name, transport=transport, requests_per_second=1e9, sleep=lambda _: None, **options)
