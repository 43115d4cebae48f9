"""A polars schema as Dagster's column table. Nothing else lives here."""

from collections.abc import Mapping

import dagster as dg
import polars as pl


def column_schema(schema: Mapping[str, pl.DataType], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Columns with their types and, where there is one, their description."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, str(dtype), description=descriptions.get(name)) for name, dtype in schema.items()
        ]
    )
