"""What a folder of photos can do, wherever it is, and what can go wrong with one file.

Here: the protocol, names and errors. Not here: the local disk (`local.py`), buckets (`s3.py`), or what the photos mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from geopin_assets.errors import PermanentError

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

    def photos(self) -> Iterator[PhotoFile]:
        """Every JPEG by its suffix, in any order, as it is found."""
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
