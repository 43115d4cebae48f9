"""How one kind of request behaves over time: counted against a day, tried again, and left alone after failures.
failures.

Here: quotas as facts and the file that counts against their daily part, shared by threads and processes; the circuit
breaker, the policy of retries (on tenacity), and what several clients of one source in one process share, so that a
source that was found dead by one range of cells is not found dead again by each of the next. Not here: when the next
request may go (`rate.py`), what counts as a failure (`client.py`).
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from geopin_assets.errors import BudgetSpent, GeoPinError, PermanentError, SourceUnavailable, TransientError
from geopin_assets.files.sqlite import transaction
from geopin_assets.http_client.rate import Bucket, TokenBucket

_DAY_S = 86_400
_SCHEMA = """
create table if not exists used (name text, kind text, day text, requests integer, primary key (name, kind, day));
create table if not exists stopped (name text, kind text, until_s real, reason text, primary key (name, kind));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How often one kind of request may be sent: `per_second` on average, `per_day` (UTC) in all, None for no limit."""

    per_second: float
    per_day: int | None = None


class DailyUse:
    """Requests sent today by (name, kind), and stops that last for days, in the SQLite file `path`.

    `clock` is the wall clock, seconds since the epoch; a day ends at midnight UTC.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def spend(self, name: str, kind: str, per_day: int | None) -> None:
        """Count one request. Raises BudgetSpent, counting nothing, if today's are used up or the kind is stopped."""
        with self._connect() as db:
            now_s, day = self._now()
            self._raise_if_stopped(db, name, kind, now_s)
            if per_day is None:
                return
            counted = "select requests from used where name = ? and kind = ? and day = ?"
            (used,) = db.execute(counted, (name, kind, day)).fetchone() or (0,)
            if used >= per_day:
                raise BudgetSpent(
                    f"{name}: today's budget of {per_day} requests for {kind} is spent, full again at 00:00 UTC",
                    retry_after_s=_DAY_S - now_s % _DAY_S,
                )
            db.execute("insert or replace into used values (?, ?, ?, ?)", (name, kind, day, used + 1))

    def stop(self, name: str, kind: str, seconds: float, reason: str) -> None:
        """Let no request of this kind through for `seconds`, in this run and in later ones."""
        with self._connect() as db:
            db.execute(
                "insert or replace into stopped values (?, ?, ?, ?)", (name, kind, self._now()[0] + seconds, reason)
            )

    def used_since(self, day: date) -> list[tuple[str, str, date, int]]:
        """(name, kind, day, requests) of every day since then, oldest first; days without a request have no row."""
        with self._connect() as db:
            rows = db.execute(
                "select name, kind, day, requests from used where day >= ? order by day, name, kind", (day.isoformat(),)
            ).fetchall()
        return [(name, kind, date.fromisoformat(at), requests) for name, kind, at, requests in rows]

    def stops(self) -> list[tuple[str, str, datetime, str]]:
        """(name, kind, until, reason) of every stop that is in force."""
        with self._connect() as db:
            rows = db.execute(
                "select name, kind, until_s, reason from stopped where until_s > ? order by name, kind",
                (self._now()[0],),
            ).fetchall()
        return [(name, kind, datetime.fromtimestamp(until_s, UTC), reason) for name, kind, until_s, reason in rows]

    def _now(self) -> tuple[float, str]:
        now_s = self._clock()
        return now_s, datetime.fromtimestamp(now_s, UTC).date().isoformat()

    def _raise_if_stopped(self, db: sqlite3.Connection, name: str, kind: str, now_s: float) -> None:
        row = db.execute("select until_s, reason from stopped where name = ? and kind = ?", (name, kind)).fetchone()
        if row is not None and row[0] > now_s:
            until = datetime.fromtimestamp(row[0], UTC)
            message = f"{name}: {kind} are not asked for until {until:%Y-%m-%d %H:%M} UTC: {row[1]}"
            raise BudgetSpent(message, retry_after_s=row[0] - now_s)

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._path, _SCHEMA, is_durable=False)


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
