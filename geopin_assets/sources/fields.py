"""Reading untrusted fields: a wrong type or value becomes None, never an exception.

Here: numbers, positions, headings, times, ids, texts, links and the stored payload, as every source's
`parse_*` needs them. Not here: any provider's names for them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import wraps
from math import isfinite
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo

import orjson

from geopin_assets.capture import Reason, Rejected
from geopin_assets.environment import keys_in
from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import normalize_heading

P = ParamSpec("P")
T = TypeVar("T")

FOREIGN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code raises that meets a value of a type or size that it did not think of."""
MAX_ID_CHARS = 200
MAX_TEXT_CHARS = 500
MAX_PAYLOAD_BYTES = 16 * 1024
_MAX_DEPTH = 20
_OPENS_DOORS = set("@?#")
_DEFAULT_PORTS = {"http": 80, "https": 443}
EARLIEST = datetime(2004, 1, 1, tzinfo=UTC)  # before it there is no street-level platform, only unset camera clocks
DUTCH_TIME = ZoneInfo("Europe/Amsterdam")
_CLOCK_SKEW = timedelta(days=1)
_LEAST_DEG, _MOST_DEG = -180.0, 450.0


def rejecting(parse: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T | Rejected]:
    """Around what understands a record: one it fails on, whatever foreign type it met, is rejected for that reason."""

    @wraps(parse)
    def parse_or_reject(record: Any, *args: P.args, **kwargs: P.kwargs) -> T | Rejected:
        try:
            return parse(record, *args, **kwargs)
        except FOREIGN as error:
            return Rejected(Reason.MALFORMED, f"{type(error).__name__} in {_shortly(mapping(record).get('id'))}")

    return parse_or_reject


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """A finite float from a number or a numeric string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if isfinite(result) else None


def whole(value: Any) -> int | None:
    """A whole number from 0 up, from a number or a numeric string."""
    result = number(value)
    return int(result) if result is not None and result >= 0 and result.is_integer() else None


def position(lon: Any, lat: Any) -> tuple[float, float] | None:
    """(lon, lat) in degrees if both are numbers on Earth and not the 0, 0 of an unset GPS."""
    x, y = number(lon), number(lat)
    if x is None or y is None or not (-180 <= x <= 180 and -90 <= y <= 90) or (x == 0 and y == 0):
        return None
    return x, y


def point(geometry: Any) -> tuple[float, float] | None:
    """(lon, lat) of a GeoJSON point."""
    coordinates = mapping(geometry).get("coordinates")
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        return None
    return position(coordinates[0], coordinates[1])


def heading_deg(value: Any) -> float | None:
    """Degrees clockwise from north, brought into [0, 360).

    -1 is what cameras write that know none, and what is far out of range means nothing that could be turned into it.
    """
    degrees = number(value)
    if degrees is None or degrees == -1 or not _LEAST_DEG <= degrees <= _MOST_DEG:
        return None
    return normalize_heading(degrees)


def instant(value: Any, *, zone: tzinfo = UTC) -> datetime | None:
    """A UTC time from ISO 8601 text; text without an offset is local time in `zone`."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value.strip())
        return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def plausible(time: datetime | None, now: datetime, earliest: datetime = EARLIEST) -> datetime | None:
    """The time if a camera can have taken it: from `earliest` to now (plus a day, for zone errors)."""
    return time if time is not None and earliest <= time <= now + _CLOCK_SKEW else None


def source_id(value: Any) -> str | None:
    """An id as text: 1 to 200 printable characters (an int is taken too), else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = _shortly(value)
    ok = isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS and value.isprintable() and value == value.strip()
    return value if ok else None


def record_key(record: Any, name: str = "id") -> str:
    """What makes a record the same when it is returned twice: its id, else its whole content."""
    id_ = source_id(mapping(record).get(name))
    return id_ if id_ is not None else f"~{payload({'record': record})}"


def text(value: Any) -> str | None:
    """A cleaned text of at most 500 characters, or None if nothing is left."""
    if not isinstance(value, str):
        return None
    cleaned = "".join(c if c.isprintable() else " " for c in value[: 2 * MAX_TEXT_CHARS])
    return " ".join(cleaned.split())[:MAX_TEXT_CHARS] or None


def web_url(value: Any, base: str = "") -> str | None:
    """The value if it is an absolute http(s) address with a host and without user name.

    With a `base`, as the address of what it stands in, one relative to that is made absolute.
    """
    try:
        if base and isinstance(value, str) and value.strip():
            value = urljoin(page_address(base), value.strip().replace(" ", "%20"))
        if not isinstance(value, str) or not value.isprintable() or " " in value:
            return None
        parts = urlsplit(value)
        is_plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        return value if is_plain and parts.port != 0 else None  # a port that is none raises
    except ValueError:
        return None


def api_roots(urls: Iterable[str], variable: str) -> tuple[str, ...]:
    """Addresses of APIs, each once, without a last slash. Raises ConfigurationError naming the variable.

    What is refused for a password or key in it is not repeated: it would be in logs, rows and names of folders too.
    """
    roots = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
    for number, url in enumerate(roots, start=1):
        if _OPENS_DOORS.intersection(url):
            raise ConfigurationError(f"{variable}: address {number} has a user name, query or fragment; give its root")
        if web_url(url) is None:
            raise ConfigurationError(f"{variable}: {url!r} is not the http(s) address of an API")
    return roots


def host(url: str) -> str:
    """Host of an address, with its port when it names one."""
    return urlsplit(url).netloc.rpartition("@")[2]


def on_host_of(url: str, root: str) -> str | None:
    """An address with the scheme and host of `root`, None if it is on another: default ports and capitals aside."""
    theirs, ours = urlsplit(url), urlsplit(root)
    ports = [parts.port or _DEFAULT_PORTS.get(parts.scheme) for parts in (theirs, ours)]
    is_default = ports == [_DEFAULT_PORTS.get(parts.scheme) for parts in (theirs, ours)]
    if theirs.hostname != ours.hostname or not (is_default or ports[0] == ports[1]):
        return None
    return theirs._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()


def page_address(url: str) -> str:
    """An address for people, without what opens doors: user name, password, values of keys."""
    parts = urlsplit(url)
    query = "&".join(field for field in parts.query.split("&") if not keys_in(f"://?{field}"))
    fragment = "" if keys_in(f"://?{parts.fragment}") else parts.fragment
    return parts._replace(netloc=host(url), query=query, fragment=fragment).geturl()


def is_this_machine(url: str) -> bool:
    """Whether an address is on loopback: the sandbox asks nobody else, and tokens may go there unencrypted."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def payload(record: Mapping[str, Any]) -> str:
    """Compact JSON with sorted keys, at most 16 KiB: of a larger record only its short scalars are kept."""
    encoded = _json(record)
    if len(encoded) <= MAX_PAYLOAD_BYTES:
        return encoded.decode()
    scalars = {k: v for k, v in record.items() if _is_short(v)}
    inner = {k: {a: b for a, b in v.items() if _is_short(b)} for k, v in record.items() if isinstance(v, dict)}
    for smaller in (scalars | inner, scalars):
        encoded = _json(smaller | {"truncated": True})
        if len(encoded) <= MAX_PAYLOAD_BYTES:
            return encoded.decode()
    return '{"truncated":true}'


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 200)


def _json(record: Mapping[str, Any]) -> bytes:
    """NaN becomes null; what JSON cannot hold (lone surrogates, huge integers) text, deep nesting null."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(record, option=options)
    except orjson.JSONEncodeError:
        return orjson.dumps(_plain(record), option=options)


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {_plain(str(k)): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, depth + 1) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bytes):  # a text of a tile that is none
        return value.decode("utf-8", "replace")
    if value is None or isinstance(value, bool | float):
        return value
    return value if isinstance(value, int) and abs(value) < 2**53 else _shortly(value)


def _shortly(value: Any) -> str:
    try:
        return str(value)[: MAX_ID_CHARS + 1]
    except ValueError:  # an integer of more digits than Python writes
        return type(value).__name__
