"""Numbers that order the crawls of a source, whichever process makes them: `{source}/crawls.json` counts.

Servers take few writes of one object (`ObjectStore.seconds_between_puts`), and one list answers a hundred cells: there
a process takes numbers ahead and uses them within that time, so that crawls of two processes are in order to about a
second. Of one cell they always are. Not here: what is found where the count is lost (`raw.py`).
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import orjson

from geopin_assets.files.object_store import ConflictError, NoSuchObjectError, ObjectStore

_CONFLICTS = 100
_MOST = 2**53
_AT_ONCE = 1_000


@dataclass(slots=True)
class _Taken:
    """Numbers of this process that no crawl has yet."""

    next: int
    last: int
    until_s: float


_taken: dict[tuple[int, str], _Taken] = {}
_lock = Lock()


def next_number(objects: ObjectStore, source: str, above: int, last_known: Callable[[], int]) -> int:
    """Higher than that of every crawl of the source before. `last_known`: where the count is not there or no sense."""
    key = f"{source}/crawls.json"
    with _lock:
        taken = _taken.get(place := (os.getpid(), objects.address(key)))
        if taken is None or max(taken.next, above + 1) > taken.last or time.monotonic() > taken.until_s:
            taken = _taken[place] = _take(objects, key, above, last_known)
        number = max(taken.next, above + 1)
        taken.next = number + 1
        return number


def _take(objects: ObjectStore, key: str, above: int, last_known: Callable[[], int]) -> _Taken:
    pause_s = objects.seconds_between_puts
    for _ in range(_CONFLICTS):
        stored = objects.find(key)
        first = max(above, _last(objects, key, last_known)) + 1
        last = first + _AT_ONCE - 1 if pause_s else first
        content = orjson.dumps({"number": last})
        with suppress(ConflictError):
            objects.put(key, content, if_absent=stored is None, if_version=stored.version if stored else None)
            return _Taken(first, last, time.monotonic() + pause_s)
        if pause_s:
            time.sleep(pause_s)
    raise ConflictError(f"{objects.address(key)}: other processes kept writing it")


def _last(objects: ObjectStore, key: str, last_known: Callable[[], int]) -> int:
    with suppress(NoSuchObjectError, ValueError, KeyError, TypeError):
        if 0 <= (number := orjson.loads(objects.get(key))["number"]) < _MOST and isinstance(number, int):
            return number
    return last_known()
