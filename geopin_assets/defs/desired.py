"""Which vectors the index must hold: those of one model, for captures that the catalog holds in that very cell.

Not here: publishing them (`publish.py`) or comparing them with the index (`integrity.py`).
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from geopin_assets.cells import cell_facts
from geopin_assets.defs.resources import Storage
from geopin_assets.embedding.choose import DIM
from geopin_assets.embedding.pipeline import EMBEDDING_SCHEMA

_BLOCK_CELLS = 10
"""Side of a cell block, in cells: the coarse place that searches may filter by (about 20 km)."""


def desired_vector_ids(storage: Storage, model_id: str) -> pl.Series:
    """Ids of all vectors that the index of a model must hold: embedded, and still in the catalog in that cell."""
    stored = _stored(storage.embeddings_paths(), ["vector_id", "capture_id", "model_id"])
    places = storage.catalog().sightings().select("capture_id", "cell_id")
    return stored.filter(pl.col("model_id") == model_id).join(places, on=["capture_id", "cell_id"])["vector_id"]


def desired_vectors(storage: Storage, cell_ids: Sequence[str], model_id: str) -> pl.DataFrame:
    """Vectors of one model for the captures that the catalog holds in these cells."""
    stored = _stored([storage.embeddings_path(c) for c in cell_ids], EMBEDDING_SCHEMA.names())
    places = (
        storage.catalog()
        .captures(cell_ids)
        .select("capture_id", "cell_id", captured_year=pl.col("captured_at").dt.year().cast(pl.Int32))
    )
    block = {cell_id: _block(cell_id) for cell_id in cell_ids}
    return (
        stored.filter(pl.col("model_id") == model_id)
        .join(places, on=["capture_id", "cell_id"])
        .with_columns(
            pl.col("embedding").cast(pl.Array(pl.Float32, DIM)),
            cell_block=pl.col("cell_id").replace_strict(block, return_dtype=pl.String),
        )
    )


def _stored(paths: Sequence[Path], columns: list[str]) -> pl.DataFrame:
    """Columns of these cells' embedding files, and the cell of each file.

    A capture that moved is still in the file of its old cell until that is embedded again.
    """
    empty = pl.DataFrame(schema={**EMBEDDING_SCHEMA, "cell_id": pl.String}).select(*columns, "cell_id")
    files = [
        pl.read_parquet(path, columns=columns).with_columns(cell_id=pl.lit(path.stem))
        for path in paths
        if path.exists()
    ]
    return pl.concat([empty, *files])


def _block(cell_id: str) -> str:
    facts = cell_facts(cell_id)
    return f"r{facts.row // _BLOCK_CELLS:02d}c{facts.column // _BLOCK_CELLS:02d}"
