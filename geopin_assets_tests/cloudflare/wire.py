"""Requests and answers as values, Cloudflare's envelope around every result, and both on a socket (ASGI).

Here: what travels, and how an answer's ending looks to the client. Not here: what is answered (`emulator.py`), or the
wording of refusals (`refusals.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

JSON_TYPE = {"content-type": "application/json"}


class Ending(StrEnum):
    """How an answer reaches the client."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    """Half of the body, as if that were all."""
    RESET = "reset"
    """The connection ends in the middle of the body."""
    HANG = "hang"
    """Nothing comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `path` begins with `/client/v4`, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, or what is left of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE


@dataclass(eq=False, slots=True)
class Refused(Exception):
    """What the service says no with. `result` is null, or [] from D1's queries."""

    status: int
    code: int
    message: str
    result: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.message}"


def accepted(result: Any, status: int = 200, **more: Any) -> Answer:
    """The envelope of a result; `more` are further keys, as `result_info`."""
    body = {"result": result, "success": True, "errors": [], "messages": [], **more}
    return Answer(status, orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), JSON_TYPE)


def refused(error: Refused) -> Answer:
    """The envelope of a refusal."""
    errors = [{"code": error.code, "message": error.message}]
    body = {"result": error.result, "success": False, "errors": errors, "messages": []}
    return Answer(error.status, orjson.dumps(body), {**JSON_TYPE, **error.headers})


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
