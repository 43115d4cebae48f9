"""A folder of this machine as a store of objects: its files are the objects, at hand without a copy.

Here: writing, which `obstore` does there without fsync, without "only if unchanged", and leaving `x#1` behind when
killed. Not here: what a store can do, and opening one (`object_store.py`), files replaced whole (`atomic.py`).
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import EllipsisType
from typing import BinaryIO, Self

from geopin_assets.errors import ConfigurationError
from geopin_assets.files.atomic import becomes, is_partial, replacing
from geopin_assets.files.lock import joined, locked
from geopin_assets.files.object_store import AT_WORK_LOCK, WRITING_LOCK, ObjectStore, Stored, checked
from geopin_assets.files.plain import open_plain, refuse_odd
from geopin_assets.files.store_errors import ConflictError, NoSuchObjectError, understood


class FolderStore(ObjectStore):
    """Objects as the files of a folder, which the first write makes. Their files are at hand: nothing is copied."""

    def __init__(self, root: Path, *, is_durable: bool = True) -> None:
        from obstore.store import LocalStore

        if any(ord(character) < ord(" ") for character in str(root)):
            raise ConfigurationError(f"{str(root)!r}: a folder with a tab or line end in its name cannot be used")
        self.root, self._is_durable = root, is_durable
        super().__init__(LocalStore(), str(root), f"{root.resolve().as_posix()[1:]}/")

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

    def get_end(self, key: str, length: int) -> bytes:
        with understood(self.address(key)), open_plain(self.path(key)) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            return file.read()

    def has(self, key: str) -> bool:
        return self.path(key).is_file()

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with understood(self.address(key)):
                self.path(key).unlink(missing_ok=True)

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
            refuse_odd(path)
            if not path.is_file():
                raise NoSuchObjectError(f"{path}: not there")
        yield paths

    @contextmanager
    def opened(self, key: str) -> Iterator[BinaryIO]:
        with understood(self.address(key)), open_plain(self.path(key)) as file:
            yield file

    @contextmanager
    def as_folder(self, *needed: str) -> Iterator[Path]:
        with understood(self.address()):
            self.root.mkdir(parents=True, exist_ok=True)
        yield self.root

    @contextmanager
    def replacing(self, key: str, *, before: "Stored | EllipsisType | None" = ...) -> Iterator[Path]:
        with (
            understood(self.address(key)),
            ExitStack() as held,
            replacing(self.path(key), is_durable=self._is_durable) as path,
        ):
            yield path
            if not isinstance(before, EllipsisType):
                held.enter_context(locked(self.root / WRITING_LOCK))
                self._check(key, before.version if before else None)

    def _full(self, key: str) -> str:
        refuse_odd(self.path(key))
        return super()._full(key)

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
