"""Files that others name or lay out, opened without ever waiting: what is no plain file is refused by its kind.

A pipe that nobody writes to hangs whoever opens it, and a device never ends. Here: opening and reading what a setting,
an argument or somebody's folder names, and whether that name is text. Not here: how large it may be and what it holds
(whoever reads it knows).
"""

import errno
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from geopin_assets.errors import ConfigurationError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotPlainError(ConfigurationError):
    """Something else than a file is where one should be."""


def open_plain(path: Path) -> BufferedReader:
    """For reading. Raises NotPlainError for what is no plain file, and the OSErrors that `open` raises."""
    return open(path, "rb", opener=_open)


def read_plain(path: Path, most: int = -1) -> bytes:
    """All of a file, or so many bytes of it. Raises as `open_plain` does."""
    with open_plain(path) as file:
        return file.read(most)


def refuse_odd(path: Path) -> None:
    """Raise NotPlainError where neither a file nor a folder is; where nothing is, whoever opens it says so."""
    with suppress(OSError):
        if not stat.S_ISDIR(mode := _mode(path)):
            _check(str(path), mode)


def refuse_no_file(path: Path) -> None:
    """Raise NotPlainError where something is that is no file."""
    with suppress(OSError):
        _check(str(path), _mode(path))


def refuse_no_folder(path: Path) -> None:
    """Raise ConfigurationError where something is that is no folder."""
    if path.is_symlink() and not path.exists():
        raise ConfigurationError(f"{path} is a link to what is not there")
    with suppress(OSError):
        mode = path.stat().st_mode
        if not stat.S_ISDIR(mode):
            raise ConfigurationError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'a file')}, not a folder")


def is_utf_8(path: Path) -> bool:
    """Whether its name is text to every library, not bytes that only the operating system knows."""
    return os.fsencode(path) == str(path).encode(errors="replace")


def _open(path: str, flags: int) -> int:
    _check(path, _mode(Path(path)))  # to open some devices does something
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    try:
        _check(path, os.fstat(descriptor).st_mode)  # whatever took its place meanwhile
    except NotPlainError:
        os.close(descriptor)
        raise
    return descriptor


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotPlainError(f"{path} is a link that leads to itself, not a plain file") from error
        raise


def _check(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotPlainError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a plain file")
