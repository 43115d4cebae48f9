"""What a provider lets each kind of request cost, and an account of what was used today that outlives the run.

Here: quotas as facts, and the file that counts against their daily part, shared by threads and processes. Not
here: spacing requests within a second (`rate.py`).
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from geopin_assets.errors import BudgetSpent
from geopin_assets.files.sqlite import transaction

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
