"""How one kind of request behaves over time: spaced, tried again after a failure, and left alone after many.

Here: the circuit breaker, the policy of retries (on tenacity), and what several clients of one source in one process
share, so that a source that was found dead by one range of cells is not found dead again by each of the next. Not
here: when the next request may go (`rate.py`), budgets per day (`quota.py`), what counts as a failure (`client.py`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from geopin_assets.errors import GeoPinError, PermanentError, SourceUnavailable, TransientError
from geopin_assets.http_client.quota import Quota
from geopin_assets.http_client.rate import Bucket, TokenBucket

BREAKER_FAILURES = 10
PAUSE_S, LONGEST_PAUSE_S = 60.0, 960.0


class CircuitBreaker:
    """Opens after `failures` failures in a row, for PAUSE_S; then lets one probe through per pause.

    A probe that fails doubles the pause, up to LONGEST_PAUSE_S.
    """

    def __init__(
        self,
        *,
        failures: int = BREAKER_FAILURES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold, self._clock = failures, clock
        self._pause_s = PAUSE_S
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
            self._pause_s, self._is_probing = PAUSE_S, False

    def failed(self, cause: GeoPinError, *, for_good: bool = False) -> None:
        """Count a failure; `for_good` (a refusal such as 401) opens at once."""
        with self._lock:
            self._failures += 1
            self._cause = cause
            if self._is_probing:
                self._pause_s, self._is_probing = min(2 * self._pause_s, LONGEST_PAUSE_S), False
            if for_good or self._failures >= self._threshold:
                self._open_until = self._clock() + self._pause_s


_backoff = wait_exponential_jitter(initial=1, max=30, jitter=1)


def retrying(*, attempts: int, max_wait_s: float, sleep: Callable[[float], None]) -> Retrying:
    """Try TransientErrors up to `attempts` times, 1, 2, 4, … s apart plus jitter, or as long as the server asks.

    The last error is raised as it is, at once if the server asks for more than `max_wait_s`.
    """
    return Retrying(
        retry=retry_if_exception(_is_worth_another_attempt),
        stop=lambda state: state.attempt_number >= attempts or _asked_wait_s(state) > max_wait_s,
        wait=lambda state: max(_asked_wait_s(state), _backoff(state)),
        sleep=sleep,
        reraise=True,
    )


def _is_worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, SourceUnavailable)


def _asked_wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0


@dataclass(frozen=True, slots=True)
class Politeness:
    """Spacing and breaker of one kind of request."""

    bucket: Bucket
    breaker: CircuitBreaker
    per_day: int | None = None


def build_politeness(
    quotas: Mapping[str, Quota],
    *,
    failures: int = BREAKER_FAILURES,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Politeness]:
    """By kind of request; the kind "" is every request that names none."""
    return {
        kind: Politeness(
            TokenBucket(quota.per_second, clock=clock, sleep=sleep),
            CircuitBreaker(failures=failures, clock=clock),
            quota.per_day,
        )
        for kind, quota in quotas.items()
    }
