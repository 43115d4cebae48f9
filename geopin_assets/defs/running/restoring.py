"""Publishing again what a reconciliation found to be lost: rows, then vectors, through the assets, which record it.

Not here: finding it (`platform/reconcile.py`).
"""

from collections.abc import Iterator

import dagster as dg

from geopin_assets.defs.graph import D1, VECTORIZE
from geopin_assets.defs.running.local_run import LayerResult, layer
from geopin_assets.platform.reconcile import Reconciliation


def publish_again(defs: dg.Definitions, instance: dg.DagsterInstance, found: Reconciliation) -> Iterator[LayerResult]:
    """The cells that lack something, yielding each layer's result as it ends; nothing where none does."""
    for asset, cell_ids in ((D1, found.cells(of_index=False)), (VECTORIZE, found.cells(of_index=True))):
        if cell_ids:
            yield layer(defs.resolve_implicit_global_asset_job_def(), instance, asset, cell_ids)
