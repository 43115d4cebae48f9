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

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import ConfigurationError, PermanentError
from geopin_assets.files.plain import open_plain, refuse_odd
from geopin_assets.photo_folder.names import is_hidden_or_a_systems, is_inside, is_photo
from geopin_assets.s3_access import S3Access

__all__ = ["LocalFolder", "Lost", "PhotoClosedError", "PhotoFile", "PhotoFolder", "PhotoGoneError",
           "PhotoNotAllowedError", "PhotoTooLargeError", "Skip", "is_inside", "is_photo", "open_folder"]  # fmt: skip

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}+)://")
Skip = Callable[[str], bool]
"""Whether not to look at a file, or into a folder, whose name ends in `/`."""


class PhotoGoneError(PermanentError):
    """There is no such file, or not any more."""


class PhotoClosedError(PermanentError):
    """It is there, and whoever asks may not read it, or its disk cannot."""


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


@dataclass(frozen=True, slots=True)
class Lost:
    """A folder or file whose content is not known: what is in it may still be there."""

    name: str
    """Ends in `/` for a folder; empty for the whole."""
    is_empty: bool = False
    """A folder with nothing of its owner's in it, as where a disk is not mounted."""


class PhotoFolder(Protocol):
    """Photos by relative name. Safe to use from many threads.

    Every method raises PhotoGoneError, PhotoClosedError, PhotoNotAllowedError, PhotoTooLargeError, TransientError,
    ConfigurationError (the folder itself is not there or may not be read) or PermanentError for one odd file.
    """

    @property
    def readers(self) -> int:
        """How many files it pays to read at once."""
        ...

    def files(self, skip: Skip = lambda name: False) -> Iterator[PhotoFile | Rejected | Lost]:
        """Every file, in any order, as it is found, but what is skipped, and what could not be looked at.

        A folder that is skipped is one rejection, however much is in it; of files photos are.
        """
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


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """The photos below `path`, in its subfolders too. Links that lead out of it are not followed."""

    path: Path
    readers: int = 4
    """A network disk answers several at once; a local one does not mind."""

    def files(self, skip: Skip = lambda name: False) -> Iterator[PhotoFile | Rejected | Lost]:
        root = self._root()
        unread: list[OSError] = []
        for folder, folders, files in os.walk(root, onerror=unread.append):
            yield from self._lost(root, unread)
            prefix = "" if Path(folder) == root else f"{Path(folder).relative_to(root).as_posix()}/"
            is_skipped = {name: skip(f"{prefix}{name}/") for name in folders}
            yield from (Rejected(Reason.IGNORED, f"{prefix}{name}/") for name in folders if is_skipped[name])
            folders[:] = [name for name in folders if not is_skipped[name]]
            names = [name for name in files if not skip(f"{prefix}{name}")]
            yield from (
                Rejected(Reason.IGNORED, prefix + name) for name in set(files).difference(names) if is_photo(name)
            )
            if all(map(is_hidden_or_a_systems, (*files, *(f"{name}/" for name in is_skipped)))):
                yield Lost(prefix, is_empty=True)
            links = [name for name in folders if Path(folder, name).is_symlink()]
            yield from (Rejected(Reason.IGNORED, f"{prefix}{name}/ (a link)") for name in links)
            for name in names:
                yield _listed(root, Path(folder, name), prefix + name) if is_photo(name) else PhotoFile(prefix + name)
        yield from self._lost(root, unread)

    def _lost(self, root: Path, unread: list[OSError]) -> Iterator[Lost]:
        """Folders that the walk came to and could not read. Raises ConfigurationError if it is the first."""
        while unread:
            error = unread.pop()
            if Path(error.filename) == root:
                raise ConfigurationError(f"{self.path} cannot be read ({error.strerror}): check GEOPIN_OWN_PHOTOS_DIR")
            yield Lost(f"{Path(error.filename).relative_to(root).as_posix()}/")

    def head(self, file: PhotoFile, size: int) -> tuple[PhotoFile, bytes]:
        with self._existing(file.name) as path, open_plain(path) as opened:
            return file, opened.read(size)

    def version(self, file: PhotoFile) -> str:
        """A hash of the content: times and sizes of files change or stay without it."""
        with self._existing(file.name) as path, open_plain(path) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]

    def read(self, name: str, limit: int) -> bytes:
        with self._existing(name) as path, open_plain(path) as opened:
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
            refuse_odd(path)
            if not path.is_file():
                raise PhotoGoneError("no such file")
            yield path
        except FileNotFoundError as error:
            raise PhotoGoneError("no such file") from error
        except (ValueError, RuntimeError) as error:  # a link to itself
            raise PermanentError(f"cannot be read: {type(error).__name__}") from error
        except OSError as error:  # no right to, a bad sector, a network disk that is away
            raise PhotoClosedError(f"cannot be read: {error.strerror or type(error).__name__}") from error


def _listed(root: Path, path: Path, name: str) -> PhotoFile | Rejected | Lost:
    """A photo that was found by its name, if it is a file that lies in the folder."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            return Rejected(Reason.IGNORED, f"{name} (a link that leads out of the folder)")
        return PhotoFile(name) if real.is_file() else Rejected(Reason.UNREADABLE, name)
    except PermissionError:  # names can be read, what they name cannot
        return Lost(f"{name.rpartition('/')[0]}/")
    except (OSError, RuntimeError):  # a link to what is not there, or to itself
        return Lost(name)


def open_folder(address: str, endpoint_url: str = "", access: S3Access | None = None) -> PhotoFolder:
    """The folder at a local path or `s3://bucket/prefix`; nothing is asked yet.

    `endpoint_url`: of a server other than Amazon's; `access`: who asks it, by default whom the environment says.
    Raises ConfigurationError for any other address.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return LocalFolder(Path(address).expanduser())
    bucket, _, prefix = address[scheme.end() :].partition("/")
    if scheme[1].lower() != "s3" or not bucket:
        raise ConfigurationError("a folder of photos is a local path or s3://bucket/prefix")
    from geopin_assets.photo_folder.s3 import S3Folder

    return S3Folder(bucket, prefix, endpoint_url, access=access)
