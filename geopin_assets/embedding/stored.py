"""Which vectors of some captures are stored, of whatever model, and taking them out.

For takedowns: runs keep the files of one model up to date, and those of other models stay as they were. Not here:
the files themselves (`cell_vectors.py`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from geopin_assets.embedding.cell_vectors import VectorFiles
from geopin_assets.errors import PayloadError


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
