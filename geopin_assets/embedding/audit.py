"""Are the stored vectors sound? Reads files of EMBEDDING_SCHEMA, a part at a time; writes nothing. No torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from geopin_assets.embedding.cell_vectors import SPAN_ROWS

UNIT_TOLERANCE = 2e-3
"""float16 keeps 11 significant bits: 512 rounded components move the norm by less than this."""


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
        for stored in _parts(path):
            norms = np.linalg.norm(stored["embedding"].to_numpy().astype(np.float32), axis=1)
            finite = np.isfinite(norms)
            not_finite += int((~finite).sum())
            not_unit += int((np.abs(norms[finite] - 1) > UNIT_TOLERANCE).sum())
            for model_id, count in stored.group_by("model_id").len().iter_rows():
                by_model[model_id] = by_model.get(model_id, 0) + count
    return VectorAudit(sum(by_model.values()), not_finite, not_unit, by_model)


def _parts(path: Path) -> Iterator[pl.DataFrame]:
    """A cell of 100,000 panoramas has 2.5 GB of vectors as 32-bit numbers."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(SPAN_ROWS, columns=["model_id", "embedding"]):
            yield pl.DataFrame(pl.from_arrow(batch))
