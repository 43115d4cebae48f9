"""A folder of photos on a disk or under a prefix of an S3 bucket (R2, SeaweedFS, …): the same to its readers.

Here: what any folder can do and what can go wrong with one file, the folder on a disk, and which of the two an address
means. Not here: buckets (`s3.py`), or what photos mean. Importing this imports no boto3.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geopin_assets.errors import ConfigurationError, PermanentError, TransientError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}+)://")
SUFFIXES = (".jpg", ".jpeg")


class PhotoGoneError(PermanentError):
    """There is no such file, or not any more."""


class PhotoNotAllowedError(PermanentError):
    """The name leads out of the folder."""


class PhotoTooLargeError(PermanentError):
    """The file is larger than asked for."""


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One file: its name relative to the folder, `/` between the parts, and what is known of its content."""

    name: str
    version: str = ""
    """Differs between two contents of the name; empty where only reading the whole file tells."""


class PhotoFolder(Protocol):
    """Photos by relative name. Safe to use from many threads.

    Every method raises PhotoGoneError, PhotoNotAllowedError, PhotoTooLargeError, TransientError,
    ConfigurationError (the folder itself is not there or may not be read) or PermanentError for one odd file.
    """

    @property
    def readers(self) -> int:
        """How many files it pays to read at once."""
        ...

    def photos(self, lost: Callable[[str], None] = lambda name: None) -> Iterator[PhotoFile]:
        """Every JPEG by its suffix, in any order, as it is found; `lost` hears of subfolders that cannot be read."""
        ...

    def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
        """The first `size` bytes (fewer if the file is smaller), and the file as it was when they were read."""
        ...

    def version(self, file: PhotoFile) -> str:
        """What changes when the content does."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """The whole content. Raises PhotoTooLargeError, without reading on, beyond `limit` bytes."""
        ...


def is_photo(name: str) -> bool:
    """Whether a file is a JPEG by its suffix."""
    return name.lower().endswith(SUFFIXES)


def is_inside(name: str) -> bool:
    """Whether every part of a relative name is a plain one: no `..`, no `.`, no empty one, no NUL."""
    return "\0" not in name and not {"", ".", ".."}.intersection(name.split("/"))


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """The photos below `path`, in its subfolders too. Links that lead out of it are not followed."""

    path: Path
    readers: int = 4
    """A network disk answers several at once; a local one does not mind."""

    def photos(self, lost: Callable[[str], None] = lambda name: None) -> Iterator[PhotoFile]:
        root = self._root()

        def name_of(path: Path | str) -> str:
            return Path(path).relative_to(root).as_posix()

        def on_error(error: OSError) -> None:
            if Path(error.filename) == root:
                raise ConfigurationError(f"{self.path} cannot be read ({error.strerror}): check GEOPIN_OWN_PHOTOS_DIR")
            if not isinstance(error, FileNotFoundError):
                lost(name_of(error.filename))

        for folder, _, files in os.walk(root, onerror=on_error):
            for path in (Path(folder) / name for name in files if is_photo(name)):
                try:
                    if path.is_file() and path.resolve().is_relative_to(root):
                        yield PhotoFile(name_of(path))
                except OSError:
                    lost(name_of(folder))  # its names can be read, what they name cannot

    def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
        with self._existing(file.name) as path, path.open("rb") as opened:
            return file, opened.read(size)

    def version(self, file: PhotoFile) -> str:
        """A hash of the content: times and sizes of files change or stay without it."""
        with self._existing(file.name) as path, path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]

    def read(self, name: str, limit: int) -> bytes:
        with self._existing(name) as path, path.open("rb") as opened:
            data = opened.read(limit + 1)
        if len(data) > limit:
            raise PhotoTooLargeError(f"more than {limit} bytes")
        return data

    def _root(self) -> Path:
        if not self.path.is_dir():
            raise ConfigurationError(f"no folder {self.path}: check GEOPIN_OWN_PHOTOS_DIR")
        return self.path.resolve()

    @contextmanager
    def _existing(self, name: str) -> Iterator[Path]:
        """The path of a file that really lies below; what goes wrong with it is put into the project's errors."""
        root = self._root()
        try:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise PhotoNotAllowedError("outside the folder of own photos")
            if not path.is_file():
                raise PhotoGoneError("no such file")
            yield path
        except FileNotFoundError as error:
            raise PhotoGoneError("no such file") from error
        except (PermissionError, ValueError) as error:
            raise PermanentError(f"cannot be read: {type(error).__name__}") from error
        except OSError as error:
            raise TransientError(f"cannot be read now: {type(error).__name__}") from error


def open_folder(address: str, endpoint_url: str = "") -> PhotoFolder:
    """The folder at a local path or `s3://bucket/prefix`; nothing is asked yet.

    `endpoint_url`: of a server other than Amazon's. Raises ConfigurationError for any other address.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return LocalFolder(Path(address).expanduser())
    bucket, _, prefix = address[scheme.end() :].partition("/")
    if scheme[1].lower() != "s3" or not bucket:
        raise ConfigurationError("a folder of photos is a local path or s3://bucket/prefix")
    from geopin_assets.photo_folder.s3 import S3Folder

    return S3Folder(bucket, prefix, endpoint_url)
