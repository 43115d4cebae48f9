"""A small SQLite file that the processes of one installation share: budgets, rates.

Here: opening it for one transaction. Not here: what is kept in it (`quota.py`, `shared_rate.py`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_BUSY_S = 30.0


@contextmanager
def shared_file(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """One transaction that nobody else writes in; rolled back by an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as db:
        db.executescript("pragma synchronous = off;" + schema)
        db.execute("begin immediate")
        with db:
            yield db
