"""The one partitions definition, shared by every cell-partitioned asset. Nothing else lives here."""

import dagster as dg

from geopin_assets.cells import cell_ids

cells = dg.StaticPartitionsDefinition(cell_ids())
"""About 20,000 cells in the frozen order of the grid: a province or a city is one contiguous range."""
