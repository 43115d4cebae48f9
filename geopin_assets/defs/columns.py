"""Polars in the UI: a schema as Dagster's column table, a small frame as a table. Nothing else lives here."""

from collections.abc import Mapping

import dagster as dg
import polars as pl


def column_schema(schema: Mapping[str, pl.DataType], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Columns with their types and, where there is one, their description."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, str(dtype), description=descriptions.get(name)) for name, dtype in schema.items()]
    )


def frame_table(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """The rows of a small frame, as a table in the UI."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in frame.to_dicts()], column_schema(frame.schema, {}))
