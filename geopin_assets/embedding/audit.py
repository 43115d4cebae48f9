"""Are vectors what a search by angle takes: finite, and of length 1? Counted when a file is written, and noted in it.

Here: counting, and the note. Not here: files (`vectors.py`), or looking through all of them (`stored_vectors.py`).
"""

from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geopin_assets.files.damage import reading

UNIT_TOLERANCE = 2e-3
"""float16 keeps 11 significant bits: 512 rounded components move the norm by less than this."""
_NOTE = b"geopin.audit"


@dataclass(frozen=True, slots=True)
class Audit:
    """So many vectors, and how many of them are not as they should be."""

    vectors: int = 0
    not_finite: int = 0
    not_unit: int = 0
    damaged: int = 0
    """Files that cannot be read."""

    def __add__(self, other: "Audit") -> "Audit":
        return Audit(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def note(self) -> dict[bytes, bytes]:
        """As a file keeps it."""
        return {_NOTE: orjson.dumps(asdict(self))}


def audit_of(embedding: pl.Series) -> Audit:
    """Count vectors, those that hold NaN or infinity, and those that are not of length 1."""
    norms = lengths(embedding)
    finite = np.isfinite(norms)
    not_unit = int((np.abs(norms[finite] - 1) > UNIT_TOLERANCE).sum())
    return Audit(len(norms), int((~finite).sum()), not_unit)


def noted(path: Path) -> Audit | None:
    """What a file says of itself; None where whoever wrote it noted nothing, or not of all that is in it."""
    with reading(str(path)):
        about = pq.read_metadata(path)
    note = (about.metadata or {}).get(_NOTE)
    audit = Audit(**orjson.loads(note)) if note else None
    return audit if audit and audit.vectors == about.num_rows else None


def lengths(embedding: pl.Series) -> NDArray[np.float32]:
    """The L2 norm of each vector; not finite where a component is not."""
    return np.linalg.norm(embedding.to_numpy().astype(np.float32), axis=1)
