"""How one kind of request behaves over time: counted against a day, tried again, and left alone after failures.

Here: quotas as facts and the table that counts against their daily part; the circuit breaker, the policy of retries (on
tenacity), and what all clients of one source share, whatever the process: crawling and the renewal of links ask at one
rate, keep one pause, and a source that one of them found dead is not found dead again by the others. Not here: when
the next request may go (`rate.py`), what counts as a failure (`client.py`), where it is remembered (`state.py`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from geopin_assets.errors import BudgetSpent, GeoPinError, PermanentError, SourceUnavailable, TransientError
from geopin_assets.files.losable import Connection, Place, clock_of, on_losable
from geopin_assets.http_client.rate import Bucket
from geopin_assets.http_client.state import OwnState, SharedState, State, Values

_DAY_S = 86_400
_SCHEMA = """
create table if not exists used (name text, kind text, day text, requests integer, primary key (name, kind, day));
create table if not exists stopped (
  name text, kind text, until_s double precision, reason text, primary key (name, kind)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How often one kind of request may be sent: `per_second` on average, `per_day` (UTC) in all, None for no limit."""

    per_second: float
    per_day: int | None = None


class DailyUse:
    """Requests sent today by (name, kind), and stops that last for days, of all who share `place`.

    `clock`: another wall clock than theirs, seconds since the epoch; a day ends at midnight UTC.
    """

    def __init__(self, place: Place, *, clock: Callable[[], float] | None = None) -> None:
        self._place, self._clock = place, clock or clock_of(place)

    def spend(self, name: str, kind: str, per_day: int | None) -> None:
        """Count one request. Raises BudgetSpent, counting nothing, if today's are used up or the kind is stopped."""

        def count(db: Connection) -> None:
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
            insert = "insert into used values (?, ?, ?, ?) on conflict (name, kind, day) do update set requests = ?"
            db.execute(insert, (name, kind, day, used + 1, used + 1))

        on_losable(self._place, _SCHEMA, count)

    def stop(self, name: str, kind: str, seconds: float, reason: str) -> None:
        """Let no request of this kind through for `seconds`, a day at most, in this run and in later ones."""
        until_s = self._now()[0] + min(seconds, _DAY_S)
        insert = (
            "insert into stopped values (?, ?, ?, ?) on conflict (name, kind) do update set until_s = ?, reason = ?"
        )
        on_losable(self._place, _SCHEMA, lambda db: db.execute(insert, (name, kind, until_s, reason, until_s, reason)))

    def used_since(self, day: date) -> list[tuple[str, str, date, int]]:
        """(name, kind, day, requests) of every day since then, oldest first; days without a request have no row."""
        select = "select name, kind, day, requests from used where day >= ? order by day, name, kind"
        rows = self._rows(select, day.isoformat())
        return [(name, kind, date.fromisoformat(at), requests) for name, kind, at, requests in rows]

    def stops(self) -> list[tuple[str, str, datetime, str]]:
        """(name, kind, until, reason) of every stop that is in force."""
        now_s, _ = self._now()
        where = "where until_s > ? and until_s <= ? order by name, kind"
        rows = self._rows(f"select name, kind, until_s, reason from stopped {where}", now_s, now_s + _DAY_S)  # noqa: S608
        return [(name, kind, datetime.fromtimestamp(until_s, UTC), reason) for name, kind, until_s, reason in rows]

    def _now(self) -> tuple[float, str]:
        now_s = self._clock()
        return now_s, datetime.fromtimestamp(now_s, UTC).date().isoformat()

    def _raise_if_stopped(self, db: Connection, name: str, kind: str, now_s: float) -> None:
        row = db.execute("select until_s, reason from stopped where name = ? and kind = ?", (name, kind)).fetchone()
        if row is not None and now_s < row[0] <= now_s + _DAY_S:  # what is farther ahead, a wrong clock wrote
            until = datetime.fromtimestamp(row[0], UTC)
            message = f"{name}: {kind} are not asked for until {until:%Y-%m-%d %H:%M} UTC: {row[1]}"
            raise BudgetSpent(message, retry_after_s=row[0] - now_s)

    def _rows(self, select: str, *within: object) -> list[Any]:
        return on_losable(self._place, _SCHEMA, lambda db: db.execute(select, within).fetchall(), is_writing=False)


BREAKER_FAILURES = 10
PAUSE_S, LONGEST_PAUSE_S = 60.0, 960.0
_OPEN, _FAILED = "open_until_at_s", "failed_at_s"


class CircuitBreaker:
    """Opens after `failures` failures in a row, for PAUSE_S; then lets one probe through per pause.

    A probe that fails doubles the pause, up to LONGEST_PAUSE_S; what is older than that is forgotten. Where processes
    share the `state`, one that has heard nothing yet may ask although others found the source dead: somebody may have
    mended it, and only then started another run.
    """

    def __init__(
        self,
        *,
        failures: int = BREAKER_FAILURES,
        clock: Callable[[], float] = time.monotonic,
        state: State | None = None,
    ) -> None:
        self._threshold, self._clock, self._state = failures, clock, state or OwnState()
        self._has_heard = self._is_to_clear = False

    def check(self) -> None:
        """Return when a request may go.

        Raises SourceUnavailable while open, or PermanentError when it was opened by a refusal
        (a probe sees whether that still holds).
        """
        known = self._recent(self._state.read())
        self._is_to_clear = bool(known)
        if _OPEN in known and self._has_heard and (wait_s := self._state.change(self._wait_or_probe)):
            message = f"{known['cause']} (not asked again for {wait_s:.0f} s)"
            if known["is_refusal"]:
                raise PermanentError(message)
            raise SourceUnavailable(message, retry_after_s=wait_s)

    def succeeded(self) -> None:
        """The server answered sensibly: close and forget past failures."""
        self._has_heard = True
        if self._is_to_clear:
            self._state.change(self._forget)

    def failed(self, cause: GeoPinError, *, for_good: bool = False) -> None:
        """Count a failure; `for_good` (a refusal such as 401) opens at once."""
        self._has_heard = self._is_to_clear = True

        def note(values: Values) -> None:
            now, known = self._clock(), self._recent(values)
            self._forget(values)
            known |= {"failures": known.get("failures", 0) + 1, _FAILED: now}
            if known.pop("is_probing", False):
                known["pause_s"] = min(2 * known["pause_s"], LONGEST_PAUSE_S)
            if for_good or known["failures"] >= self._threshold:
                pause_s = known.setdefault("pause_s", PAUSE_S)
                known |= {_OPEN: now + pause_s, "cause": str(cause), "is_refusal": isinstance(cause, PermanentError)}
            values |= known

        self._state.change(note)

    def _wait_or_probe(self, values: Values) -> float:
        """Seconds to wait; 0 for the one caller who probes, while the others wait one pause more."""
        now = self._clock()
        if now < values.get(_OPEN, now):
            return float(values[_OPEN] - now)
        if _OPEN in values:
            values |= {_OPEN: now + values["pause_s"], "is_probing": True}
        return 0.0

    def _recent(self, values: Values) -> Values:
        """What is known of failures, if it is not too old."""
        known = {name: value for name, value in values.items() if name in _OF_BREAKERS}
        latest = max(known.get(_OPEN, 0.0), known.get(_FAILED, 0.0))
        return known if known and self._clock() - latest <= LONGEST_PAUSE_S else {}

    def _forget(self, values: Values) -> None:
        for name in _OF_BREAKERS:
            values.pop(name, None)


_OF_BREAKERS = (_OPEN, _FAILED, "failures", "pause_s", "is_probing", "cause", "is_refusal")


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
    state_of: Callable[[str], State] = lambda kind: OwnState(),
) -> dict[str, Politeness]:
    """By kind of request; the kind "" is every request that names none. `state_of` a kind, on the same `clock`."""
    built = {}
    for kind, quota in quotas.items():
        state = state_of(kind)
        bucket = Bucket(1.0 / quota.per_second, state, clock=clock, sleep=sleep)
        built[kind] = Politeness(bucket, CircuitBreaker(failures=failures, clock=clock, state=state), quota.per_day)
    return built


def shared_politeness(
    quotas: Mapping[str, Quota], place: Place, name: str, *, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Politeness]:
    """Shared by all processes that use `name` in a place."""
    return build_politeness(
        quotas, clock=clock_of(place), sleep=sleep, state_of=lambda kind: SharedState(place, f"{name}/{kind}")
    )
