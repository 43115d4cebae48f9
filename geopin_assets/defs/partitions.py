"""The one partitions definition, and what all assets partitioned by it have in common. Nothing else lives here."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from geopin_assets.cells import cell_ids

OWNERS = ["team:geopin"]

cells = dg.StaticPartitionsDefinition(cell_ids())
"""About 20,000 cells in the frozen order of the grid: a province or a city is one contiguous range."""


def cell_asset(
    key: Sequence[str], *, cells_per_run: int, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorator of an asset that is done cell by cell, many cells to a run (see `ranges.py`).

    Assets that depend on each other need different `cells_per_run`: Dagster puts those with equal policies
    into one range run, where it would skip the downstream one without a word.
    """
    return dg.asset(
        key=key,
        group_name=key[0],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(cells_per_run),
        output_required=False,
        owners=OWNERS,
        **options,
    )
