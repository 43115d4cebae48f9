"""The fault switchboard: everything that goes wrong with a source, on demand.

Here: what a fault is, which requests it concerns, and how it changes an answer on its way out. Not here:
what a source answers without faults, or the routes that set them (`app.py`).

A fault has one `kind`:

    status      answers `status` (500 by default), with Retry-After if `retry_after_s` is set
    html        answers 200 with a web page
    truncated   answers 200 with the first half of the body, as if that were all
    reset       ends the connection in the middle of the body
    hang        never answers
    latency     answers after `latency_s`
    drift       answers with the JSON keys of `rename` renamed (every format has its own idea of a better name)

It concerns every listing of a source, those that overlap `bbox`, or (with `capture`) one image. `share`
makes it meet only that part of the requests it concerns, evenly spread: 0.2 is every fifth.
"""

import asyncio
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any

import orjson
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Box = tuple[float, float, float, float]
"""west, south, east, north in degrees, as a request asked for it."""

_TOUCH_DEG = 1e-6  # neighboring boxes share an edge; sharing less than 10 cm is no overlap
_met: ContextVar["list[Fault] | None"] = ContextVar("met", default=None)


class Kind(StrEnum):
    """What a fault does."""

    STATUS = "status"
    HTML = "html"
    TRUNCATED = "truncated"
    RESET = "reset"
    HANG = "hang"
    LATENCY = "latency"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, see the module. `capture` is the source's own id. Raises ValueError for an unknown kind or share."""

    source: str
    kind: str = Kind.STATUS
    status: int = 500
    bbox: Box | None = None
    capture: str | None = None
    retry_after_s: int | None = None
    latency_s: float = 0.0
    rename: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    _turns: Any = field(default_factory=lambda: count(1), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in set(Kind):
            raise ValueError(f"kind {self.kind!r}: one of {', '.join(Kind)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share!r}: above 0, at most 1")

    def concerns(self, source: str, box: Box | None, capture: str | None) -> bool:
        """Whether a request (a listing of `box`, or an image of `capture`) meets this fault; counts turns."""
        if source != self.source or capture != self.capture:
            return False
        if self.bbox is not None and not (box is not None and _overlap(self.bbox, box)):
            return False
        turn = next(self._turns)
        return int(turn * self.share) > int((turn - 1) * self.share)

    def response(self) -> Response | None:
        """What is answered instead, or None for a fault that changes the real answer."""
        if self.kind == Kind.STATUS:
            headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
            return PlainTextResponse("a fault set at /faults", self.status, headers)
        if self.kind == Kind.HTML:
            return HTMLResponse("<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>")
        if self.kind in (Kind.HANG, Kind.LATENCY, Kind.TRUNCATED, Kind.RESET, Kind.DRIFT):
            _note(self)
        return None


def _note(fault: Fault) -> None:
    met = _met.get()
    if met is not None:
        met.append(fault)


class Faulty:
    """ASGI middleware that applies to each answer what its request met."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        met: list[Fault] = []
        token = _met.set(met)
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        try:
            await self._app(scope, receive, keep)
        finally:
            _met.reset(token)
        await _deliver(sent, met, receive, send)


async def _deliver(sent: list[Message], met: list[Fault], receive: Receive, send: Send) -> None:
    body = b"".join(message.get("body", b"") for message in sent)
    headers = [pair for pair in sent[0]["headers"] if pair[0].lower() != b"content-length"]
    length = None
    for fault in met:
        if fault.kind == Kind.LATENCY:
            await asyncio.sleep(fault.latency_s)
        elif fault.kind == Kind.HANG:
            await _until_gone(receive)
            return
        elif fault.kind == Kind.TRUNCATED:
            body = body[: len(body) // 2]
        elif fault.kind == Kind.DRIFT:
            body = _renamed(body, fault.rename)
        elif fault.kind == Kind.RESET:
            length = len(body) + 1
            body = body[: len(body) // 2]
    headers.append((b"content-length", str(length or len(body)).encode()))
    await send({**sent[0], "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": length is not None})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _renamed(body: bytes, rename: Mapping[str, str]) -> bytes:
    """JSON with keys renamed at every depth; anything else as it is."""

    def walk(value: Any) -> Any:
        if isinstance(value, MutableMapping):
            return {rename.get(key, key): walk(child) for key, child in value.items()}
        return [walk(child) for child in value] if isinstance(value, list) else value

    try:
        return orjson.dumps(walk(orjson.loads(body)))
    except orjson.JSONDecodeError:
        return body


def _overlap(a: Box, b: Box) -> bool:
    east_west = min(a[2], b[2]) - max(a[0], b[0])
    north_south = min(a[3], b[3]) - max(a[1], b[1])
    return east_west > _TOUCH_DEG and north_south > _TOUCH_DEG
