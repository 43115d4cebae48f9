"""catalog/captures: the canonical captures of every source, merged cell by cell into DuckDB.

Not here: the merge itself (`store/catalog.py`). A source that failed leaves its last good crawl in place.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import Columns, asset
from geopin_assets.defs.graph import CATALOG, RAW
from geopin_assets.defs.resources import Storage
from geopin_assets.defs.running.materialize import DATA_VERSION, CellDone, CellFailed, materialize_cells
from geopin_assets.store.schema import CAPTURE_SCHEMA, CATALOG_DESCRIPTIONS, CATALOG_SCHEMA

COLUMNS = Columns(CATALOG_SCHEMA, CATALOG_DESCRIPTIONS, unchanged_from=dict.fromkeys(RAW, CAPTURE_SCHEMA))


@asset(CATALOG, columns=COLUMNS, kinds={"duckdb"})
def captures(context: dg.AssetExecutionContext, storage: Storage) -> Iterator[dg.MaterializeResult]:
    """One row per capture that exists today, deduplicated on source and image id over all sources.

    A complete crawl that no longer returns a capture removes it and leaves a tombstone in
    `capture_history`; a failed or incomplete crawl removes nothing. What is on the list `takedowns` is left
    out, whatever a source shows. A capture that moved changes its other cell too, which is recorded as well.
    """

    def merge(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        report = storage.catalog().merge(cell_ids, storage.raw())
        context.log.info(f"{report.duplicates} duplicates left out")
        for row in report.cells.filter(~pl.col("is_asked")).iter_rows(named=True):
            context.instance.report_runless_asset_event(_changed_elsewhere(row))
        for row in report.cells.filter("is_asked").iter_rows(named=True):
            error = report.unreadable.get(row["cell_id"])
            if error:
                yield CellFailed(row["cell_id"], error)
            else:
                shown = {name: row[name] for name in ("inserted", "updated", "removed")}
                yield CellDone(row["cell_id"], row["captures"], row["data_version"], shown)

    yield from materialize_cells(context, merge)


def _changed_elsewhere(row: Mapping[str, Any]) -> dg.AssetMaterialization:
    """Of a cell outside the run that a capture came from or went to: what is made from it follows."""
    return dg.AssetMaterialization(
        CATALOG.split("/"),
        partition=row["cell_id"],
        metadata={"dagster/partition_row_count": row["captures"], "changed_by": "a capture that moved"},
        tags={DATA_VERSION: row["data_version"]},
    )
