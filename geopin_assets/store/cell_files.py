"""The canonical captures of each cell, as a file beside the raw files: what embedding needs to know of the catalog.

    {cell_id}.parquet    CAPTURE_COLUMNS by capture_id, and in its metadata which of its sources were crawled wholly
    merge.json           the newest merge that wrote any

The catalog writes them after each merge: what a file holds follows from raw files and takedowns alone. So any number of
machines embed without a database, and nobody but the catalog's owner opens it. Here: the files. Not here: the merge.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice

import orjson
import polars as pl

from geopin_assets.errors import DamagedFileError
from geopin_assets.files import parquet
from geopin_assets.files.notes import read_note
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore
from geopin_assets.installation import Mark
from geopin_assets.store.schema import CATALOG_SCHEMA

_ABOUT, _MARK = "geopin_cell", "merge.json"


@dataclass(frozen=True, slots=True)
class CellFile:
    """A cell as it was merged."""

    captures: pl.DataFrame
    complete: frozenset[str] = frozenset()
    """Sources of which a complete crawl was merged: what the cell lacks of them is gone."""
    left: frozenset[str] = frozenset()
    """Captures of the other sources that were here and are not any more: they moved, or were taken down."""

    def gone(self, captures: pl.DataFrame) -> pl.Series:
        """Whether each of some captures (capture_id) that are not here is known to be gone."""
        source = captures["capture_id"].str.split_exact(":", 0).struct[0]
        return source.is_in(list(self.complete)) | captures["capture_id"].is_in(list(self.left))


class CellFiles:
    """The files in one store. Safe to use from many threads; one process writes them, the catalog's owner."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def read(self, cell_id: str, columns: Sequence[str] = tuple(CATALOG_SCHEMA)) -> CellFile:
        """Nothing of a cell that was never merged. Raises DamagedFileError: see `set_aside`."""
        schema = {name: CATALOG_SCHEMA[name] for name in columns}
        try:
            with self.objects.as_file(_key(cell_id)) as path:
                held, told = parquet.read_whole(path, columns)
            about = orjson.loads(told[_ABOUT])
            return CellFile(held.cast(pl.Schema(schema)), frozenset(about["complete"]), frozenset(about["left"]))
        except (NoSuchObjectError, FileNotFoundError):
            return CellFile(pl.DataFrame(schema=schema))
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise DamagedFileError(f"{self.objects.address(_key(cell_id))}: no cell of ours: {error!r}") from error

    def there(self, cell_ids: Collection[str]) -> set[str]:
        """Those that have a file."""
        found = self.objects.there(map(_key, cell_ids))
        return {cell_id for cell_id in cell_ids if _key(cell_id) in found}

    def set_aside(self, cell_id: str) -> None:
        """Have a damaged file out of the way: the next merge that is asked for the cell writes it anew."""
        self.objects.set_aside(_key(cell_id))

    def counts(self, cell_ids: Sequence[str]) -> dict[str, int]:
        """Captures per cell, from the ends of the files; cells without a file are not in it."""
        with ThreadPoolExecutor(self.objects.readers) as pool:
            counted = zip(cell_ids, pool.map(self._count, cell_ids), strict=True)
            return {cell_id: count for cell_id, count in counted if count is not None}

    def write(self, cells: Iterable[tuple[str, pl.DataFrame, Collection[str]]]) -> Iterator[str]:
        """Replace the files of cells: (cell_id, CAPTURE_COLUMNS, complete sources). Yields those that are written."""
        left = iter(cells)
        with ThreadPoolExecutor(self.objects.readers) as pool:
            while some := list(islice(left, self.objects.readers)):
                yield from pool.map(self._write, some)

    def put_mark(self, mark: Mark) -> None:
        """The files are those of this merge."""
        self.objects.put(_MARK, orjson.dumps(asdict(mark)))

    def mark(self) -> Mark | None:
        """The newest merge of all; None before the first."""
        return read_note(self.objects, _MARK, Mark.of)

    def _count(self, cell_id: str) -> int | None:
        try:
            about = parquet.metadata_of(self.objects, _key(cell_id)).get(_ABOUT, "{}")
            return int(orjson.loads(about)["captures"])
        except (NoSuchObjectError, FileNotFoundError, DamagedFileError, KeyError, TypeError, ValueError):
            return None

    def _write(self, cell: tuple[str, pl.DataFrame, Collection[str]]) -> str:
        cell_id, captures, complete = cell
        about = {"cell_id": cell_id, "captures": captures.height, "complete": sorted(complete)}
        about["left"] = sorted(self._left(cell_id, captures, complete))
        self.objects.put(_key(cell_id), parquet.frame_bytes(captures, {_ABOUT: orjson.dumps(about).decode()}))
        return cell_id

    def _left(self, cell_id: str, captures: pl.DataFrame, complete: Collection[str]) -> set[str]:
        """Of sources without a complete crawl, which would say it: what was in the file before, or had left it."""
        try:
            before = self.read(cell_id, ["capture_id"])
        except DamagedFileError:
            return set()
        ids = (before.left | set(before.captures["capture_id"])) - set(captures["capture_id"])
        return {id_ for id_ in ids if id_.partition(":")[0] not in complete}


def _key(cell_id: str) -> str:
    return f"{cell_id}.parquet"
