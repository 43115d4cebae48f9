"""One call of the client: what to send and which answers to take. Nothing is sent here."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

import httpx

from geopin_assets.errors import ConfigurationError, PermanentError
from geopin_assets.http_client.answer import Judge


class Tally(Protocol):
    """Anything that counts requests, e.g. a `CrawlReport`."""

    requests: int


class How(TypedDict, total=False):
    """Keywords of every call."""

    params: Mapping[str, Any]
    """Query, added to the URL's own."""
    headers: Mapping[str, str]
    form: Mapping[str, Any]
    """Body, urlencoded."""
    json: Any
    """Body, JSON."""
    content: bytes
    """Body, as it is."""
    files: Any
    """Body, multipart, as httpx takes it."""
    ok: Collection[int]
    """Statuses that are answers; default 200 only."""
    judge: Judge
    """Looks at every answer before the usual rules do."""
    tally: Tally | None
    """Its `requests` is incremented for every request really sent."""
    label: str
    """What messages call the request, where the URL's path holds something private; default that path."""
    kind: str
    """Which of the client's quotas the request counts against; default "", the client's own rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A call with its parts checked, whatever number of requests it will take."""

    method: str
    url: httpx.URL = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    """Headers and body, as httpx takes them."""
    ok: Collection[int]
    judge: Judge | None
    tally: Tally | None
    label: str
    kind: str


def build_ask(name: str, method: str, url: str, how: How) -> Ask:
    """Raises PermanentError for a URL that cannot be asked; its text is not repeated, as queries can hold tokens."""
    try:
        address = httpx.URL(url)
        if params := how.get("params"):
            address = address.copy_merge_params({key: str(value) for key, value in params.items()})
    except httpx.InvalidURL:
        raise PermanentError(f"{name}: {method}: not a URL that can be asked") from None
    options: dict[str, Any] = {key: how[key] for key in ("json", "content", "files") if key in how}
    options |= {"headers": plain_headers(how.get("headers", {}))} | ({"data": how["form"]} if "form" in how else {})
    return Ask(
        method=method,
        url=address,
        options=options,
        ok=how.get("ok", (200,)),
        judge=how.get("judge"),
        tally=how.get("tally"),
        label=how.get("label", address.path),
        kind=how.get("kind", ""),
    )


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuse a header that cannot be sent (a key pasted with a line end) without showing its value."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(f"the value for header {name} has characters that cannot be sent")
    return dict(headers)
