"""One exchange as data: what a call sends and which answers it takes, and how an answer is read.

Here: keywords of a call, JSON, the wait a server asks for, an excerpt for messages. Not here: sending (`client.py`).
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import orjson

from geopin_assets.errors import ConfigurationError, GeoPinError, PayloadError, PermanentError, TransientError

if TYPE_CHECKING:
    import httpx

DEFAULT_RETRY_AFTER_S = 60.0  # a 429 that does not say how long
MAX_VALUES = 4_000_000
"""Commas, colons and brackets of a body: 63 MB of `[],[],` were 42 million, and 1.9 GB in memory; this many take 0.4 at
most. Of true answers 25 MB of the densest records have a million."""
_STRUCTURE = (b",", b":", b"[", b"{")
_INT_64 = 2.0**63
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_LONGEST_TYPE = 100


def asked_wait_s(retry_after: str, now_s: float) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None if it says nothing.

    `now_s` is the wall clock, seconds since the epoch.
    """
    retry_after = retry_after.strip()
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # a year of twenty digits overflows
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, until.timestamp() - now_s)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: status, headers (names in lower case) and the decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; NaN and Infinity pass, because records are judged one by one.

        No number is an integer of more than 64 bits: those become floats. Raises TransientError for JSON that was cut
        on the way, PayloadError for anything else that is not JSON, or is more of it than any answer holds.
        """
        values = sum(map(self.body.count, _STRUCTURE))
        if values > MAX_VALUES:
            raise PayloadError(f"JSON of {values} values and more, {MAX_VALUES} at most")
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self._lenient_json()

    def _lenient_json(self) -> Any:
        try:
            return json.loads(self.body, parse_int=_number)
        except (ValueError, RecursionError) as error:
            if self.body.lstrip()[:1] not in (b"", b"{", b"["):
                said = self.headers.get("content-type", "something else")[:_LONGEST_TYPE]
                raise PayloadError(f"not JSON but {said!r}") from error
            kind = TransientError if _ends_too_early(error) else PayloadError
            raise kind(f"broken JSON of {len(self.body)} bytes") from error

    def retry_after_s(self, now_s: float) -> float | None:
        """Retry-After in seconds; a 429 that does not say means a minute. `now_s` as for `asked_wait_s`."""
        asked_s = asked_wait_s(self.headers.get("retry-after", ""), now_s)
        return DEFAULT_RETRY_AFTER_S if asked_s is None and self.status == 429 else asked_s

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line, or nothing if it is no text or a web page."""
        text = " ".join(self.body[:400].decode("utf-8", "replace").split())
        return "" if text.startswith("<") or not text.isprintable() else text[:200]


def _number(digits: str) -> int | float:
    """As orjson does; Python would make an integer of any size, and fail much later."""
    number = float(digits)
    return int(digits) if abs(number) < _INT_64 else number


def _ends_too_early(error: ValueError | RecursionError) -> bool:
    """Whether more bytes might have made it JSON: then the fault lies at the very end."""
    if isinstance(error, json.JSONDecodeError):
        rest = error.doc[error.pos :].strip()
        is_in_string = error.msg.startswith("Unterminated") or (error.msg.startswith("Invalid \\") and len(rest) < 7)
        return is_in_string or any(word.startswith(rest) for word in _WORDS)
    return isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"


Judge = Callable[[Answer], GeoPinError | None]
"""Looks at an answer of any status: an error to raise (a TransientError is retried), or None for the usual rules."""


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
    only_status: bool
    """Whether nobody needs the answer's body: one that is too long or too slow is an answer all the same."""
    label: str
    """What messages call the request, where the URL's path holds something private; default that path."""
    kind: str
    """Which of the client's quotas the request counts against; default "", the client's own rate."""
    attempts: int
    """How often to try at most; default the client's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A call with its parts checked, whatever number of requests it will take."""

    method: str
    url: "httpx.URL" = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    """Headers and body, as httpx takes them."""
    ok: Collection[int]
    only_status: bool
    judge: Judge | None
    tally: Tally | None
    label: str
    kind: str
    attempts: int | None


def build_ask(name: str, method: str, url: str, how: How) -> Ask:
    """Raises PermanentError for a URL that cannot be asked; its text is not repeated, as queries can hold tokens."""
    import httpx

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
        only_status=how.get("only_status", False),
        judge=how.get("judge"),
        tally=how.get("tally"),
        label=how.get("label", address.path),
        kind=how.get("kind", ""),
        attempts=how.get("attempts"),
    )


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuse a header that cannot be sent (a key pasted with a line end) without showing its value."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(f"the value for header {name} has characters that cannot be sent")
    return dict(headers)
