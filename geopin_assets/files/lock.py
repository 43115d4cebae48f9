"""The one lock between processes: a file that one of them holds, until it lets go or ends, however it ends.

Here: waiting for a lock by name, holding one as long as the process lives, and one that many hold. Not here: what a
lock protects. The kernel releases what a killed process held (`flock`, through `filelock`), so there is nothing to
expire or to clean up; the files stay. One machine only: on several, a conditional write to the store decides
(`object_store.py`). Importing this imports no filelock (50 ms).
"""

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from geopin_assets.errors import TransientError
from geopin_assets.files.damage import writing

if TYPE_CHECKING:
    from filelock import FileLock

_FIRST_WORD_AFTER_S = 1.0
_POLL_S = 0.05
_LONGEST_NOTE = 300
_log = logging.getLogger(__name__)
_held_for_life: "dict[Path, FileLock]" = {}


@contextmanager
def locked(path: Path, *, patience_s: float = 300.0) -> Iterator[None]:
    """Be the only thread of the only process in here. Whoever waits says for whom in the log.

    Raises TransientError naming the holder if it is not let go of in time.
    """
    lock = _lock(path)
    if not _acquire(lock, min(patience_s, _FIRST_WORD_AFTER_S)):
        _log.info("waiting for %s, held by %s", path.name, holder(path))
        if not _acquire(lock, max(0.0, patience_s - _FIRST_WORD_AFTER_S)):
            raise TransientError(f"{path.name} is still held by {holder(path)} after {patience_s:g} s")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def joined(path: Path) -> Iterator[bool]:
    """Be one of those in here, however many they are; whether nobody else was. Never waits."""
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            is_alone = _is_locked(descriptor, fcntl.LOCK_EX)
            _is_locked(descriptor, fcntl.LOCK_SH)
            yield is_alone
        finally:
            os.close(descriptor)


def _is_locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:  # somebody is in there, or this disk has no locks: then nobody is ever alone
        return False
    return True


def hold_for_life(path: Path) -> bool:
    """Hold a lock until this process ends; whether it is held: False if another process has it. Never waits."""
    if path not in _held_for_life:
        if not _acquire(lock := _lock(path), 0):
            return False
        _held_for_life[path] = lock
    return True


def holder(path: Path) -> str:
    """Who holds a lock, or held it last: process, command and since when."""
    try:
        return path.read_bytes()[:_LONGEST_NOTE].decode(errors="replace").strip() or "a process"
    except OSError:
        return "a process"


def _lock(path: Path) -> "FileLock":
    from filelock import FileLock

    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, on_acquired=_sign, fallback_to_soft=False, poll_interval=_POLL_S)


def _acquire(lock: "FileLock", patience_s: float) -> bool:
    from filelock import Timeout

    try:
        with writing(lock.lock_file):
            lock.acquire(timeout=patience_s)
    except Timeout:
        return False
    return True


def _sign(descriptor: int) -> None:
    """Leave word in the file for whoever waits: never a token, so the command without its arguments."""
    command = Path(sys.argv[0] or sys.executable).name
    note = f"process {os.getpid()} ({command}) since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, note.encode()[:_LONGEST_NOTE], 0)
