"""Where several machines write down who holds what: a table, and one lock of Postgres for each process that lives.

A process takes the lock of a number that it made up, on a connection that stays open, and its rows name the number.
Who finds that lock free knows that its process has ended, or lost its connection, and removes the rows. So a machine
that is lost lets go of everything as soon as Postgres notices: at once where its kernel closes the connection, within
a minute where nothing does. Whoever lost the connection and lives may find its cells in other hands: what is written
under a condition (`object_store.py`) is right all the same.

Here: that table. Not here: taking and waiting (`lease.py`), connections (`postgres.py`).
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TypeVar

import orjson

from geopin_assets.errors import TransientError
from geopin_assets.files.lease import Holder, Lease, read, written
from geopin_assets.files.postgres import Statements, shared_database

T = TypeVar("T")
_SCHEMA = """
create table if not exists leases (id text primary key, thing text, process bigint, told text, gone text default '');
create index if not exists leases_by_thing on leases (thing);
"""


class SharedBook:
    """The leases in the database at an address."""

    def __init__(self, address: str) -> None:
        self._database = shared_database(address)
        self._session, self._process = 0, 0

    @contextmanager
    def turn(self, thing: str) -> Iterator["_Page"]:
        with self._database.exclusive(_SCHEMA, f"leases of {thing}") as db:
            yield _Page(self, db, thing)

    def work(self, work: Callable[[Statements], T]) -> T:
        """Of one lease."""
        return self._database.work(_SCHEMA, work)

    def process(self, db: Statements) -> int:
        """The number of this process, locked for as long as its connection lasts."""
        if self._session != self._database.session:
            self._session, self._process = self._database.session, secrets.randbits(62)
            db.execute("select pg_advisory_lock(?)", [self._process])
        return self._process


@lru_cache
def shared_book(address: str) -> SharedBook:
    """One a process: Postgres gives a lock to a connection that has it already, so another's would look free."""
    return SharedBook(address)


class _Page:
    def __init__(self, book: SharedBook, db: Statements, thing: str) -> None:
        self._book, self._db, self._thing = book, db, thing

    def begin(self, holder: Holder) -> Lease:
        id_, process = secrets.token_hex(8), self._book.process(self._db)
        insert = "insert into leases (id, thing, process, told) values (?, ?, ?, ?)"
        self._db.execute(insert, (id_, self._thing, process, written(holder).decode()))
        return _Row(self._book, id_, holder)

    def standing(self) -> list[Holder]:
        rows = "select process, told, gone from leases where thing = ? order by id"
        found = self._db.execute(rows, [self._thing]).fetchall()
        gone = {process for process in {row[0] for row in found} if self._has_ended(process)}
        for process in gone:
            self._db.execute("delete from leases where process = ?", [process])
        return [
            read(told.encode(), map(orjson.loads, units.splitlines()))
            for process, told, units in found
            if process not in gone
        ]

    def _has_ended(self, process: int) -> bool:
        if process == self._book.process(self._db):
            return False
        (is_free,) = self._db.execute("select pg_try_advisory_lock(?)", [process]).fetchone()
        if is_free:
            self._db.execute("select pg_advisory_unlock(?)", [process])
        return bool(is_free)


class _Row(Lease):
    def __init__(self, book: SharedBook, id_: str, holder: Holder) -> None:
        super().__init__(holder)
        self._book, self._id = book, id_

    def let_go(self, unit: str) -> None:
        line = orjson.dumps(unit).decode() + "\n"
        with suppress(TransientError):
            self._book.work(lambda db: db.execute("update leases set gone = gone || ? where id = ?", (line, self._id)))

    def end(self) -> None:
        with suppress(TransientError):
            self._book.work(lambda db: db.execute("delete from leases where id = ?", [self._id]))
