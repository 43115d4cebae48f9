"""A folder of photos on a disk of this machine. Links that lead out of it are not followed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geopin_assets.errors import ConfigurationError, PermanentError, TransientError
from geopin_assets.photo_folder.protocol import (
    PhotoFile,
    PhotoGoneError,
    PhotoNotAllowedError,
    PhotoTooLargeError,
    is_photo,
)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """The photos below `path`, in its subfolders too."""

    path: Path
    readers: int = 4
    """A network disk answers several at once; a local one does not mind."""

    def photos(self) -> Iterator[PhotoFile]:
        root = self._root()
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if is_photo(name) and path.is_file() and path.resolve().is_relative_to(root):
                yield PhotoFile(name)

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
