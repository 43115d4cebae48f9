"""A token bucket that many threads share: spacing between requests, and pauses a server asked for.

Here: when the next request may go. Not here: what a request is, or when to give up (`client.py`), or a rate that
processes share (`shared_rate.py`).
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import Protocol


class Bucket(Protocol):
    """What says when the next request may go."""

    def acquire(self) -> None:
        """Wait for a slot."""
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody through for this long."""
        ...

    @property
    def paused_s(self) -> float:
        """Seconds left of the current pause; 0 when there is none."""
        ...


class TokenBucket:
    """At most `rate_per_s` acquisitions a second over time, `burst` of them at once.

    `clock` returns seconds that never go back; `sleep` waits seconds.
    """

    def __init__(
        self,
        rate_per_s: float,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._next = float("-inf")
        self._paused_until = float("-inf")
        self._pauses = 0

    def acquire(self) -> None:
        """Wait for a slot. A pause that begins while waiting is honored: the slot is given up and taken anew."""
        while True:
            with self._lock:
                now, pauses = self._clock(), self._pauses
                slot = max(now, self._next - self._slack_s, self._paused_until)
                self._next = max(self._next, slot) + self._interval_s
            if slot > now:
                self._sleep(slot - now)
            with self._lock:
                if pauses == self._pauses:
                    return

    def pause(self, seconds: float) -> None:
        """Let nobody through for this long (a longer pause that is already running stays)."""
        with self._lock:
            until = self._clock() + seconds
            if until > self._paused_until:
                self._paused_until = self._next = until
                self._pauses += 1

    @property
    def paused_s(self) -> float:
        """Seconds left of the current pause; 0 when there is none."""
        with self._lock:
            return max(0.0, self._paused_until - self._clock())
