"""One interface over a folder on this machine, memory, and any S3 (Amazon's, R2, SeaweedFS, …): objects by key.

Here: whole objects put and got, lists, conditions for where two writers could meet, objects as files for libraries
that read and write files themselves, and errors by what a retry would change: they name the object, the status and
the code, nothing else that a server or the library wrote, which can hold a key id, a signature or a token. Not here:
what the objects are, or photos of other people (`photo_folder`).

`obstore` does the work. In a folder it writes without fsync, knows no "only if unchanged" and leaves `x#1` behind
when killed, so there writing is ours (`atomic.py`); see docs/decisions/2026-11-29-object-store.md. Importing this
imports no obstore.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.files.atomic import is_partial, replacing
from geopin_assets.files.damage import aside, is_aside, of_disk
from geopin_assets.files.lock import locked

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REGION = "redirect without LOCATION"  # what Amazon answers in the wrong region
_PASSING = {408, 425, 429}
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and what they may list, read and write"
_SETTINGS = "check the address of the store, its endpoint and the AWS_ variables"


class NoSuchObjectError(PermanentError):
    """The object is not there."""


class ConflictError(TransientError):
    """Another process has written the object meanwhile: read it again and decide anew."""


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise the project's errors for those of obstore and of the disk; `what` was asked for."""
    try:
        yield
    except FileNotFoundError as error:
        raise _missing(str(error), what) from None
    except Exception as error:
        if type(error).__module__ == "obstore.exceptions":
            raise _refused(type(error).__name__, str(error), what) from None  # its text may quote a request
        if not isinstance(error, GeoPinError) and (meaning := of_disk(error, what)):
            raise meaning from error
        raise


def _missing(text: str, what: str) -> GeoPinError:
    if _code(text) == "NoSuchBucket":
        return ConfigurationError(f"{what}: there is no such bucket, {_SETTINGS}")
    return NoSuchObjectError(f"{what}: not there")


def _refused(kind: str, text: str, what: str) -> GeoPinError:
    """By obstore's own class where it has one, by the status of the answer where all it says is "generic"."""
    status, said = _status(text), f"{what}: {_said(text) or kind}"
    if kind in ("AlreadyExistsError", "PreconditionError") or status == 409:
        return ConflictError(f"{what}: another process has written it")
    if _code(text) == "NoSuchBucket":
        return ConfigurationError(f"{said}: {_SETTINGS}")
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403):
        return ConfigurationError(f"{said}: access denied, {_CREDENTIALS}")
    if kind == "UnknownConfigurationKeyError" or 300 <= status < 400 or _REGION in text:
        return ConfigurationError(f"{said}: {_SETTINGS}")
    if status in _PASSING or status >= 500 or (kind == "GenericError" and not status):
        return TransientError(said)  # without a status nobody answered
    return PermanentError(said)


def _said(text: str) -> str:
    return f"answered {_status(text)} {_code(text)}".rstrip() if _status(text) else ""


def _status(text: str) -> int:
    found = _STATUS.search(text)
    return int(found[1]) if found else 0


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""


if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Inner

__all__ = ["ConflictError", "FolderStore", "NoSuchObjectError", "ObjectStore", "Stored", "memory_store", "open_store"]

_LOCK = ".writing.lock"
_NO_VERSION = '""'
_RETRY_FOR = timedelta(seconds=60)
_REQUEST_TAKES_AT_MOST = "120s"


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

    def __init__(self, inner: "Inner", address: str, prefix: str = "") -> None:
        self._inner, self._address, self._prefix = inner, address.rstrip("/"), prefix

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

    def get(self, key: str) -> bytes:
        """Raises NoSuchObjectError."""
        with understood(self.address(key)):
            return self._inner.get(self._full(key)).bytes().to_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """So many bytes from `start`, fewer where the object ends. Raises NoSuchObjectError."""
        with understood(self.address(key)):
            return self._inner.get_range(self._full(key), start=start, length=length).to_bytes()

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

    def walk(self, folder: str = "") -> list[Stored]:
        """Every object below a folder, in the order of keys."""
        with understood(self.address(folder)):
            return self._in_order(found for page in self._inner.list(self._full(folder)) for found in page)

    def look(self, folder: str = "") -> tuple[list[str], list[Stored]]:
        """The folders, and the objects, that are in a folder itself: their keys, in order. A folder may be empty."""
        with understood(self.address(folder)):
            found = self._inner.list_with_delimiter(self._full(folder))
        folders = sorted(name.removeprefix(self._prefix) for name in found["common_prefixes"])
        return folders, self._in_order(found["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        with understood(self.address()):
            self._inner.delete([self._full(key) for key in keys])

    def delete_folder(self, folder: str) -> None:
        """Remove everything below a folder, what was set aside there too."""
        self.delete([stored.key for stored in self.walk(folder)] + self.aside(folder))

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
    def as_file(self, key: str) -> Iterator[Path]:
        """An object as a file for reading, until the end. Raises NoSuchObjectError.

        Opened meanwhile, it can be read for as long as it is open, and stays the same whatever takes its place.
        """
        with self.as_files([key]) as (path,):
            yield path

    @contextmanager
    def as_files(self, keys: Iterable[str]) -> Iterator[list[Path]]:
        """Objects as files for reading, until the end, in the order of `keys`. Raises NoSuchObjectError."""
        with tempfile.TemporaryDirectory(prefix="geopin-") as folder:
            paths = [Path(folder) / key for key in keys]
            for path in paths:
                self._fetch(path.relative_to(folder).as_posix(), path)
            yield paths

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        """A path to write to: what is there at the end becomes the object, after an exception nothing does."""
        with tempfile.TemporaryDirectory(prefix="geopin-") as folder:
            yield (path := Path(folder) / PurePosixPath(key).name)
            with understood(self.address(key)):
                self._inner.put(self._full(key), path)

    def _fetch(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with understood(self.address(key)), path.open("wb") as file:
            for chunk in self._inner.get(self._full(key)):
                file.write(chunk)

    def _full(self, key: str) -> str:
        return self._prefix + _checked(key)

    def _in_order(self, found: "Iterable[ObjectMeta]") -> list[Stored]:
        """Some servers list folder by folder, and name the folders among the objects."""
        stored = (self._stored(one) for one in found if one["size"] or one["e_tag"] != _NO_VERSION)
        return sorted((one for one in stored if _is_object(one.key)), key=lambda one: one.key)

    def _stored(self, found: "ObjectMeta") -> Stored:
        key = found["path"].removeprefix(self._prefix)
        return Stored(key, found["size"], found["last_modified"], found["e_tag"] or "")


class FolderStore(ObjectStore):
    """Objects as the files of a folder, which the first write makes. Their files are at hand: nothing is copied."""

    def __init__(self, root: Path, *, is_durable: bool = True) -> None:
        from obstore.store import LocalStore

        self.root, self._is_durable = root, is_durable
        super().__init__(LocalStore(), str(root), f"{root.resolve().as_posix()[1:]}/")

    def path(self, key: str) -> Path:
        """Where an object is, or would be."""
        return self.root / _checked(key)

    def put(self, key: str, content: bytes, *, if_absent: bool = False, if_version: str | None = None) -> str:
        if if_absent or if_version is not None:
            with locked(self.root / _LOCK):
                self._check(key, if_version)
                return self._write(key, content)
        return self._write(key, content)

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

    @contextmanager
    def as_files(self, keys: Iterable[str]) -> Iterator[list[Path]]:
        paths = [self.path(key) for key in keys]
        for path in paths:
            if not path.is_file():
                raise NoSuchObjectError(f"{path}: not there")
        yield paths

    @contextmanager
    def replacing(self, key: str) -> Iterator[Path]:
        with understood(self.address(key)), replacing(self.path(key), is_durable=self._is_durable) as path:
            yield path

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


def open_store(address: str | Path, *, endpoint_url: str = "", is_durable: bool = True) -> ObjectStore:
    """The store at a local path, `s3://bucket/prefix`, or a web server's address, which can only be read, not listed;
    nothing is asked yet.

    Credentials and region of S3 are those of the environment (AWS_…); `endpoint_url`: of a server other than Amazon's.
    Raises ConfigurationError for any other address.
    """
    scheme, found, rest = str(address).partition("://")
    if not found:
        return FolderStore(Path(address).expanduser(), is_durable=is_durable)
    if scheme.lower() in ("http", "https"):
        return _web_store(str(address))
    bucket, _, prefix = rest.partition("/")
    if scheme.lower() != "s3" or not bucket:
        raise ConfigurationError(f"{address}: a store is a local path or s3://bucket/prefix")
    return _s3_store(bucket, prefix.strip("/"), endpoint_url)


def memory_store() -> ObjectStore:
    """An empty store that ends with the process."""
    from obstore.store import MemoryStore

    return ObjectStore(MemoryStore(), "memory:")


def _web_store(address: str) -> ObjectStore:
    from obstore.store import HTTPStore

    if any(mark in address for mark in "@?#"):
        raise ConfigurationError("the address of a store holds no key, and nothing behind a ? or #")
    options: ClientConfig = {"allow_http": True, "timeout": _REQUEST_TAKES_AT_MOST}
    retry: RetryConfig = {"max_retries": 5, "retry_timeout": _RETRY_FOR}
    with understood(address):
        inner = HTTPStore.from_url(address.rstrip("/") + "/", client_options=options, retry_config=retry)
    return ObjectStore(inner, address)


def _s3_store(bucket: str, prefix: str, endpoint_url: str) -> ObjectStore:
    from obstore.store import S3Store

    address = f"s3://{bucket}/{prefix}".rstrip("/")
    with understood(address):
        inner = S3Store(
            bucket,
            config={"endpoint": endpoint_url} if endpoint_url else None,
            client_options={"allow_http": endpoint_url.startswith("http://"), "timeout": _REQUEST_TAKES_AT_MOST},
            retry_config={"max_retries": 5, "retry_timeout": _RETRY_FOR},
        )
    return ObjectStore(inner, address, f"{prefix}/" if prefix else "")


def _checked(key: str) -> str:
    """The key of an object or a folder. Raises PermanentError for what is not a plain relative path everywhere."""
    if key and (any(part in ("", ".", "..") for part in key.split("/")) or not key.isprintable() or "#" in key):
        raise PermanentError(f"{key!r}: not a plain relative path")
    return key


def _is_object(key: str) -> bool:
    """Not one of the files that a folder has beside its objects."""
    path = PurePosixPath(key)
    return not is_partial(path) and not is_aside(path) and key != _LOCK
