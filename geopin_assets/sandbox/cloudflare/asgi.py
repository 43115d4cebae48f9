"""The stand-in on a socket: ASGI messages to requests, and answers with their endings back.

Here: nothing that knows Cloudflare. Not here: what is answered (`emulator.py`).
"""

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from geopin_assets.sandbox.cloudflare.wire import Answer, Ending, Request


class CloudflareApp:
    """ASGI over a function from requests to answers; the function runs in a thread."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope, await _body(receive))
        await _deliver(await run_in_threadpool(self._answer, request), receive, send)


def _request(scope: Scope, body: bytes) -> Request:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    query = dict(parse_qsl(scope["query_string"].decode()))
    return Request(scope["method"], path, query, {k.decode(): v.decode() for k, v in scope["headers"]}, body)


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _deliver(answer: Answer, receive: Receive, send: Send) -> None:
    if answer.ending is Ending.HANG:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = answer.body if answer.ending is Ending.WHOLE else answer.body[: len(answer.body) // 2]
    is_reset = answer.ending is Ending.RESET
    length = len(answer.body) + 1 if is_reset else len(body)
    headers = [(k.encode(), v.encode()) for k, v in {**answer.headers, "content-length": str(length)}.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": is_reset})
