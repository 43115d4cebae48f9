"""DuckDB files without an engine for each look: making one takes 12 ms of CPU, attaching a file to one 2.

One engine does all that this process reads, another all that it writes. A file is attached for as long as somebody uses
it, and locked for other processes that long. DuckDB's locks hold between processes only: what this process writes and
reads is kept apart here, and whoever comes second gets DuckDB's own error for a file that is locked. What a question
over all of a large catalog does not get of memory goes to the disk beside the file.

Not here: waiting, errors of ours (`database.py`), or what is asked.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Lock

import duckdb

MEMORY_LIMIT = "1GB"
"""Of an engine, whatever there is to read or to merge."""
WRITING = {"threads": 1, "max_vacuum_tasks": 0}
"""On two threads small pieces are copied together to keep their order, for half as much CPU again. Each checkpoint
would rewrite groups of rows to fill them."""
_STORAGE = "v1.5.0"
"""Of new files: checkpoints do not write anew what they know of groups of rows that nothing changed, 2 ns a row. DuckDB
alone would write what one of a year before opens too; `copy_database` does."""


class Files:
    """What one process reads and writes at this moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._read, self._written = _Engine(", read_only"), _Engine("", **WRITING)

    @contextmanager
    def reading(self, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to a file that is there."""
        with self._using(path, self._read, self._written) as db:
            yield db

    @contextmanager
    def writing(self, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """Nobody here reads the file meanwhile; writers of one process share it, as DuckDB has it."""
        with self._using(path, self._written, self._read) as db:
            yield db

    @contextmanager
    def _using(self, path: Path, engine: "_Engine", other: "_Engine") -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            if other.users[path]:
                raise duckdb.IOException(f'IO Error: Could not set lock on file "{path}": this process is at it')
            db = engine.connect(path)
        try:
            yield db
        finally:
            with self._lock:
                db.close()
                engine.leave(path)


class _Engine:
    """An engine, the files that are attached to it, and how many use each."""

    def __init__(self, how: str, **settings: str | int) -> None:
        self.users = Counter[Path]()
        self._how, self._numbers = how, count()
        self._settings: dict[str, str | bool | int | float | list[str]] = {"memory_limit": MEMORY_LIMIT, **settings}
        self._db: duckdb.DuckDBPyConnection | None = None
        self._folder = ""
        self._attached: dict[Path, tuple[duckdb.DuckDBPyConnection, str]] = {}

    def connect(self, path: Path) -> duckdb.DuckDBPyConnection:
        if path not in self._attached:
            try:
                self._attached[path] = self._attach(path)
            except duckdb.FatalException:  # what another file did to the engine
                self._db = None
                self._attached[path] = self._attach(path)
        engine, name = self._attached[path]
        self.users[path] += 1
        try:
            db = engine.cursor()
            db.execute(f"use {name}")
        except duckdb.Error:
            self.leave(path)
            raise
        return db

    def leave(self, path: Path) -> None:
        self.users[path] -= 1
        if not self.users[path]:
            del self.users[path]
            engine, name = self._attached.pop(path)
            try:
                engine.execute(f"detach {name}")
            except duckdb.Error:  # what damaged files and full disks do to an engine ends with it
                self._db = None

    def _attach(self, path: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
        engine, name = self._beside(path), f"file_{next(self._numbers)}"
        version = "" if path.exists() else f", storage_version '{_STORAGE}'"
        engine.execute(f"attach {quoted(path)} as {name} (type duckdb{self._how}{version})")
        return engine, name

    def _beside(self, path: Path) -> duckdb.DuckDBPyConnection:
        """One whose files for what has no room in memory go beside this one, unless it has others to go beside."""
        folder = quoted(path.with_name(f"{path.name}.tmp"))
        if self._db is not None and not self._attached and folder != self._folder:
            try:
                self._go_beside(self._db, folder)
            except duckdb.NotImplementedException:  # there is something in the one before, from now on
                self._db = None
        if self._db is None:
            self._db = duckdb.connect(":memory:", config=self._settings)
            self._go_beside(self._db, folder)
            self._db.execute("set global TimeZone = 'UTC'")
        return self._db

    def _go_beside(self, db: duckdb.DuckDBPyConnection, folder: str) -> None:
        db.execute(f"set temp_directory = {folder}")
        self._folder = folder


def quoted(path: Path) -> str:
    """A path in a statement."""
    return "'" + str(path).replace("'", "''") + "'"


_files, _of_parents = Files(), list[Files]()


def of_this_process() -> Files:
    """An engine's threads do not live on in a forked process, nor would it end."""
    return _files


def _begin_anew() -> None:
    global _files
    _of_parents.append(_files)
    _files = Files()


os.register_at_fork(after_in_child=_begin_anew)
