"""A client of the sandbox's app, and the recorded answers of the real servers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.streets.drives import build_world

BASE_URL = "http://sandbox.test"
DATA = Path(__file__).parents[1] / "data" / "sandbox"


class Client:
    """Plain requests to an ASGI app, without a socket."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, url: str, **parts: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url=BASE_URL) as client:
                return await client.request(method, url, **parts)

        return asyncio.run(send())

    def get(self, url: str, **parts: Any) -> httpx.Response:
        return self.request("GET", url, **parts)


@pytest.fixture
def client() -> Client:
    return Client(create_app(build_world(), BASE_URL))


@pytest.fixture(scope="session")
def recorded_panoramax() -> dict[str, Any]:
    return json.loads((DATA / "panoramax.json").read_text())


@pytest.fixture(scope="session")
def recorded_amsterdam() -> dict[str, Any]:
    return json.loads((DATA / "amsterdam.json").read_text())
