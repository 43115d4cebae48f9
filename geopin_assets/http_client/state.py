"""What one request leaves for the next to know: for the threads of a client, or for all processes of an installation.

Here: two places for a handful of named values, changed by one at a time. Not here: what the values mean (`rate.py`,
`politeness.py`), or where they are kept (`files/losable.py`).
"""

import json
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol, TypeVar

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.losable import Connection, Place, clock_of, on_losable

T = TypeVar("T")
Values = dict[str, Any]

_SCHEMA = "create table if not exists states (name text primary key, written_s double precision, told text);"
_WRITE = "insert into states values (?, ?, ?) on conflict (name) do update set written_s = ?, told = ?"
MOMENT = "_at_s"
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
    """For all processes that use `name` in a place. `clock`: another wall clock than theirs.

    A clock that was put back moves what was written before along with it: a pause keeps its length.
    """

    def __init__(self, place: Place, name: str, clock: Callable[[], float] | None = None) -> None:
        self._place, self._name, self._clock = place, name, clock or clock_of(place)

    def read(self) -> Values:
        return on_losable(self._place, _SCHEMA, self._values, is_writing=False)

    def change(self, change: Callable[[Values], T]) -> T:
        def work(db: Connection) -> T:
            values = self._values(db)
            result = change(values)
            now_s, told = self._clock(), json.dumps(values)
            db.execute(_WRITE, (self._name, now_s, told, now_s, told))
            return result

        return on_losable(self._place, _SCHEMA, work)

    def _values(self, db: Connection) -> Values:
        row = db.execute("select written_s, told from states where name = ?", (self._name,)).fetchone()
        if row is None:
            return {}
        now_s = self._clock()
        try:
            ahead_s = max(0.0, row[0] - now_s)
            told = json.loads(row[1]).items()
            return {k: min(v - ahead_s, now_s + _LONGEST_S) if k.endswith(MOMENT) else v for k, v in told}
        except (TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"the file of shared states: the state of {self._name} is none") from error
