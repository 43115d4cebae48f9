"""All stored vectors, of every cell and model: which captures they are of, taking some out, and whether they are sound.

For takedowns, of whatever model (runs keep the files of one model up to date, and those of others stay as they were),
and for the check of integrity. Not here: the files themselves (`vectors.py`). No torch.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from geopin_assets.embedding.vectors import CellVectors, VectorFiles
from geopin_assets.errors import PayloadError

UNIT_TOLERANCE = 2e-3
"""float16 keeps 11 significant bits: 512 rounded components move the norm by less than this."""


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors of one capture in one cell of one model. No capture: the file cannot be read, it may hold any."""

    model_id: str
    cell_id: str
    capture_id: str | None
    vectors: int


def stored_vectors(folder: Path, capture_ids: Collection[str]) -> Iterator[StoredVectors]:
    """Vectors of these captures below the folder of all models, in files and parts. Reads every file."""
    for path in sorted([*folder.glob("*/*.parquet"), *folder.glob("*/*.parts/*.parquet")]):
        model_id, cell = path.relative_to(folder).parts[:2]
        cell_id = Path(cell).stem
        try:
            found = (
                pl.scan_parquet(path)
                .filter(pl.col("capture_id").is_in(list(capture_ids)))
                .group_by("capture_id")
                .len()
                .sort("capture_id")
                .collect()
            )
        except (pl.exceptions.PolarsError, OSError):
            yield StoredVectors(model_id, cell_id, None, 0)
            continue
        yield from (StoredVectors(model_id, cell_id, *row) for row in found.iter_rows())


def take_out(folder: Path, model_id: str, cell_id: str, capture_ids: Collection[str]) -> None:
    """Remove the vectors of these captures from a cell of a model. Raises PayloadError for damaged files.

    Parts that a killed run left there go too: what was embedded in them is embedded again when it is wanted.
    """
    cell = VectorFiles(folder / model_id, _dim(folder / model_id, cell_id)).cell(cell_id)
    held = cell.held()
    cell.commit(held.filter(~pl.col("capture_id").is_in(list(capture_ids))), held)


def _dim(folder: Path, cell_id: str) -> int:
    files = [*folder.glob(f"{cell_id}.parquet"), *folder.glob(f"{cell_id}.parts/*.parquet")]
    try:
        return int(pl.read_parquet_schema(files[0])["embedding"].shape[0])  # type: ignore[attr-defined]
    except (pl.exceptions.PolarsError, OSError, LookupError) as error:
        raise PayloadError(f"{folder.name}/{cell_id}: not files of vectors: {error}") from error


@dataclass(frozen=True, slots=True)
class VectorAudit:
    """Counts over all files."""

    vectors: int
    not_finite: int
    not_unit: int
    by_model: dict[str, int]


def audit_vectors(paths: Iterable[Path]) -> VectorAudit:
    """Count vectors, and those that hold NaN or infinity or whose L2 norm is not 1."""
    not_finite = not_unit = 0
    by_model: dict[str, int] = {}
    for path in paths:
        for stored in CellVectors(path, dim=0).snapshot(["model_id", "embedding"])():
            norms = np.linalg.norm(stored["embedding"].to_numpy().astype(np.float32), axis=1)
            finite = np.isfinite(norms)
            not_finite += int((~finite).sum())
            not_unit += int((np.abs(norms[finite] - 1) > UNIT_TOLERANCE).sum())
            for model_id, count in stored.group_by("model_id").len().iter_rows():
                by_model[model_id] = by_model.get(model_id, 0) + count
    return VectorAudit(sum(by_model.values()), not_finite, not_unit, by_model)
