"""Reading DuckDB files without an engine for each look: making one takes 12 ms of CPU, attaching a file to one 3.

One engine does all that this process reads. A file is attached to it, read-only, for as long as somebody reads it, and
locked for other processes that long. DuckDB's locks hold between processes only: what this process writes and reads is
kept apart here, and whoever comes second gets DuckDB's own error for a file that is locked. What a question over all of
a large catalog does not get of memory goes to the disk beside the file.

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


class Files:
    """What one process reads and writes at this moment."""

    def __init__(self) -> None:
        self._lock, self._numbers = Lock(), count()
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._names: dict[Path, str] = {}
        """Of the files that are attached."""
        self._readers, self._writers = Counter[Path](), Counter[Path]()

    @contextmanager
    def reading(self, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to a file that is there."""
        with self._lock:
            db = self._attached(path)
            self._readers[path] += 1
        try:
            yield db
        finally:
            with self._lock:
                db.close()
                self._readers[path] -= 1
                if not self._readers[path]:
                    self._detach(path)

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Nobody here reads the file meanwhile; writers of one process share it, as DuckDB has it."""
        with self._lock:
            if self._readers[path]:
                raise _locked(path)
            self._writers[path] += 1
        try:
            yield
        finally:
            with self._lock:
                self._writers[path] -= 1

    def _attached(self, path: Path) -> duckdb.DuckDBPyConnection:
        if self._writers[path]:
            raise _locked(path)
        self._engine = self._engine or duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT})
        db = self._engine.cursor()
        if path not in self._names:
            name = f"file_{next(self._numbers)}"
            db.execute(f"attach {quoted(path)} as {name} (type duckdb, read_only)")
            if not self._names:
                db.execute(f"set temp_directory = {quoted(path.with_name(f'{path.name}.tmp'))}")
            self._names[path] = name
        db.execute(f"use {self._names[path]}")
        return db

    def _detach(self, path: Path) -> None:
        name, engine = self._names.pop(path), self._engine
        try:
            if engine is not None:
                engine.execute(f"detach {name}")
        except duckdb.Error:  # what damaged files do to an engine ends with it
            self._engine = None


def quoted(path: Path) -> str:
    """A path in a statement."""
    return "'" + str(path).replace("'", "''") + "'"


def _locked(path: Path) -> duckdb.IOException:
    return duckdb.IOException(f'IO Error: Could not set lock on file "{path}": this process is at it')


_files, _of_parents = Files(), list[Files]()


def of_this_process() -> Files:
    """An engine's threads do not live on in a forked process, nor would it end."""
    return _files


def _begin_anew() -> None:
    global _files
    _of_parents.append(_files)
    _files = Files()


os.register_at_fork(after_in_child=_begin_anew)
