"""All stored vectors, of every cell and model: which captures they are of, taking some out, and whether they are sound.

For takedowns, of whatever model (runs keep the files of one model up to date, and those of others stay as they were),
for maintenance, and for the check of integrity. `objects` is the store of all models, `{model_id}/{cell_id}.…`. Not
here: the files themselves (`vectors.py`). No torch.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass
from itertools import count
from pathlib import PurePosixPath
from random import Random

import orjson
import polars as pl

from geopin_assets.embedding.audit import Audit
from geopin_assets.embedding.vectors import CellVectors, VectorFiles
from geopin_assets.errors import DamagedFileError, GeoPinError, PayloadError
from geopin_assets.files import parquet
from geopin_assets.files.object_store import ConflictError, NoSuchObjectError, ObjectStore
from geopin_assets.installation import Mark

_MARK = "installation.json"
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors of one capture in one cell of one model. No capture: the file cannot be read, it may hold any."""

    model_id: str
    cell_id: str
    capture_id: str | None
    vectors: int


def mark_of_vectors(objects: ObjectStore) -> Mark | None:
    """The newest merge of the catalog that vectors were made from; None before that was noted."""
    try:
        return Mark.of(orjson.loads(objects.get(_MARK)))
    except NoSuchObjectError:
        return None
    except (DamagedFileError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{objects.address(_MARK)} cannot be read: delete it, and run `geopin merge`") from error


def put_mark_of_vectors(objects: ObjectStore, mark: Mark) -> None:
    """Note that vectors follow this merge from now on."""
    objects.put(_MARK, orjson.dumps(asdict(mark)))


def stored_vectors(objects: ObjectStore, capture_ids: Collection[str]) -> Iterator[StoredVectors]:
    """Vectors of these captures of all models, in files and parts. Reads every file."""

    def look(key: PurePosixPath) -> list[StoredVectors]:
        model_id, cell_id = key.parts[0], PurePosixPath(key.parts[1]).stem
        try:
            ids = parquet.read_columns(objects, str(key), ["capture_id"])["capture_id"]
        except (GeoPinError, pl.exceptions.PolarsError, OSError):
            return [StoredVectors(model_id, cell_id, None, 0)]
        found = ids.filter(ids.is_in(list(capture_ids))).value_counts().sort("capture_id")
        return [StoredVectors(model_id, cell_id, *row) for row in found.iter_rows()]

    keys = [PurePosixPath(stored.key) for stored in objects.walk()]
    of_cells = [key for key in keys if key.suffix == ".parquet"]
    with ThreadPoolExecutor(objects.readers) as pool:
        for found in pool.map(look, of_cells):
            yield from found


def take_out(objects: ObjectStore, model_id: str, cell_id: str, capture_ids: Collection[str]) -> None:
    """Remove the vectors of these captures from a cell of a model. Raises PayloadError for damaged files.

    Parts that a killed run left there go too: what was embedded in them is embedded again when it is wanted.
    """
    cell = VectorFiles(objects, model_id, _dim(objects, model_id, cell_id)).cell(cell_id)
    for nth in count(1):
        before = cell.stored()
        kept = cell.held().filter(~pl.col("capture_id").is_in(list(capture_ids)))
        if kept.is_empty():
            objects.delete([cell.key])
            before = None
        try:
            cell.commit(kept, kept.clear(), before, alone=True)
            return
        except ConflictError:
            if nth == _ATTEMPTS:
                raise


def _dim(objects: ObjectStore, model_id: str, cell_id: str) -> int:
    cell = VectorFiles(objects, model_id, dim=0).cell(cell_id)
    parts = (stored.key for stored in objects.look(cell.parts_folder)[1])
    first = cell.key if objects.has(cell.key) else next(parts, cell.key)
    try:
        with objects.as_file(first) as path:
            return int(pl.read_parquet_schema(path)["embedding"].shape[0])  # type: ignore[attr-defined]
    except (pl.exceptions.PolarsError, OSError, LookupError, NoSuchObjectError) as error:
        raise PayloadError(f"{model_id}/{cell_id}: not files of vectors: {error}") from error


def parts_folders(objects: ObjectStore) -> list[str]:
    """The parts of all cells of all models: of cells being embedded, or whose run was killed."""
    inside = (folder for model in objects.look()[0] for folder in objects.look(model)[0])
    return [folder for folder in inside if folder.endswith(".parts")]


def compact_parts(objects: ObjectStore, folders: Iterable[str]) -> int:
    """Make one part of those that a killed run left, in each folder; how many there were. Raises PayloadError."""
    return sum(CellVectors(objects, f"{name.removesuffix('.parts')}.parquet", dim=0).compact() for name in folders)


AUDITS = pl.Schema(
    {"model_id": pl.String(), "cell_id": pl.String(), "version": pl.String()}
    | {"vectors": pl.Int64(), "not_finite": pl.Int64(), "not_unit": pl.Int64(), "damaged": pl.Int64()}
)
"""What is known of each cell's file; `version` is that of the file it was true of."""
COUNTED_AGAIN = 20_000
"""Vectors read at each look although they were counted before, 20 MB: what a disk changes is found in the end."""


def audit_files(
    files: VectorFiles, known: pl.DataFrame, *, counted_again: int = COUNTED_AGAIN, seed: int = 0
) -> pl.DataFrame:
    """AUDITS of every cell of a model. `known`: the same of an earlier look.

    Of a file that is known nothing is read, of one that says itself what was counted when it was written its end, of
    any other all; and a choice by `seed`, of `counted_again` vectors, wholly again.
    """
    versions, before = files.versions(), _by_cell(known, files.model_id)
    found: dict[str, Audit] = {}
    read = set[str]()
    for cell_id, version in versions.items():
        audit = before.get((cell_id, version)) or _sound(files.cell(cell_id).noted)
        if audit is None:
            audit = _sound(files.cell(cell_id).counted)
            read.add(cell_id)
        found[cell_id] = audit or Audit()
    for cell_id in _chosen([cell_id for cell_id in versions if cell_id not in read], found, counted_again, seed):
        found[cell_id] = _sound(files.cell(cell_id).counted) or Audit()
    rows = [(files.model_id, cell_id, versions[cell_id], *astuple(audit)) for cell_id, audit in found.items()]
    return pl.DataFrame(rows, schema=AUDITS, orient="row")


def _sound(look: Callable[[], Audit | None]) -> Audit | None:
    try:
        return look()
    except DamagedFileError:
        return Audit(damaged=1)


def _by_cell(known: pl.DataFrame, model_id: str) -> dict[tuple[str, str], Audit]:
    rows = known.filter(model_id=model_id).drop("model_id").iter_rows()
    return {(cell_id, version): Audit(*counts) for cell_id, version, *counts in rows}


def _chosen(cell_ids: list[str], found: Mapping[str, Audit], most: int, seed: int) -> Iterator[str]:
    for cell_id in Random(seed).sample(cell_ids, len(cell_ids)):  # noqa: S311
        if (most := most - found[cell_id].vectors) < 0:
            return
        yield cell_id
