"""What one running sandbox knows beside its world: faults, captures that vanished or moved, lowered caps, counts.

Here: the fault switchboard, the hook through which every request of every stand-in passes, and what a source has on
offer: its shots under the source's own ids, found by id and by box in no time. Not here: routes and wire formats.

A fault has one `kind`:

    status      answers `status` (500 by default), with Retry-After if `retry_after_s` is set
    html        answers 200 with a web page
    truncated   answers 200 with the first half of the body, as if that were all
    reset       ends the connection in the middle of the body
    hang        never answers
    latency     answers after `latency_s`
    drift       answers with the JSON keys of `rename` renamed (every format has its own idea of a better name)

It concerns every listing of a source, those that overlap `bbox`, or (with `capture`) one image. `share` makes it meet
only that part of the requests it concerns, evenly spread: 0.2 is every fifth.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from typing import Any, Protocol

import numpy as np
import orjson
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geopin_assets.sandbox.streets.world import Quirk, Shot, World

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


class Shelf:
    """The published shots of one source, in publication order. `vanished` and `moved` are read at each look."""

    def __init__(
        self,
        shots: Collection[Shot],
        id_of: Callable[[Shot], str],
        vanished: Collection[str],
        moved: Mapping[str, tuple[float, float]],
    ) -> None:
        self._shots = {id_of(shot): shot for shot in shots if shot.quirk is not Quirk.HIDDEN}
        self._ids = list(self._shots)
        self._vanished, self._moved = vanished, moved
        self._lons = np.array([shot.lon for shot in self._shots.values()])
        self._lats = np.array([shot.lat for shot in self._shots.values()])

    def get(self, id_: str) -> Shot | None:
        """The shot of an id, where it is now; None if there is none or it was taken down."""
        shot = None if id_ in self._vanished else self._shots.get(id_)
        if shot is not None and id_ in self._moved:
            lon, lat = self._moved[id_]
            return replace(shot, lon=lon, lat=lat)
        return shot

    def all(self) -> dict[str, Shot]:
        """Everything on offer, id -> shot, in publication order."""
        return {id_: shot for id_ in self._ids if (shot := self.get(id_)) is not None}

    def within(self, box: Box) -> dict[str, Shot]:
        """What lies in a box, edges included, in publication order."""
        west, south, east, north = box
        inside = (self._lons >= west) & (self._lons <= east) & (self._lats >= south) & (self._lats <= north)
        ids = [self._ids[n] for n in np.flatnonzero(inside)]
        if self._moved:
            inside_ids = set(ids)
            ids = [id_ for id_ in self._ids if id_ in self._moved or id_ in inside_ids]
        found = {id_: shot for id_ in ids if (shot := self.get(id_)) is not None}
        return {id_: s for id_, s in found.items() if west <= s.lon <= east and south <= s.lat <= north}

    def nearest_first(self, box: Box) -> dict[str, Shot]:
        """What lies in a box, nearest to its middle (in degrees) first: so cut answers lose the corners."""
        lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return dict(
            sorted(self.within(box).items(), key=lambda pair: (pair[1].lon - lon) ** 2 + (pair[1].lat - lat) ** 2)
        )


class CloudflareStandIn(Protocol):
    """What the sandbox asks of Cloudflare's stand-in, which comes with a checkout, beside the tests."""

    requests: Counter[str]
    """Calls by `service.operation`."""
    faults: list[Any]

    def app(self) -> ASGIApp: ...
    def add_fault(self, **fields: Any) -> None:
        """Raises TypeError or ValueError for fields that are no fault."""

    def clear_faults(self) -> None: ...


@dataclass(slots=True)
class Sandbox:
    """State shared by the stand-ins of one app. `base_url` has no trailing slash and starts every href."""

    world: World
    base_url: str
    faults: list[Fault] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    """Source's own ids of captures that were taken down."""
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Source's own id -> (lon, lat) where the capture is now."""
    caps: dict[str, int] = field(default_factory=dict)
    """Source -> most records it puts into one answer from now on, without a word about it."""
    requests: Counter[str] = field(default_factory=Counter)
    cloudflare: CloudflareStandIn | None = None

    def meet(self, source: str, kind: str, *, box: Box | None = None, capture: str | None = None) -> Response | None:
        """Count a request and return what it gets instead of an answer, or None to answer it."""
        self.requests[f"{source}.{kind}"] += 1
        fault = next((fault for fault in self.faults if fault.concerns(source, box, capture)), None)
        return fault.response() if fault else None

    def shelf(self, source: str, id_of: Callable[[Shot], str]) -> Shelf:
        """What a source has on offer, under its own ids; hidden shots are not."""
        return Shelf(self.world.of(source), id_of, self.vanished, self.moved)

    def cap(self, source: str, usual: int) -> int:
        """Most records of one answer: `usual`, unless it was lowered."""
        return min(usual, self.caps.get(source, usual))

    def clear(self) -> None:
        """Everything as it was."""
        for turned in (self.faults, self.vanished, self.moved, self.caps):
            turned.clear()
        if self.cloudflare is not None:
            self.cloudflare.clear_faults()
