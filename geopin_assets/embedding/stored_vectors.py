"""All stored vectors, of every cell and model: which captures they are of, taking some out, and whether they are sound.

For takedowns, of whatever model (runs keep the files of one model up to date, and those of others stay as they were),
for maintenance, and for the check of integrity. `objects` is the store of all models, `{model_id}/{cell_id}.…`. Not
here: the files themselves (`vectors.py`). No torch.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import numpy as np
import orjson
import polars as pl

from geopin_assets.embedding.vectors import UNIT_TOLERANCE, CellVectors, VectorFiles, lengths
from geopin_assets.errors import DamagedFileError, PayloadError
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore
from geopin_assets.installation import Mark

_MARK = "installation.json"


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
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{objects.address(_MARK)} cannot be read: delete it, and run `geopin merge`") from error


def put_mark_of_vectors(objects: ObjectStore, mark: Mark) -> None:
    """Note that vectors follow this merge from now on."""
    objects.put(_MARK, orjson.dumps(asdict(mark)))


def stored_vectors(objects: ObjectStore, capture_ids: Collection[str]) -> Iterator[StoredVectors]:
    """Vectors of these captures of all models, in files and parts. Reads every file."""
    for key in (PurePosixPath(stored.key) for stored in objects.walk()):
        if key.suffix != ".parquet":
            continue
        model_id, cell_id = key.parts[0], PurePosixPath(key.parts[1]).stem
        try:
            with objects.as_file(str(key)) as path:
                found = (
                    pl.scan_parquet(path, glob=False)
                    .filter(pl.col("capture_id").is_in(list(capture_ids)))
                    .group_by("capture_id")
                    .len()
                    .sort("capture_id")
                    .collect()
                )
        except (pl.exceptions.PolarsError, OSError, NoSuchObjectError):
            yield StoredVectors(model_id, cell_id, None, 0)
            continue
        yield from (StoredVectors(model_id, cell_id, *row) for row in found.iter_rows())


def take_out(objects: ObjectStore, model_id: str, cell_id: str, capture_ids: Collection[str]) -> None:
    """Remove the vectors of these captures from a cell of a model. Raises PayloadError for damaged files.

    Parts that a killed run left there go too: what was embedded in them is embedded again when it is wanted.
    """
    cell = VectorFiles(objects, model_id, _dim(objects, model_id, cell_id)).cell(cell_id)
    kept = cell.held().filter(~pl.col("capture_id").is_in(list(capture_ids)))
    if kept.is_empty():
        objects.delete([cell.key])
    cell.commit(kept, held=kept.clear())


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


@dataclass(frozen=True, slots=True)
class VectorAudit:
    """Counts over all files."""

    vectors: int
    not_finite: int
    not_unit: int
    by_model: dict[str, int]


def audit_vectors(cells: Iterable[CellVectors]) -> VectorAudit:
    """Count vectors, and those that hold NaN or infinity or whose L2 norm is not 1."""
    not_finite = not_unit = 0
    by_model: dict[str, int] = {}
    for cell in cells:
        for stored in cell.snapshot(["model_id", "embedding"])():
            norms = lengths(stored["embedding"])
            finite = np.isfinite(norms)
            not_finite += int((~finite).sum())
            not_unit += int((np.abs(norms[finite] - 1) > UNIT_TOLERANCE).sum())
            for model_id, count in stored.group_by("model_id").len().iter_rows():
                by_model[model_id] = by_model.get(model_id, 0) + count
    return VectorAudit(sum(by_model.values()), not_finite, not_unit, by_model)
