"""Hosts that asked to be left alone for a while.

Here: 429 and 503 with Retry-After, as they concern one host during one session. Not here: requests
(`web_images.py`), hosts that fail without asking for anything (`reader.py`), the metadata APIs (`http_client`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from geopin_assets.embedding.failures import BACK_OFF
from geopin_assets.http_client import asked_wait_s

MAX_WAIT_S = 120.0
"""A longer pause is not waited for: until it is nearly over nothing is sent to the host."""
_LONGEST_S = BACK_OFF[-1].total_seconds()
_ASKING = (429, 503)


@dataclass(frozen=True)
class Pauses:
    """Until when each host is left alone. `clock`: wall clock, seconds since the epoch; `sleep` waits seconds."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    _until_s: dict[str, float] = field(default_factory=dict)

    def note(self, host: str, status: int, retry_after: str) -> datetime | None:
        """Take an answer to heart; a longer pause that is already running stays. Returns what `over` would."""
        asked_s = asked_wait_s(retry_after, self.clock()) if status in _ASKING else None
        if not asked_s:
            return None
        until_s = self.clock() + min(asked_s, _LONGEST_S)
        self._until_s[host] = max(until_s, self._until_s.get(host, 0.0))
        return self._too_far(host)

    async def over(self, host: str) -> datetime | None:
        """Wait until a host may be asked, also if its pause grows meanwhile; or return when, if that is too far."""
        while 0 < self._left_s(host) <= MAX_WAIT_S:
            await self.sleep(self._left_s(host))
        return self._too_far(host)

    def _too_far(self, host: str) -> datetime | None:
        return datetime.fromtimestamp(self._until_s[host], UTC) if self._left_s(host) > MAX_WAIT_S else None

    def _left_s(self, host: str) -> float:
        return self._until_s.get(host, 0.0) - self.clock()
