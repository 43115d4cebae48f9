"""A client of Cloudflare's API on a server that answers from a list, with a clock that moves only by sleeping."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson

from geopin_assets.index.cloudflare import CloudflareApi
from geopin_assets.index.protocol import Wait
from geopin_assets_tests.http_client.world import Clock, Server

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "t0p/s3cr3t+t0ken"
NOON_S = 1_800_014_400.0
INDEXES = f"/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes"
DATABASES = f"/client/v4/accounts/{ACCOUNT}/d1/database"


def result(value: Any, status: int = 200) -> httpx.Response:
    """A success in Cloudflare's envelope."""
    return _reply(status, {"result": value, "success": True, "errors": [], "messages": []})


def failure(code: int, message: str, status: int = 400, nothing: Any = None, **headers: str) -> httpx.Response:
    """A failure in Cloudflare's envelope."""
    errors = [{"code": code, "message": message}]
    body = {"result": nothing, "success": False, "errors": errors, "messages": []}
    return _reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def rows_result(*rows: list[Any], columns: tuple[str, ...] = (), changes: int = 0) -> dict[str, Any]:
    """What D1 says of one statement."""
    meta = {"changes": changes, "rows_written": changes, "rows_read": len(rows), "duration": 0.2}
    return {"success": True, "results": {"columns": list(columns), "rows": list(rows)}, "meta": meta}


def ran(*results: dict[str, Any]) -> httpx.Response:
    """What D1 says of a request."""
    return result(list(results))


def api_of(folder: Path, *replies: Any, **options: Any) -> tuple[CloudflareApi, Server, Clock]:
    """A client with these replies before it; the last one is given for ever."""
    clock = Clock()
    clock.now = NOON_S
    server = Server(replies, clock)
    return api_on(server, folder, clock, **options), server, clock


def api_on(
    handler: Callable[[httpx.Request], httpx.Response], folder: Path, clock: Clock, **options: Any
) -> CloudflareApi:
    """A client of a server."""
    defaults: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "wall_clock": clock}
    transport = httpx.MockTransport(handler)
    return CloudflareApi(ACCOUNT, TOKEN, rate_place=folder / "rate.sqlite", transport=transport, **defaults | options)


def wait_of(clock: Clock, **options: float) -> Wait:
    """Waiting by the same clock."""
    return Wait(sleep=clock.sleep, clock=lambda: datetime.fromtimestamp(clock.now, UTC), **options)


def body_of(request: httpx.Request) -> Any:
    return orjson.loads(request.content)


def _reply(status: int, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(
        status, content=orjson.dumps(body), headers={"content-type": "application/json", **(headers or {})}
    )
