"""What one request leaves for the next to know: for the threads of a client, or for all processes of an installation.

Here: two places for a handful of named values, changed by one at a time. Not here: what the values mean (`rate.py`,
`politeness.py`). The file is one that may be lost: damaged, it is set aside and begun anew.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any, Protocol, TypeVar

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.sqlite import on_losable

T = TypeVar("T")
Values = dict[str, Any]

_SCHEMA = "create table if not exists states (name text primary key, written_s real, told text) without rowid;"
_MOMENT = "_at_s"
_LONGEST_S = 86_400.0  # nobody is asked to wait longer


class State(Protocol):
    """Named values; moments have names that end in `_at_s`."""

    def read(self) -> Values:
        """As they are now."""
        ...

    def change(self, change: Callable[[Values], T]) -> T:
        """Change them with nobody else between; returns what `change` does. It may be called twice."""
        ...


class OwnState:
    """For the threads that share this object."""

    def __init__(self) -> None:
        self._values, self._lock = Values(), Lock()

    def read(self) -> Values:
        with self._lock:
            return dict(self._values)

    def change(self, change: Callable[[Values], T]) -> T:
        with self._lock:
            return change(self._values)


class SharedState:
    """For all processes that use `name` in the SQLite file `path`. `clock` is the wall clock, which they share.

    A clock that was put back moves what was written before along with it: a pause keeps its length.
    """

    def __init__(self, path: Path, name: str, clock: Callable[[], float] = time.time) -> None:
        self._path, self._name, self._clock = path, name, clock

    def read(self) -> Values:
        return on_losable(self._path, _SCHEMA, self._values, is_writing=False)

    def change(self, change: Callable[[Values], T]) -> T:
        def work(db: Connection) -> T:
            values = self._values(db)
            result = change(values)
            row = (self._name, self._clock(), json.dumps(values))
            db.execute("insert or replace into states values (?, ?, ?)", row)
            return result

        return on_losable(self._path, _SCHEMA, work)

    def _values(self, db: Connection) -> Values:
        row = db.execute("select written_s, told from states where name = ?", (self._name,)).fetchone()
        if row is None:
            return {}
        now_s = self._clock()
        try:
            ahead_s = max(0.0, row[0] - now_s)
            told = json.loads(row[1]).items()
            return {k: min(v - ahead_s, now_s + _LONGEST_S) if k.endswith(_MOMENT) else v for k, v in told}
        except (TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{self._path}: the state of {self._name} is none") from error
