"""One interface over a folder on this machine, memory, and any S3 (Amazon's, R2, SeaweedFS, …): objects by key.

Here: whole objects put and got, lists, conditions for where two writers could meet, and objects as files for libraries
that read and write files themselves. Not here: what is other in a folder (`folder_store.py`) or a bucket (`bucket.py`),
errors (`store_errors.py`), what the objects are, or photos of other people (`photo_folder`).

`obstore` does the work, see docs/decisions/2026-11-29-object-store.md. Importing this imports no obstore.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from types import EllipsisType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from geopin_assets.environment import bucket_and_prefix
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError
from geopin_assets.files.damage import aside, is_aside
from geopin_assets.files.ranges import Ranges
from geopin_assets.files.store_errors import ConflictError, NoSuchObjectError, understood

if TYPE_CHECKING:
    from obstore import Bytes, GetOptions, GetResult, ObjectMeta, PutMode
    from obstore.store import ObjectStore as Inner

    from geopin_assets.s3_access import S3Access

__all__ = ["ConflictError", "NoSuchObjectError", "ObjectStore", "Stored", "memory_store", "open_store"]

READERS = 16
"""Objects fetched at once from far away."""
WRITING_LOCK, AT_WORK_LOCK = ".writing.lock", ".at-work.lock"
_NO_VERSION = '""'


@dataclass(frozen=True, slots=True)
class Stored:
    """What a list says of an object. `version` changes with every put."""

    key: str
    bytes: int
    modified_at: datetime
    version: str


class ObjectStore:
    """Objects in memory or at an S3 server. Keys are relative paths with `/`, none of which is the folder of another;
    lists are in their order.

    Safe to use from many threads and processes. Every method raises TransientError or ConfigurationError for what is
    wrong with the connection, the disk or the settings, without anything that a server wrote.
    """

    is_near = True
    """A question about one object takes no longer than its place in a list."""
    readers = 4
    """Objects that are worth reading at once: at a disk more threads take turns, for three times the CPU."""
    seconds_between_puts = 0.0
    """Of one key, as often as a server takes them; who would write more often than that counts ahead."""

    def __init__(self, inner: "Inner", address: str, prefix: str = "") -> None:
        self._inner, self._address, self._prefix = inner, address.rstrip("/"), prefix

    def below(self, folder: str) -> Self:
        """A folder of this store as a store."""
        return type(self)(self._inner, self.address(folder), f"{self._full(folder)}/")

    def address(self, key: str = "") -> str:
        """What people call the store, or an object in it."""
        return f"{self._address}/{key}" if key else self._address

    def put(self, key: str, content: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        """Replace an object, whole or not at all; its new version.

        Raises ConflictError, changing nothing, if it exists already (`if_absent`) or has another version by now.
        Writers that could meet all state a condition.
        """
        mode: PutMode = {"e_tag": if_version} if if_version is not None else "create" if if_absent else "overwrite"
        with understood(self.address(key)):
            return self._inner.put(self._full(key), content, mode=mode)["e_tag"] or ""

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Raises NoSuchObjectError; PayloadError where there are more bytes than `most`."""
        with understood(self.address(key)):
            return self._got(key, most).bytes().to_bytes()

    def get_range(self, key: str, start: int, length: int, *, if_version: str | None = None) -> bytes:
        """So many bytes from `start`, fewer where the object ends. Raises NoSuchObjectError, ConflictError."""
        options: GetOptions = {"range": (start, start + length)}
        if if_version is not None:
            options["if_match"] = if_version
        with understood(self.address(key)):
            return self._inner.get(self._full(key), options=options).bytes().to_bytes()

    def get_end(self, key: str, length: int) -> bytes:
        """So many bytes at the end, all of a smaller object. Raises NoSuchObjectError."""
        try:
            with understood(self.address(key)):
                return self._inner.get(self._full(key), options={"range": {"suffix": length}}).bytes().to_bytes()
        except GeoPinError:
            if (stored := self.find(key)) and not stored.bytes:  # has no range, and servers say so in several ways
                return b""
            raise

    def find(self, key: str) -> Stored | None:
        """What there is of an object, None if it is not there."""
        try:
            with understood(self.address(key)):
                return self._stored(self._inner.head(self._full(key)))
        except NoSuchObjectError:
            return None

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.find(key) is not None

    def there(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that are objects."""
        return {key for key in keys if self.has(key)}

    def walk(self, folder: str = "") -> list[Stored]:
        """Every object below a folder, in the order of keys."""
        with understood(self.address(folder)):
            return self._in_order(found for page in self._inner.list(self._full(folder)) for found in page)

    def look(self, folder: str = "") -> tuple[list[str], list[Stored]]:
        """The folders, and the objects, that are in a folder itself: their keys, in order. A folder may be empty."""
        with understood(self.address(folder)):
            found = self._inner.list_with_delimiter(self._full(folder))
        folders = sorted(name.removeprefix(self._prefix) for name in found["common_prefixes"])
        return [name for name in folders if _is_object(name)], self._in_order(found["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        with understood(self.address()):
            self._inner.delete([self._full(key) for key in keys])

    def delete_folder(self, folder: str) -> None:
        """Remove everything below a folder, what was set aside there too."""
        self.delete([stored.key for stored in self.walk(folder)] + self.aside(folder))

    def prune(self, folder: str) -> None:
        """Have no folder where it holds no object, but what killed writers left in it; others may write there."""

    @contextmanager
    def at_work(self, is_ours: Callable[[str], bool]) -> Iterator[None]:
        """Be one of those who write objects with keys that `is_ours` takes. What killed ones left half-written of these
        is removed, unless somebody else is at work.
        """
        yield

    def left(self, is_ours: Callable[[str], bool]) -> list[Path]:
        """Files that are being written to such objects, or were when their writer was killed. A bucket shows none."""
        return []

    def set_aside(self, key: str) -> str | None:
        """Rename a damaged object: from now on it is not there; its new key, None if another process was faster."""
        to = aside(key)
        try:
            with understood(self.address(key)):
                self._inner.rename(self._full(key), self._full(to))
        except NoSuchObjectError:
            return None
        return to

    def aside(self, folder: str = "") -> list[str]:
        """The keys of what was set aside below a folder, which no list names."""
        with understood(self.address(folder)):
            found = [one["path"] for page in self._inner.list(self._full(folder)) for one in page]
        return sorted(key.removeprefix(self._prefix) for key in found if is_aside(PurePosixPath(key)))

    @contextmanager
    def as_file(self, key: str, *, most: int | None = None) -> Iterator[Path]:
        """An object as a file for reading, until the end. Raises NoSuchObjectError.

        Opened meanwhile, it can be read for as long as it is open, and stays the same whatever takes its place.
        Raises PayloadError instead of fetching more bytes than `most`.
        """
        with self.as_files([key], most=most) as (path,):
            yield path

    @contextmanager
    def as_files(self, keys: Iterable[str], *, most: int | None = None) -> Iterator[list[Path]]:
        """Objects as files for reading, until the end, in the order of `keys`. Raises NoSuchObjectError."""
        with tempfile.TemporaryDirectory(prefix="geopin-") as folder:
            yield self._fetched(Path(folder), keys, most)

    @contextmanager
    def as_folder(self, *needed: str) -> Iterator[Path]:
        """The store as a folder, with the objects, or whole folders, that are needed: what is made, changed or removed
        there is so at the end, after an exception nothing is. For one writer of an object at a time.
        """
        with tempfile.TemporaryDirectory(prefix="geopin-") as temporary:
            root = Path(temporary)
            keys = self.there(needed).union(stored.key for folder in needed for stored in self.walk(folder))
            before = {path: _state(path) for path in self._fetched(root, keys)}
            yield root
            after = {path for path in root.rglob("*") if path.is_file()}
            for path in after:
                key = path.relative_to(root).as_posix()
                if before.get(path) != _state(path) and _is_object(key):
                    self.put(key, path.read_bytes())
            self.delete(path.relative_to(root).as_posix() for path in before.keys() - after)

    @contextmanager
    def opened(self, key: str) -> Iterator[BinaryIO]:
        """An object as an open file of which only the parts that are asked for travel: columns of large files.

        Raises NoSuchObjectError, and ConflictError where it is replaced meanwhile: it is never a mixture of two.
        """
        if (stored := self.find(key)) is None:
            raise NoSuchObjectError(f"{self.address(key)}: not there")
        with Ranges(partial(self.get_range, key, if_version=stored.version), stored.bytes) as file:
            yield cast("BinaryIO", file)

    @contextmanager
    def replacing(self, key: str, *, before: "Stored | EllipsisType | None" = ...) -> Iterator[Path]:
        """A path to write to: what is there at the end becomes the object, after an exception nothing does.

        `before`: what must still be there at the end, None for nothing. Raises ConflictError where it is not.
        """
        with tempfile.TemporaryDirectory(prefix="geopin-") as folder:
            yield (path := Path(folder) / PurePosixPath(key).name)
            with understood(self.address(key)):
                if isinstance(before, EllipsisType):
                    self._inner.put(self._full(key), path)
                else:
                    self._inner.put(self._full(key), path, mode={"e_tag": before.version} if before else "create")

    def _fetched(self, root: Path, keys: Iterable[str], most: int | None = None) -> list[Path]:
        """Objects as files under their keys."""
        paths = {key: root / key for key in keys}
        with ThreadPoolExecutor(self.readers) if len(paths) > 1 else nullcontext() as pool:
            list((pool.map if pool else map)(partial(self._fetch, most=most), paths.keys(), paths.values()))
        return list(paths.values())

    def _fetch(self, key: str, path: Path, most: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with understood(self.address(key)), path.open("wb") as file:
            for chunk in self._chunks(key, most):
                file.write(chunk)

    def _chunks(self, key: str, most: int | None) -> "Iterable[Bytes | bytes]":
        return self._got(key, most)

    def _got(self, key: str, most: int | None) -> "GetResult":
        """An answer that has begun; it holds as many bytes as it says, or ends with an error."""
        found = self._inner.get(self._full(key))
        if most is not None and found.meta["size"] > most:
            raise PayloadError(f"{self.address(key)}: {found.meta['size']} bytes, more than {most}")
        return found

    def _full(self, key: str) -> str:
        return self._prefix + checked(key)

    def _in_order(self, found: "Iterable[ObjectMeta]") -> list[Stored]:
        """Some servers list folder by folder, and name the folders among the objects."""
        stored = (self._stored(one) for one in found if one["size"] or one["e_tag"] != _NO_VERSION)
        return sorted((one for one in stored if _is_object(one.key)), key=lambda one: one.key)

    def _stored(self, found: "ObjectMeta") -> Stored:
        key = found["path"].removeprefix(self._prefix)
        return Stored(key, found["size"], found["last_modified"], found["e_tag"] or "")


def open_store(
    address: str | Path, *, endpoint_url: str = "", access: "S3Access | None" = None, is_durable: bool = True
) -> ObjectStore:
    """The store at a local path, `s3://bucket/prefix`, or a web server's address, which can only be read, not listed;
    nothing is asked yet.

    `endpoint_url`: of a server other than Amazon's. `access`: who asks it, by default whom the environment says.
    Raises ConfigurationError for any other address, and for a path where something else is than a folder.
    """
    scheme, found, _ = str(address).partition("://")
    if not found:
        from geopin_assets.files.folder_store import FolderStore
        from geopin_assets.files.plain import refuse_no_folder

        refuse_no_folder(folder := Path(address).expanduser())
        return FolderStore(folder, is_durable=is_durable)
    if scheme.lower() in ("http", "https"):
        from geopin_assets.files.web import open_web

        return ObjectStore(open_web(str(address)), str(address))
    from geopin_assets.files.bucket import open_bucket

    return open_bucket(*bucket_and_prefix(str(address)), endpoint_url, access)


def memory_store() -> ObjectStore:
    """An empty store that ends with the process."""
    from obstore.store import MemoryStore

    return ObjectStore(MemoryStore(), "memory:")


def checked(key: str) -> str:
    """The key of an object or a folder. Raises PermanentError for what is not a plain relative path everywhere."""
    parts = key.split("/")
    if key and (not all(parts) or any(map(is_hidden, parts)) or not key.isprintable() or "#" in key):
        raise PermanentError(f"{key!r}: not a plain relative path")
    return key


def _state(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_ino


def _is_object(key: str) -> bool:
    """Not one of the files that a folder has beside its objects: those being written, set aside, or of other programs
    (`._a` of a Mac, `.nfs…`, `.stfolder`)."""
    return not is_aside(PurePosixPath(key)) and not any(map(is_hidden, key.split("/")))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is another program's."""
    return name.startswith(".")
