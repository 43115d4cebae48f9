"""The one way a file is written: beside its place under a name of its own, then put there. A reader sees the old
file or the new one, never half of one, whoever else writes it and whatever ends the process.

Here: bytes, text, and a path for libraries that write themselves. Not here: frames (`parquet.py`), databases
(`sqlite.py`), or what a killed process leaves behind (`.{name}.{pid}-{random}.partial`, found by `is_partial`;
maintenance removes it).
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from geopin_assets.files.damage import writing


@contextmanager
def replacing(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """A path to write to: what is there at the end takes the place of `path`, after an exception nothing does.

    Makes the folder. Durable: on the disk before anyone hears that it is written, so that no power cut leaves an
    empty file under a name that was announced (6 ms); not for what is only a cache. Raises what `damage.writing` does.
    """
    with writing(str(path)), _partial(path) as partial:
        yield partial
        if is_durable:
            sync(partial)
        partial.replace(path)
        if is_durable:
            sync(path.parent)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """As `replacing`, but what another process put there meanwhile stays: the first one wins."""
    with writing(str(path)), _partial(path) as partial:
        yield partial
        sync(partial)
        with suppress(FileExistsError):
            os.link(partial, path)
        sync(path.parent)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path, f"{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, is_durable: bool = True) -> Path:
    """Replace `path`; returns it."""
    with replacing(path, is_durable=is_durable) as partial:
        partial.write_bytes(content)
    return path


def create_bytes(path: Path, content: bytes) -> None:
    """Make `path`, unless another process was faster."""
    with creating(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str, *, is_durable: bool = True) -> Path:
    """Replace `path` with UTF-8, line ends as they are; returns it."""
    return write_bytes(path, content.encode(), is_durable=is_durable)


def partial_of(path: Path, mark: str) -> Path:
    """Where a file is made that gets the name `path` when it is whole."""
    return path.with_name(f".{path.name}.{mark}.partial")


def is_partial(path: PurePath) -> bool:
    """Whether a file is one that somebody writes right now, or was writing when killed."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def becomes(path: PurePath) -> PurePath:
    """What `is_partial` would be when it is whole."""
    return path.with_name(path.name[1:].rpartition(".partial")[0].rpartition(".")[0])


def sync(path: Path) -> None:
    """Have the kernel write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
