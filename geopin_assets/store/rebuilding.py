"""The catalog made anew beside the one that is there, which gives way when the new one is whole.

Until then it is a partial file as `files/atomic.py` names them; of a rebuild that was killed the next one removes it.

Whatever fails before, a full disk above all, leaves the old one as it is, and in use. Not here: merging (`catalog.py`),
who else works on the catalog (`cli/merge.py`), or what is written of each cell: that follows the new one in its place.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from geopin_assets.errors import DamagedFileError, TransientError
from geopin_assets.files.atomic import partial_of, sync
from geopin_assets.files.damage import aside, set_aside, writing
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.database import Database
from geopin_assets.store.raw import RawStore
from geopin_assets.store.takedowns import Takedowns

STEP_CELLS = 2_000
"""Merged at a time, so that somebody hears of it."""


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where another catalog is made; at the end nothing is left there. One at a time: the caller sees to that."""
    part = partial_of(path, "anew")
    _remove(part)
    try:
        with writing(str(part)):
            yield part
    finally:
        _remove(part)


def make(
    part: Path, cell_ids: Sequence[str], raw: RawStore, takedowns: Takedowns, thin_m: float, say: Callable[[int], None]
) -> dict[str, str]:
    """Merge cells into a catalog at `part`, all of it in the file; damaged raw files are set aside: cell_id -> why.

    `say`: how many more cells are done. Raises TransientError where a file that is not damaged cannot be read.
    """
    anew, damaged = Catalog(part, takedowns, thin_m=thin_m), dict[str, str]()
    anew.merge([], raw)
    for first in range(0, len(cell_ids), STEP_CELLS):
        step = cell_ids[first : first + STEP_CELLS]
        damaged |= anew.merge(step, raw).unreadable
        say(len(step))
    if damaged and (still := anew.merge([*damaged], raw).unreadable):  # damaged files are out of the way now
        raise TransientError(f"{len(still)} cells could not be read, e.g. {next(iter(still.values()))}")
    anew.tidy()
    return damaged


def put_in_place(part: Path, path: Path, *, patience_s: float = 300.0) -> Path | None:
    """Have the catalog at `part` at `path`, in one moment; where the one that was there is now.

    Waits for whoever has that open to write. Raises TransientError if that takes too long.
    """
    with ExitStack() as stack, writing(str(path)):
        if path.is_file():
            with suppress(DamagedFileError):
                stack.enter_context(Database(path, patience_s=patience_s).alone())
        sync(part)
        place = _second_name(path)
        part.replace(path)
        sync(path.parent)
        return place


def _second_name(path: Path) -> Path | None:
    """Of the old file, with the journal that a killed writer left: the new one would take that for its own."""
    if path.is_symlink() or not path.is_file():
        return set_aside(path)
    place = path.with_name(aside(path.name))
    os.link(path, place)
    with suppress(FileNotFoundError):
        path.with_name(f"{path.name}.wal").rename(place.with_name(f"{place.name}.wal"))
    return place


def _remove(part: Path) -> None:
    """With what DuckDB keeps beside it, also while it is born."""
    for one in part.parent.iterdir() if part.parent.exists() else ():
        if part.name in one.name:
            shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
