"""The API's own limit: so many requests in five minutes over all products, then none for the next five.

Here: counting and the headers that tell. Not here: who is counted (`emulator.py`).
"""

from collections import deque
from collections.abc import Callable

from geopin_assets.sandbox.cloudflare.limits import Limits


class RateBlock:
    """Counts one user's requests; `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._seen: deque[float] = deque()
        self._blocked_until = float("-inf")

    def spend(self) -> float | None:
        """Count one request; seconds until requests are answered again, or None if this one is."""
        now = self._clock()
        self._forget(now)
        if now >= self._blocked_until and len(self._seen) >= self._limits.requests_per_window:
            self._blocked_until = now + self._limits.block_s
        if now < self._blocked_until:
            return self._blocked_until - now
        self._seen.append(now)
        return None

    def headers(self) -> dict[str, str]:
        """What every answer says about the limit."""
        now = self._clock()
        first = self._seen[0] if self._seen else now
        reset_s = max(0, round(first + self._limits.window_s - now))
        limit, left = self._limits.requests_per_window, self._limits.requests_per_window - len(self._seen)
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": str(reset_s),
            "ratelimit": f'"default";r={left};t={reset_s}',
            "ratelimit-policy": f'"default";q={limit};w={self._limits.window_s:.0f}',
        }

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0] <= now - self._limits.window_s:
            self._seen.popleft()
