"""A Postgres that several machines share, for the little that they must agree on: one connection a process.

Here: opening, one transaction at a time, the time that everybody goes by, and what errors mean. Not here: tables;
whoever uses it brings its schema. An address is never in a message: it can hold a password. Importing this imports no
psycopg2.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from threading import RLock
from typing import Any, TypeVar

from geopin_assets.errors import ConfigurationError, TransientError

T = TypeVar("T")
_NAME = "the Postgres that machines share"
_WAITS_S = 60.0
"""For a server that has answered this process and is gone, all who ask together: one is started anew in less. Without,
each cell of a crawl would fail at once, all of a range within seconds."""
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_WITHIN: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "geopin",
    "options": "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
    **{"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3},
}
"""Both ends notice within a minute that the other is gone."""


class Statements:
    """As SQLite's connections take them: a `?` for each value."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        """The cursor, to fetch rows from."""
        self._cursor.execute(sql.replace("?", "%s"), tuple(values))
        return self._cursor


class Patience:
    """With a server that has answered this process and is gone: all who ask wait for one outage together."""

    def __init__(self) -> None:
        self._has_answered = False
        self._lost_s: float | None = None

    def answered(self, ask: Callable[[], T], gone: tuple[type[Exception], ...]) -> T:
        """What `ask` returns, asked again as long as the server may be starting anew; raises what it then raises."""
        pause_s = 0.0
        while True:
            try:
                answer = ask()
            except gone:
                if not self._may_be_back():
                    raise
            else:
                self._has_answered, self._lost_s = True, None
                return answer
            time.sleep(pause_s)
            pause_s = min(max(2 * pause_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    def _may_be_back(self) -> bool:
        now_s = time.monotonic()
        self._lost_s = self._lost_s or now_s
        return self._has_answered and now_s - self._lost_s < _WAITS_S


class SharedDatabase:
    """The database at an address, for the threads of this process. `session` changes whenever a connection was lost."""

    def __init__(self, address: str) -> None:
        self._address = address.replace("+psycopg2", "", 1)
        self._lock, self._connection, self._made = RLock(), None, set[str]()
        self._pid = self.session = 0
        self._ahead_s: float | None = None
        self._patience = Patience()

    def work(self, schema: str, work: Callable[[Statements], T], *, turn: str = "") -> T:
        """One transaction; returns what `work` does, which may be called twice.

        `turn`: nobody else is in a transaction of that name meanwhile. Raises TransientError where there is no answer.
        """
        import psycopg2

        gone = psycopg2.OperationalError, psycopg2.InterfaceError

        def once() -> T:
            try:
                return self._once(schema, work, turn)
            except gone:
                self._connection = None
                raise

        with self._lock:
            try:
                return self._patience.answered(once, gone)
            except gone as error:
                raise TransientError(f"{_NAME}: {type(error).__name__}") from error

    @contextmanager
    def exclusive(self, schema: str, turn: str) -> Iterator[Statements]:
        """One transaction with nobody else in one of that name. Raises TransientError where there is no answer."""
        import psycopg2

        with self._lock:
            self.work(schema, lambda db: db.execute("select 1"))  # a connection that was lost is made anew
            try:
                with self._opened() as connection, connection.cursor() as cursor:
                    cursor.execute("select pg_advisory_xact_lock(%s)", [number_of(turn)])
                    yield Statements(cursor)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                self._connection = None
                raise TransientError(f"{_NAME}: {type(error).__name__}") from error

    def now_s(self) -> float:
        """Seconds since the epoch by the server's clock: those of machines differ."""
        if self._ahead_s is None:
            self.work("", lambda _: None)
        return time.time() + (self._ahead_s or 0.0)

    def close(self) -> None:
        """Until it is needed again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _once(self, schema: str, work: Callable[[Statements], T], turn: str) -> T:
        connection = self._opened()
        with connection, connection.cursor() as cursor:
            db = Statements(cursor)
            if schema not in self._made and schema:
                db.execute("select pg_advisory_xact_lock(?)", [number_of("schema")])
                cursor.execute(schema)
            if turn:
                db.execute("select pg_advisory_xact_lock(?)", [number_of(turn)])
            result = work(db)
        self._made.add(schema)
        return result

    def _opened(self) -> Any:
        """The connection of this process: one that was forked has the other's, which is not to be touched."""
        import psycopg2

        if self._connection is None or self._connection.closed or self._pid != os.getpid():
            try:
                self._connection = psycopg2.connect(self._address, **_WITHIN)
            except psycopg2.ProgrammingError:  # which quotes it
                said = "GEOPIN_POSTGRES_URL: choose postgresql://user:password@host/database"
                raise ConfigurationError(said) from None
            except psycopg2.OperationalError as error:  # of a password with an @ some is taken for the host, and quoted
                told = re.search(r'failed: ([^"\n]*)', str(error))
                raise psycopg2.OperationalError(told[1] if told else "no connection") from None
            self._pid, self.session = os.getpid(), self.session + 1
            connection: Any = self._connection
            with connection, connection.cursor() as cursor:
                cursor.execute("select extract(epoch from clock_timestamp())")
                self._ahead_s = float(cursor.fetchone()[0]) - time.time()
        return self._connection


def number_of(text: str) -> int:
    """A number for a name, as Postgres' advisory locks want it."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


@lru_cache
def shared_database(address: str) -> SharedDatabase:
    """The same for the life of the process."""
    return SharedDatabase(address)
