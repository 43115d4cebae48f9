"""What data takes on the disk, what a killed process left behind, and giving it back.

Here: files of any kind, by age and size. Not here: which of them are still needed by a run (maintenance says how old
they must be), or what they hold.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geopin_assets.files.atomic import is_partial


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


def untouched_folders(folders: Iterable[Path], before: datetime) -> Iterator[Path]:
    """Those of the folders in which nothing was written since a moment."""
    for folder in folders:
        changed_s = [folder.stat().st_mtime, *(changed_s for _, _, changed_s in _files(folder))]
        if max(changed_s) < before.timestamp():
            yield folder


def remove(paths: Iterable[Path]) -> Removed:
    """Delete files, and folders with everything in them."""
    files = total = 0
    for path in list(paths):
        found = list(_files(path))
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        files, total = files + len(found), total + sum(size for _, size, _ in found)
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
