"""Images that could not be embedded, as whoever embeds leaves them. Not here: any assertion."""

import polars as pl

from geopin_assets.embedding.failures import FailureFiles
from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.files.object_store import memory_store
from geopin_assets.store.catalog import Catalog


def fail(catalog: Catalog, failures: dict[str, pl.DataFrame]) -> FailureFiles:
    """Have the catalog follow the files of these cells, which are all there are."""
    files = FailureFiles(memory_store())
    for cell_id, failed in failures.items():
        files.write(cell_id, failed.cast(FAILURE_SCHEMA))  # type: ignore[arg-type]
    catalog.follow_failures(files.objects)
    return files
