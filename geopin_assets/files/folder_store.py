"""A folder of this machine as a store of objects: its files are the objects, at hand without a copy.

All of it without `obstore`, which writes there without fsync and without "only if unchanged", leaves `x#1` behind when
killed, and lists nothing beside a link that leads to itself. What stands in a file's place and is none (a pipe, a
folder, such a link) is damage of that one object: nobody waits for it, and it can be set aside and written anew.

Not here: what a store can do, and opening one (`object_store.py`), files replaced whole (`atomic.py`).
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import BinaryIO, Self

from geopin_assets.errors import ConfigurationError, DamagedFileError, PayloadError
from geopin_assets.files.atomic import becomes, is_partial, replacing
from geopin_assets.files.damage import aside, is_aside
from geopin_assets.files.lock import joined, locked
from geopin_assets.files.object_store import AT_WORK_LOCK, WRITING_LOCK, ObjectStore, Stored, checked, is_hidden
from geopin_assets.files.plain import NotPlainError, is_utf_8, open_plain, refuse_odd
from geopin_assets.files.store_errors import ConflictError, NoSuchObjectError, understood


class FolderStore(ObjectStore):
    """Objects as the files of a folder, which the first write makes. Their files are at hand: nothing is copied."""

    def __init__(self, root: Path, *, is_durable: bool = True) -> None:
        if any(byte < ord(" ") for byte in os.fsencode(root)) or not is_utf_8(root):
            raise ConfigurationError(
                f"{str(root)!r}: no folder with a tab or line end in its name can be used, or no UTF-8"
            )
        self.root, self._is_durable, self._address = root, is_durable, str(root).rstrip("/")

    def below(self, folder: str) -> Self:
        return type(self)(self.path(folder), is_durable=self._is_durable)

    def path(self, key: str) -> Path:
        """Where an object is, or would be."""
        return self.root / checked(key)

    def put(self, key: str, content: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if if_absent or if_version is not None:
            with locked(self.root / WRITING_LOCK):
                self._check(key, if_version)
                return self._write(key, content)
        return self._write(key, content)

    def get(self, key: str, *, most: int | None = None) -> bytes:
        with self.opened(key) as file:
            if most is not None and (size := os.fstat(file.fileno()).st_size) > most:
                raise PayloadError(f"{self.address(key)}: {size} bytes, more than {most}")
            return file.read()

    def get_range(self, key: str, start: int, length: int, *, if_version: str | None = None) -> bytes:
        with self.opened(key) as file:
            if if_version not in (None, _version(os.fstat(file.fileno()))):
                raise ConflictError(f"{self.address(key)}: another process has written it")
            file.seek(start)
            return file.read(length)

    def get_end(self, key: str, length: int) -> bytes:
        with self.opened(key) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            return file.read()

    def find(self, key: str) -> Stored | None:
        with understood(self.address(key)):
            found = _what_is(self.path(key))
        return None if found is None or stat.S_ISDIR(found.st_mode) else _stored(key, found)

    def walk(self, folder: str = "") -> list[Stored]:
        with understood(self.address(folder)):
            return sorted(self._below(folder, ()), key=lambda one: one.key)

    def look(self, folder: str = "") -> tuple[list[str], list[Stored]]:
        with understood(self.address(folder)):
            found = list(self._in(folder))
        folders = sorted(key for key, state in found if stat.S_ISDIR(state.st_mode))
        files = (_stored(key, state) for key, state in found if not stat.S_ISDIR(state.st_mode))
        return folders, sorted(files, key=lambda one: one.key)

    def aside(self, folder: str = "") -> list[str]:
        with understood(self.address(folder)):
            found = (path for path in self.path(folder).rglob("*") if is_aside(path))
            return sorted(path.relative_to(self.root).as_posix() for path in found)

    def set_aside(self, key: str) -> str | None:
        path, to = self.path(key), aside(key)
        try:
            with understood(self.address(key)):
                path.rename(self.path(to))
        except NoSuchObjectError:
            return None
        return to

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with understood(self.address(key)):
                path = self.path(key)
                if is_aside(path) and path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        """The folder too, and what killed writers left in it."""
        with understood(self.address(folder)):
            if (path := self.path(folder)).exists():
                shutil.rmtree(path)

    def prune(self, folder: str) -> None:
        if not self.walk(folder):
            self.delete_folder(folder)

    @contextmanager
    def at_work(self, is_ours: Callable[[str], bool]) -> Iterator[None]:
        with joined(self.root / AT_WORK_LOCK) as is_alone:
            for path in self.left(is_ours) if is_alone else ():
                path.unlink(missing_ok=True)
            yield

    def left(self, is_ours: Callable[[str], bool]) -> list[Path]:
        found = filter(is_partial, self.root.rglob(".*.partial"))
        return [path for path in found if is_ours(becomes(path.relative_to(self.root)).as_posix())]

    @contextmanager
    def as_files(self, keys: Iterable[str], *, most: int | None = None) -> Iterator[list[Path]]:
        paths = [self.path(key) for key in keys]
        for path in paths:
            with _damage():
                refuse_odd(path)
            if not path.is_file():
                raise NoSuchObjectError(f"{path}: not there")
        yield paths

    @contextmanager
    def opened(self, key: str) -> Iterator[BinaryIO]:
        with understood(self.address(key)), ExitStack() as stack:
            with _damage():
                file = stack.enter_context(open_plain(self.path(key)))
            yield file

    @contextmanager
    def as_folder(self, *needed: str) -> Iterator[Path]:
        with understood(self.address()):
            self.root.mkdir(parents=True, exist_ok=True)
        yield self.root

    @contextmanager
    def replacing(self, key: str, *, before: "Stored | EllipsisType | None" = ...) -> Iterator[Path]:
        if (path := self.path(key)).suffix and path.is_dir():
            self.set_aside(key)  # nothing takes the place of a folder
        with (
            understood(self.address(key)),
            ExitStack() as held,
            replacing(self.path(key), is_durable=self._is_durable) as path,
        ):
            yield path
            if not isinstance(before, EllipsisType):
                held.enter_context(locked(self.root / WRITING_LOCK))
                self._check(key, before.version if before else None)

    def _write(self, key: str, content: bytes) -> str:
        with self.replacing(key) as path:
            path.write_bytes(content)
        written = self.find(key)
        return written.version if written else ""

    def _check(self, key: str, version: str | None) -> None:
        """Raises ConflictError unless the object has this version, or None is wanted and there is none."""
        found = self.find(key)
        if (found and found.version) != version:
            raise ConflictError(f"{self.address(key)}: another process has written it")

    def _below(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[Stored]:
        """`above`: the folders that one went through, as a link may lead back to one."""
        for key, state in self._in(folder):
            if not stat.S_ISDIR(state.st_mode):
                yield _stored(key, state)
            elif (here := (state.st_dev, state.st_ino)) not in above:
                yield from self._below(key, (*above, here))

    def _in(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """What a folder holds, none if it is not there; not what others keep in it, or what was set aside."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path(folder)) as entries:
            for entry in entries:
                if is_hidden(entry.name) or is_aside(Path(entry.name)):
                    continue
                if (state := _what_is(entry)) is not None:
                    yield f"{folder}/{entry.name}" if folder else entry.name, state


def _what_is(place: "Path | os.DirEntry[str]") -> os.stat_result | None:
    """None where nothing is, as where a link leads to nothing; of one that leads to itself what it is."""
    try:
        return place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return os.lstat(place)


def _stored(key: str, state: os.stat_result) -> Stored:
    return Stored(key, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC), _version(state))


def _version(state: os.stat_result) -> str:
    return f'"{state.st_ino:x}-{state.st_mtime_ns // 1000:x}-{state.st_size:x}"'


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except NotPlainError as error:
        raise DamagedFileError(str(error)) from error
