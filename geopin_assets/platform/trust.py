"""How far captures are believed, told to whoever searches: from the list of doubts into the rows beside the index.

Here: what rows say, and making them say it. Not here: finding doubts (`locate/outliers.py`), or counting less what is
doubted (`locate/search.py`).
"""

import polars as pl

from geopin_assets.cells import pages
from geopin_assets.embedding.protocol import Model
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE
from geopin_assets.index.stores import SearchedStore
from geopin_assets.platform.index_state import DOUBTED, doubted
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.platform.publishing import Publisher

_TOLD_SQL = "SELECT capture_id, trust FROM captures WHERE trust IS NOT NULL"


def publish_trust(storage: Storage, search_index: SearchIndex, model: Model) -> int:
    """Have the rows say what is doubted now, in every database; how many rows changed.

    Rows are compared with the list, not with its past: whatever was killed in between is made good by the next.
    """
    told = SearchedStore(search_index.metadata()).query(_TOLD_SQL).cast(DOUBTED)  # type: ignore[arg-type]
    wanted = doubted(storage.quality_dir())
    stale = pl.concat(
        [told.join(wanted, on=list(DOUBTED), how="anti"), wanted.join(told, on=list(DOUBTED), how="anti")]
    )
    catalog = storage.catalog()
    there = catalog.find_captures(stale["capture_id"].unique().to_list()).filter(pl.col("held_in") == "captures")
    cell_ids = there["cell_id"].unique().sort().to_list()
    if not cell_ids:
        return 0
    publisher = Publisher.begin(storage, search_index, model)
    batches = pages(cell_ids, catalog.counts_by_cell(cell_ids), ROW_CAPTURES_AT_ONCE)
    return sum(report.upserted for batch in batches for report in publisher.rows(batch))
