"""A circuit breaker: after repeated failure nothing is sent for a while, then one probe decides; each probe that
fails too makes the next while twice as long.

Here: counting failures and remembering the last one. Not here: what counts as a failure (`client.py`).
"""

import time
from collections.abc import Callable
from threading import Lock

from geopin_assets.errors import GeoPinError, PermanentError, SourceUnavailable


class CircuitBreaker:
    """Opens after `failures` failures in a row, for `pause_s` seconds; then lets one probe through per pause.

    A probe that fails doubles the pause, up to `longest_pause_s`.
    """

    def __init__(
        self,
        *,
        failures: int = 10,
        pause_s: float = 60.0,
        longest_pause_s: float = 960.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold, self._clock = failures, clock
        self._first_pause_s, self._longest_pause_s = pause_s, longest_pause_s
        self._pause_s = pause_s
        self._is_probing = False
        self._lock = Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._cause: GeoPinError | None = None

    def check(self) -> None:
        """Return when a request may go.

        Raises SourceUnavailable while open, or PermanentError when it was opened by a refusal
        (a probe sees whether that still holds).
        """
        with self._lock:
            now = self._clock()
            if self._open_until is None:
                return
            if now >= self._open_until:
                self._open_until = now + self._pause_s  # this caller probes; the others wait one pause more
                self._is_probing = True
                return
            wait_s = self._open_until - now
            message = f"{self._cause} (not asked again for {wait_s:.0f} s)"
            if isinstance(self._cause, PermanentError):
                raise PermanentError(message)
            raise SourceUnavailable(message, retry_after_s=wait_s)

    def succeeded(self) -> None:
        """The server answered sensibly: close and forget past failures."""
        with self._lock:
            self._failures, self._open_until, self._cause = 0, None, None
            self._pause_s, self._is_probing = self._first_pause_s, False

    def failed(self, cause: GeoPinError, *, for_good: bool = False) -> None:
        """Count a failure; `for_good` (a refusal such as 401) opens at once."""
        with self._lock:
            self._failures += 1
            self._cause = cause
            if self._is_probing:
                self._pause_s, self._is_probing = min(2 * self._pause_s, self._longest_pause_s), False
            if for_good or self._failures >= self._threshold:
                self._open_until = self._clock() + self._pause_s
