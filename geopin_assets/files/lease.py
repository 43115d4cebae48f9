"""Leases: who works on which part of what, over all processes of an installation, until it lets go or ends.

On one machine:

    {folder}/{thing}/{pid}-{random}.lease    one per holder, locked by it: who, since when, and which units
    {folder}/{thing}/.turn                   locked for the moment in which somebody looks and takes

A thing is an asset or a store; its units are cells, without which it is held as a whole. Units are taken all at once
or as many as are free, so nobody holds some and waits for others: no two can wait for each other. The kernel unlocks
the file of a process that ends, however it ends, and whoever looks next removes it: nothing expires, nothing is to
be repaired, and a full disk costs a lease but never another's. A thousand cells are one file and one descriptor.

Here: taking, waiting and saying for whom. Not here: what needs a lease, or where several machines write down who holds
what (`lease_postgres.py`).
"""

import errno
import fcntl
import logging
import os
import re
import secrets
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Protocol

import orjson

from geopin_assets.errors import TransientError
from geopin_assets.files.damage import writing
from geopin_assets.files.lock import locked

LEASES = "leases"
"""The folder of them, beside what they are about."""
_FIRST_WORD_AFTER_S = 1.0
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0
_NONE = (errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""It was let go of meanwhile; or a folder, a link or a socket is in its place, by which nobody can hold anything."""
_log = logging.getLogger(__name__)


class StillHeldError(TransientError):
    """What was wanted is somebody else's; the message names them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, and what it holds of a thing."""

    pid: int
    host: str
    command: str
    since: str
    what: str = ""
    """What it does there, in a few words."""
    units: frozenset[str] | None = None
    """None: the whole thing."""

    def has(self, units: Collection[str] | None) -> frozenset[str] | None:
        """Which of these it holds; None: the thing as a whole is contested."""
        return None if self.units is None or units is None else self.units.intersection(units)

    def __str__(self) -> str:
        what = f", {self.what}" if self.what else ""
        return f"process {self.pid} ({self.command}{what}) on {self.host} since {self.since}"


class Lease(ABC):
    """What this process holds, until it lets go of it."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder

    @property
    def units(self) -> frozenset[str]:
        """What was taken."""
        return self.holder.units or frozenset()

    @abstractmethod
    def let_go(self, unit: str) -> None:
        """Others may have this unit from now on, the rest stays. Where that cannot be noted, it stays too."""

    @abstractmethod
    def end(self) -> None:
        """Let go of everything. Where that cannot be noted it does no harm: who looks next removes it."""


class Book(Protocol):
    """Where it is written down who holds what."""

    def turn(self, thing: str) -> AbstractContextManager["Page"]:
        """Look and take, with nobody else doing so meanwhile."""
        ...


class Page(Protocol):
    """What is written down of a thing."""

    def standing(self) -> list[Holder]:
        """Who holds something and lives; what others left is removed."""
        ...

    def begin(self, holder: Holder) -> Lease:
        """Write down another one."""
        ...


class _FileLease(Lease):
    def __init__(self, path: Path, descriptor: int, holder: Holder) -> None:
        super().__init__(holder)
        self._path, self._descriptor = path, descriptor

    def let_go(self, unit: str) -> None:
        with suppress(OSError):
            os.write(self._descriptor, orjson.dumps(unit) + b"\n")

    def end(self) -> None:
        with suppress(OSError):
            self._path.unlink()
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # whatever process was forked meanwhile
        os.close(self._descriptor)


class Leases:
    """All leases in a folder of this machine, or in the Postgres at an address. For several threads and processes."""

    def __init__(self, place: Path | str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._book, self._sleep = _book(place), sleep

    @contextmanager
    def held(
        self,
        thing: str,
        units: Collection[str] | None = None,
        *,
        what: str = "",
        patience_s: float = inf,
        say: Callable[[str], None] | None = None,
    ) -> Iterator[Lease]:
        """Have all of these units, or the whole thing, for yourself; waits until they are free.

        Whoever waits says for whom, in the log and to `say`. Raises StillHeldError naming the holder after
        `patience_s`.
        """
        with self._ending(self._waited(thing, units, what, patience_s, say, is_all=True)) as lease:
            yield lease

    @contextmanager
    def some(
        self,
        thing: str,
        units: Collection[str],
        *,
        what: str = "",
        patience_s: float = inf,
        say: Callable[[str], None] | None = None,
    ) -> Iterator[Lease]:
        """Have as many of these units as are free, at least one: what somebody else does is waited for at the end."""
        with self._ending(self._waited(thing, units, what, patience_s, say, is_all=False)) as lease:
            yield lease

    @contextmanager
    def free(self, thing: str, units: Collection[str], *, what: str = "") -> Iterator[frozenset[str]]:
        """Have as many of these units as are free right now, maybe none; never waits."""
        lease, _ = self._take(thing, units, what, is_all=False)
        if lease is None:
            yield frozenset()
            return
        with self._ending(lease):
            yield lease.units

    def holders(self, thing: str) -> list[Holder]:
        """Who holds something of a thing now."""
        with self._book.turn(thing) as page:
            return page.standing()

    def take_for_life(self, thing: str, unit: str) -> None:
        """Have a unit until this process ends. Raises StillHeldError if another has it."""
        self._waited(thing, [unit], "", 0.0, None, is_all=True)

    @contextmanager
    def _ending(self, lease: Lease) -> Iterator[Lease]:
        try:
            yield lease
        finally:
            lease.end()

    def _waited(
        self,
        thing: str,
        units: Collection[str] | None,
        what: str,
        patience_s: float,
        say: Callable[[str], None] | None,
        *,
        is_all: bool,
    ) -> Lease:
        began_s, wait_s, said = time.monotonic(), _SHORTEST_WAIT_S, ""
        while True:
            lease, others = self._take(thing, units, what, is_all=is_all)
            if lease:
                return lease
            text = f"{thing}{_named(units, others)} held by {'; '.join(map(str, others))}"
            waited_s = time.monotonic() - began_s
            if patience_s and waited_s >= _FIRST_WORD_AFTER_S and text != said:
                _log.info("waiting: %s", text)
                if say:
                    say(f"waiting: {text}")
                said = text
            if waited_s >= patience_s:
                raise StillHeldError(f"{text}, after waiting {waited_s:.0f} s" if patience_s else text)
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _take(
        self, thing: str, units: Collection[str] | None, what: str, *, is_all: bool
    ) -> tuple[Lease | None, list[Holder]]:
        """The lease, or who is in the way. Of a turn that was lost in the middle nothing is left: another is taken."""
        try:
            return self._take_once(thing, units, what, is_all=is_all)
        except TransientError:
            return self._take_once(thing, units, what, is_all=is_all)

    def _take_once(
        self, thing: str, units: Collection[str] | None, what: str, *, is_all: bool
    ) -> tuple[Lease | None, list[Holder]]:
        with self._book.turn(thing) as page:
            others = [other for other in page.standing() if other.has(units) is None or other.has(units)]
            wanted = None if units is None else frozenset(units)
            if others:
                held = [other.has(units) for other in others]
                if is_all or wanted is None or None in held:
                    return None, others
                wanted = wanted.difference(*(some for some in held if some))
                if not wanted:
                    return None, others
            return page.begin(Holder(os.getpid(), socket.gethostname(), _command(), _now(), what, wanted)), others


def leases_in(home: str | Path) -> Leases:
    """What is held of a Dagster instance (its DAGSTER_HOME), rather than of the data."""
    return Leases(Path(home) / ".geopin" / LEASES)


def _book(place: Path | str) -> Book:
    if isinstance(place, Path):
        return _Folder(place)
    from geopin_assets.files.lease_postgres import shared_book

    return shared_book(place)


class _Folder:
    """A book on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def turn(self, thing: str) -> Iterator["_Files"]:
        readable = re.sub(r"[^\w.-]+", "-", thing)[:80]
        folder = self._folder / f"{readable}-{blake2b(thing.encode(), digest_size=4).hexdigest()}"
        with locked(folder / ".turn"), writing(str(folder)):
            yield _Files(folder)


class _Files:
    """Leases of a thing, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, holder: Holder) -> Lease:
        path = self._folder / f"{holder.pid}-{secrets.token_hex(4)}.lease"
        with writing(str(path)):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o644)
            lease = _FileLease(path, descriptor, holder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.write(descriptor, written(holder) + b"\n")
            except BaseException:
                lease.end()
                raise
        return lease

    def standing(self) -> list[Holder]:
        return _standing(self._folder)


def _standing(folder: Path) -> list[Holder]:
    found = []
    for path in sorted(folder.glob("*.lease")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _NONE:
                continue
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            found.append(_read(path))
        finally:
            os.close(descriptor)
    return found


def _read(path: Path) -> Holder:
    """What a holder wrote. One that could not write holds everything: its lock says that it lives."""
    try:
        first, *gone = path.read_bytes().splitlines()
        return read(first, map(orjson.loads, gone))
    except (OSError, ValueError, TypeError, AttributeError):
        pid = path.name.partition("-")[0]
        return Holder(int(pid) if pid.isdecimal() else 0, "this machine", "unknown", "an unknown time")


def written(holder: Holder) -> bytes:
    """What a holder leaves for the others to read."""
    units = None if holder.units is None else sorted(holder.units)
    return orjson.dumps(asdict(holder) | {"units": units})


def read(told: bytes, gone: Iterable[str]) -> Holder:
    """The holder that wrote this, without units that it let go of. Raises ValueError, TypeError for anything else."""
    facts = orjson.loads(told)
    units = facts.pop("units")
    holder = Holder(**facts)
    return holder if units is None else replace(holder, units=frozenset(units).difference(gone))


def _named(units: Collection[str] | None, others: list[Holder]) -> str:
    """For example ` nh-amsterdam-r090c051 and 3 more`."""
    held = sorted(set[str]().union(*(other.has(units) or () for other in others)))
    if not held:
        return " is"
    return f" {held[0]} is" if len(held) == 1 else f" {held[0]} and {len(held) - 1:,} more are"


def _command() -> str:
    """Never a token, so the command and its first word at most."""
    command, word = Path(sys.argv[0] or sys.executable).name, sys.argv[1] if len(sys.argv) > 1 else ""
    return f"{command} {word}" if re.fullmatch(r"[a-z]{2,12}", word) else command


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
