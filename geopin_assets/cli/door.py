"""The front door of the UI: what a browser may ask of Dagster and of the reports, and from which page.

Dagster's webserver takes mutations by GET and from any origin, so a picture on any page could wipe an asset's history.
Here every request must name a host that is served here (no name that somebody points at 127.0.0.1), come from a page of
this very door or from no page, and change something only as JSON, which a foreign page cannot send unasked. Behind it
there is no second port: Dagster and the reports are called in the same process.

Here: these rules, and the headers of every answer. Not here: what is behind (`services.py`), or logins beyond one
token: docs/operating.md shows a reverse proxy.
"""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refusal = tuple[int, str]
Headers = dict[bytes, list[str]]
"""Names in lower case."""

REPORTS = "/reports"
TRY = "/locate"
_GRAPHQL = "/graphql"
_POLICY = b"content-security-policy"
_READS = ("GET", "HEAD")
_MOST_BYTES = 16 * 2**20
"""Of a question to Dagster, which holds what comes in memory, however much that is."""
_EVERY_ANSWER = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"referrer-policy": b"same-origin",
}
_NO_FRAMES = b"frame-ancestors 'none'"
_REPORT = _NO_FRAMES + b"; sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox"
"""Reports show names that strangers chose: whatever one of them would run has no part in the origin of the UI. But for
maps of ours, whose answers bring a policy under which nothing runs but their own script (`reports.py`)."""
_TRY = _NO_FRAMES + b"; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
_TRY += b" img-src https: http: data: blob:; form-action 'none'; base-uri 'none'"


@dataclass(frozen=True)
class Door:
    """An ASGI application in front of Dagster's.

    `photos`: the page to drop photos on. `addresses`: where the UI is reached, as origins, e.g. `http://127.0.0.1:3000`.
    `token`: what whoever asks must know; empty: nothing.
    """

    dagster: App
    reports: App
    photos: App
    addresses: Iterable[str]
    token: str = field(default="", repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.dagster(scope, receive, send)
        elif refusal := self._refusal(scope):
            await _refuse(scope, send, *refusal)
        elif scope["path"].startswith(f"{REPORTS}/"):
            await self.reports(scope, receive, _guarded(send, _NO_FRAMES, without_its_own=_REPORT))
        elif scope["path"] == TRY and scope["type"] == "http":
            await self.photos(scope, receive, _guarded(send, _TRY))
        else:
            await self.dagster(scope, _bounded(receive), _guarded(send, _NO_FRAMES))

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Status and reason; None for a request that may pass."""
        headers: Headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = {urlsplit(address).netloc for address in self.addresses}
        if len(asked := headers.get(b"host", [])) != 1 or asked[0].lower() not in hosts:
            return 421, f"served here: {', '.join(sorted(hosts))}; GEOPIN_UI_URL says under which other name"
        if not _is_ours(headers, self.addresses, scope.get("method", "")):
            return 403, "requests from other pages are not taken"
        if not self._is_known(headers.get(b"authorization", [])):
            return 401, "the token in GEOPIN_UI_TOKEN is needed: as the password of any user, or as a bearer token"
        if scope["type"] == "websocket":
            return None if scope["path"] == _GRAPHQL else (404, "no websocket here")
        return _of_method(scope["method"], scope["path"], headers)

    def _is_known(self, given: list[str]) -> bool:
        return not self.token or any(hmac.compare_digest(_secret(one), self.token.encode()) for one in given)


def _is_ours(headers: Headers, addresses: Iterable[str], method: str) -> bool:
    """Whether a request comes from a page of this door, or from no page at all."""
    origins = {f"{address.scheme}://{address.netloc}" for address in map(urlsplit, addresses)}
    if any(origin.lower() not in origins for origin in headers.get(b"origin", [])):
        return False
    if not {"cross-site", "same-site"}.intersection(headers.get(b"sec-fetch-site", [])):
        return True
    # another page may lead here, as a link does
    leads = headers.get(b"sec-fetch-mode") == ["navigate"] and headers.get(b"sec-fetch-dest") == ["document"]
    return leads and method in _READS


def _of_method(method: str, path: str, headers: Headers) -> Refusal | None:
    if not path.isprintable():  # a route that ends in $ takes a line end too
        return 400, "no path"
    if method in _READS:
        return (405, "GraphQL is asked by POST") if normpath(f"/{path.strip(' /')}").lower() == _GRAPHQL else None
    if method != "POST":
        return 405, "GET and POST are taken"
    if [kind.partition(";")[0].strip().lower() for kind in headers.get(b"content-type", [])] != ["application/json"]:
        return 415, "only application/json is taken"
    return None


def _secret(authorization: str) -> bytes:
    """The password of Basic, or the token of Bearer."""
    kind, _, given = authorization.partition(" ")
    if kind.lower() != "basic":
        return given.strip().encode("latin-1") if kind.lower() == "bearer" else b""
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _bounded(receive: Receive) -> Receive:
    """`receive`; whoever sends too much is taken for gone."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= _MOST_BYTES else {"type": "http.disconnect"}

    return bounded


def _guarded(send: Send, policy: bytes, without_its_own: bytes | None = None) -> Send:
    """`send`, with the headers that every answer has. The policy holds beside that of the answer itself;
    `without_its_own`: instead, where the answer brings none."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _EVERY_ANSWER]
            has_its_own = any(name.lower() == _POLICY for name, _ in kept)
            added = policy if has_its_own or without_its_own is None else without_its_own
            message = {**message, "headers": [*kept, *_EVERY_ANSWER.items(), (_POLICY, added)]}
        await send(message)

    return guarded


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})  # before it is accepted: a 403
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="GeoPin", charset="UTF-8"'))
    send = _guarded(send, _NO_FRAMES)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
