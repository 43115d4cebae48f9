"""When the next request may go: token buckets that also keep the pauses a server asked for.

`TokenBucket` is shared by the threads of a process; `SharedBucket`, with its state in a SQLite file, by all processes
of an installation: for what a provider grants an account. Not here: what a request is, or when to give up
(`client.py`), budgets per day (`politeness.py`).
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Protocol

from geopin_assets.files.sqlite import transaction


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
    """At most `rate_per_s` acquisitions a second, evenly. `clock` gives seconds that never go back; `sleep` waits."""

    def __init__(
        self,
        rate_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._next = self._paused_until = float("-inf")
        self._pauses = 0

    def acquire(self) -> None:
        """Wait for a slot. A pause that begins while waiting is honored: the slot is given up and taken anew."""
        while True:
            with self._lock:
                now, pauses = self._clock(), self._pauses
                slot = max(now, self._next, self._paused_until)
                self._next = slot + self._interval_s
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


_SCHEMA = "create table if not exists rates (name text primary key, next_s real, paused_until_s real);"
_LONGEST_S = 3600.0  # a stored time further ahead than this was written by a clock that was wrong


class SharedBucket:
    """At most `requests` acquisitions in any `period_s` seconds by all users of `name` in the file; `burst` at once.

    What is not taken at once is spread evenly. `clock` is the wall clock, which processes have in common.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        requests: int,
        period_s: float,
        burst: int,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= burst < requests:
            raise ValueError(f"a burst of {burst} is no part of {requests} requests")
        self._path, self._name = path, name
        self._interval_s = period_s / (requests - burst)  # a full burst and the steady flow make `requests`
        self._slack_s = (burst - 1) * self._interval_s
        self._clock, self._sleep = clock, sleep

    def acquire(self) -> None:
        """Wait for a slot. A pause that begins while waiting is honored: the slot is given up and taken anew."""
        while True:
            wait_s = self._take_slot()
            if wait_s > 0:
                self._sleep(wait_s)
            if self.paused_s == 0:
                return

    def pause(self, seconds: float) -> None:
        """Let nobody through for this long (a longer pause that is already running stays)."""
        with self._transaction() as db:
            now_s = self._clock()
            next_s, paused_until_s = self._state(db, now_s)
            until_s = max(paused_until_s, now_s + seconds)
            self._store(db, max(next_s, until_s), until_s)

    @property
    def paused_s(self) -> float:
        """Seconds left of the current pause; 0 when there is none."""
        with self._transaction() as db:
            now_s = self._clock()
            return max(0.0, self._state(db, now_s)[1] - now_s)

    def _take_slot(self) -> float:
        """Reserve the next free slot; how many seconds away it is."""
        with self._transaction() as db:
            now_s = self._clock()
            next_s, paused_until_s = self._state(db, now_s)
            slot_s = max(now_s, next_s - self._slack_s, paused_until_s)
            self._store(db, max(next_s, slot_s) + self._interval_s, paused_until_s)
            return slot_s - now_s

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._path, _SCHEMA, is_durable=False)

    def _state(self, db: sqlite3.Connection, now_s: float) -> tuple[float, float]:
        row = db.execute("select next_s, paused_until_s from rates where name = ?", (self._name,)).fetchone()
        next_s, paused_until_s = row or (now_s, now_s)
        return min(next_s, now_s + _LONGEST_S), min(paused_until_s, now_s + _LONGEST_S)

    def _store(self, db: sqlite3.Connection, next_s: float, paused_until_s: float) -> None:
        db.execute("insert or replace into rates values (?, ?, ?)", (self._name, next_s, paused_until_s))
