"""How assets are declared: the one partitions definition, the decorator of assets done cell by cell, their columns.

Here: what all declarations share. Not here: any asset, or what starts it (`automation/`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.cells import cell_ids


def column_schema(schema: Mapping[str, pl.DataType], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Columns with their types and, where there is one, their description."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, str(dtype), description=descriptions.get(name)) for name, dtype in schema.items()]
    )


def frame_table(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """The rows of a small frame, as a table in the UI."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in frame.to_dicts()], column_schema(frame.schema, {}))


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
