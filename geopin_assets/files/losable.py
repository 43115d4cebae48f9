"""Small tables that may be lost, in a file of this machine or in a Postgres that several machines share.

Here: where budgets, rates and pauses are kept, one transaction at a time, whichever it is. Not here: those tables, or
how either is opened (`sqlite.py`, `postgres.py`). Statements are such that both take them.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.damage import set_aside
from geopin_assets.files.postgres import shared_database
from geopin_assets.files.sqlite import opened, writing

T = TypeVar("T")
Place = Path | str
"""A file of SQLite, or the address of a Postgres."""
_log = logging.getLogger(__name__)


class Connection(Protocol):
    """What both are asked through."""

    def execute(self, sql: str, values: Sequence[object] = (), /) -> Any: ...


def clock_of(place: Place) -> Callable[[], float]:
    """The wall clock that all who share a place go by."""
    return shared_database(place).now_s if isinstance(place, str) else time.time


def on_losable(place: Place, schema: str, work: Callable[[Connection], T], *, is_writing: bool = True) -> T:
    """Work on tables that may be lost, in one transaction unless it only reads; returns what `work` does.

    For budgets and caches: a damaged file is set aside, said in the log, and begun anew, so `work` may be called twice.
    """
    if isinstance(place, str):
        return shared_database(place).work(schema, work, turn=schema if is_writing else "")
    return on_file(place, schema, work, is_writing=is_writing)


def on_file(path: Path, schema: str, work: Callable[[sqlite3.Connection], T], *, is_writing: bool = True) -> T:
    """The same of what stays on one machine."""
    for is_last in (False, True):
        try:
            with opened(path, schema, is_durable=False) as connection:
                if not is_writing:
                    return work(connection)
                with writing(connection):
                    return work(connection)
        except (DamagedFileError, sqlite3.Error) as error:  # the latter: tables of another shape
            if is_last:
                raise
            if place := set_aside(path):
                _log.warning("%s: %s; begun anew, what was there is in %s", path.name, error, place.name)
    raise AssertionError("the last attempt returns or raises")
