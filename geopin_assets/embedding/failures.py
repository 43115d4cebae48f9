"""Why an image could not be embedded, and when it is tried again.

Here: the reasons, the failure rows and the back-off. Not here: fetching and decoding, which find the reasons.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import polars as pl


class FailureReason(StrEnum):
    """Why a capture has no vector. Classed by what another attempt would change."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    """Too many requests, ours or everybody's. Says nothing of the image, so it does not count as an attempt."""
    REFUSED = "refused"
    """400, 401, 403 …: often a signed address that expired after all; the next attempt, or crawl, brings a new one."""
    NOT_AN_IMAGE = "not_an_image"
    """Something else with status 200: often an error page."""
    DAMAGED = "damaged"
    """Cut short or undecodable: often a connection that broke."""
    HOST_DOWN = "host_down"
    """Not tried: the host had failed too often just before, or asked for a long pause. Does not count as an attempt."""
    LINK_EXPIRED = "link_expired"
    """Not tried: the address had expired and its source gave no other. Does not count as an attempt."""
    GONE = "gone"
    """Not tried: the source, asked for an address, did not have the capture. The next crawls will show if it is so."""

    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    """An address that may not be fetched: private network, another scheme, outside the photo folder."""
    UNSUPPORTED = "unsupported"
    """An image, but of another format than JPEG, PNG and WebP, or of a rare kind of those."""
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    NOT_EQUIRECTANGULAR = "not_equirectangular"
    """Declared a panorama, but not twice as wide as high."""

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self in _TRANSIENT

    @property
    def is_of_host(self) -> bool:
        """Whether it speaks of the host rather than of this image."""
        return self in _OF_HOST

    @property
    def is_attempt(self) -> bool:
        """Whether something was found out about this image; what was not is tried again, however often."""
        return self not in _SAYS_NOTHING


_R = FailureReason
_OF_HOST = frozenset({_R.TIMEOUT, _R.UNREACHABLE, _R.SERVER_ERROR, _R.RATE_LIMITED})
_SAYS_NOTHING = frozenset({_R.HOST_DOWN, _R.LINK_EXPIRED, _R.RATE_LIMITED})
_TRANSIENT = _OF_HOST | _SAYS_NOTHING | {_R.REFUSED, _R.NOT_AN_IMAGE, _R.DAMAGED, _R.GONE}


@dataclass(frozen=True, slots=True)
class Failure:
    """One image that could not be had. `detail` is for a log line, without secrets."""

    reason: FailureReason
    detail: str = ""
    not_before: datetime | None = None
    """When the host will be ready to talk about it."""


FAILURE_SCHEMA = pl.Schema(
    {"capture_id": pl.String(), "source": pl.String(), "image_version": pl.String(), "reason": pl.String()}
    | {"attempts": pl.Int32(), "last_tried_at": pl.Datetime("us", "UTC"), "next_try_at": pl.Datetime("us", "UTC")}
)
"""`image_version` is that of the image that failed: another one is a fresh start. `next_try_at` null: never again."""

BACK_OFF = (timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7))
"""Wait after the first, second, … failed attempt; one more failure is final."""


def next_try_at(
    reason: FailureReason, attempts: int, now: datetime, not_before: datetime | None = None
) -> datetime | None:
    """When a capture that failed `attempts` times (0: was not tried yet) is tried again; None for never."""
    if not reason.is_transient or attempts > len(BACK_OFF):
        return None
    backed_off = now + BACK_OFF[max(attempts - 1, 0)]
    return max(backed_off, not_before or backed_off)
