"""What data takes on the disk, what a killed process left behind, and giving it back.

Here: files of any kind, by age and size. Not here: which of them are still needed by a run (maintenance says how old
they must be), or what they hold.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geopin_assets.files.atomic import is_partial
from geopin_assets.files.damage import is_aside
from geopin_assets.files.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Removed:
    """Files that are gone, and the bytes they took."""

    files: int = 0
    bytes: int = 0


def bytes_of(path: Path) -> int:
    """What a file, or everything below a folder, takes; 0 where there is nothing."""
    return sum(size for _, size, _ in _files(path))


def partial_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Files that a process began to write before a moment and never put in their place."""
    return (path for path, _, changed_s in _files(folder) if is_partial(path) and changed_s < before.timestamp())


def files_dated_after(folder: Path, moment: datetime) -> Iterator[Path]:
    """Files that were written after a moment."""
    return (path for path, _, changed_s in _files(folder) if changed_s > moment.timestamp())


def damaged_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Files that were set aside before a moment."""
    return (path for path, _, changed_s in _files(folder) if is_aside(path) and changed_s < before.timestamp())


def untouched_folders(objects: ObjectStore, folders: Iterable[str], before: datetime) -> Iterator[str]:
    """Those of the folders of a store in which nothing was written since a moment; none that is empty."""
    for folder in folders:
        newest = max((stored.modified_at for stored in objects.walk(folder)), default=before)
        if newest < before:
            yield folder


def remove_folders(objects: ObjectStore, folders: Iterable[str]) -> Removed:
    """Delete folders of a store with everything in them."""
    files = total = 0
    for folder in list(folders):
        sizes = [stored.bytes for stored in objects.walk(folder)]
        objects.delete_folder(folder)
        files, total = files + len(sizes), total + sum(sizes)
    return Removed(files, total)


def remove_files(paths: Iterable[Path]) -> Removed:
    """Delete files."""
    files = total = 0
    for path in list(paths):
        files, total = files + 1, total + bytes_of(path)
        path.unlink(missing_ok=True)
    return Removed(files, total)


def _files(path: Path) -> Iterator[tuple[Path, int, float]]:
    """(path, bytes, time of change) of a file or of everything below a folder; what vanishes meanwhile is left out."""
    for file in [path] if path.is_file() else path.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file():
            yield file, stat.st_size, stat.st_mtime
