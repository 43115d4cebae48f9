"""A sync httpx transport over an ASGI app, as if over a socket: an answer that ends too early is a ReadError."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpx
from starlette.types import ASGIApp


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all apps, in a thread that ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class AsgiTransport(httpx.BaseTransport):
    """Asks the app without a socket. Thread-safe."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        timeout_s = request.extensions.get("timeout", {}).get("read")
        future = asyncio.run_coroutine_threadsafe(self._ask(request, body), _loop())
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise httpx.ReadTimeout("no answer", request=request) from None

    async def _ask(self, request: httpx.Request, body: bytes) -> httpx.Response:
        sent: list[dict[str, Any]] = []
        gone = asyncio.Event()
        inbox = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in inbox:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(_scope(request), receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        headers = httpx.Headers(sent[0]["headers"])
        if len(content) < int(headers.get("content-length", 0)):
            raise httpx.ReadError("peer closed connection without sending complete message body", request=request)
        return httpx.Response(sent[0]["status"], headers=headers, content=content, request=request)


def asgi_transport(app: ASGIApp) -> AsgiTransport:
    return AsgiTransport(app)


@contextmanager
def asgi_client(app: ASGIApp) -> Iterator[httpx.Client]:
    """A plain client of the app, for requests by hand."""
    with httpx.Client(transport=AsgiTransport(app), base_url="http://sandbox.test") as client:
        yield client


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port or 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
