"""An HTTP answer and how to read it: JSON, the wait it asks for, an excerpt for messages. No network here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from geopin_assets.errors import GeoPinError, PayloadError, TransientError

DEFAULT_RETRY_AFTER_S = 60.0  # a 429 that does not say how long


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

        Raises TransientError for JSON that was cut on the way, PayloadError for something else.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self._lenient_json()

    def _lenient_json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            if self.body.lstrip()[:1] in (b"", b"{", b"["):
                raise TransientError(f"broken JSON of {len(self.body)} bytes") from error
            raise PayloadError(f"not JSON but {self.headers.get('content-type', 'something else')!r}") from error

    def retry_after_s(self, now_s: float) -> float | None:
        """Retry-After in seconds; a 429 that does not say means a minute. `now_s` as for `asked_wait_s`."""
        asked_s = asked_wait_s(self.headers.get("retry-after", ""), now_s)
        return DEFAULT_RETRY_AFTER_S if asked_s is None and self.status == 429 else asked_s

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line, or nothing if it is no text or a web page."""
        text = " ".join(self.body[:400].decode("utf-8", "replace").split())
        return "" if text.startswith("<") or not text.isprintable() else text[:200]


Judge = Callable[[Answer], GeoPinError | None]
"""Looks at an answer of any status: an error to raise (a TransientError is retried), or None for the usual rules."""
