"""Images of a cell that could not be embedded, as a file of the cell: `{cell_id}.parquet`, none where all went well.

Here: the files, which whoever embeds reads and writes. Not here: what a failure is (`protocol.py`), when it is tried
again (`plan.py`), or the catalog's table of all of them, which follows these files (`store/catalog.py`).
"""

from dataclasses import dataclass

import polars as pl

from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.errors import DamagedFileError
from geopin_assets.files import parquet
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore


@dataclass(frozen=True, slots=True)
class FailureFiles:
    """The files in one store."""

    objects: ObjectStore

    def read(self, cell_id: str) -> pl.DataFrame:
        """FAILURE_SCHEMA by capture_id. What cannot be read is forgotten: those images are tried again."""
        try:
            with self.objects.as_file(_key(cell_id)) as path:
                return parquet.read_frame(path, FAILURE_SCHEMA.names()).cast(FAILURE_SCHEMA)
        except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
            return FAILURE_SCHEMA.to_frame()

    def write(self, cell_id: str, failures: pl.DataFrame) -> None:
        """Replace them."""
        if failures.is_empty():
            self.objects.delete([_key(cell_id)])
        else:
            self.objects.put(_key(cell_id), parquet.frame_bytes(failures.select(FAILURE_SCHEMA.names())))


def _key(cell_id: str) -> str:
    return f"{cell_id}.parquet"
