"""How assets are declared: each by its key in the table (`graph.py`), with what all declarations share.

Here: the one partitions definition, the decorators, and what Dagster shows of an asset beside its description: columns,
where they come from, where the data lies. Not here: any asset, or when one is made (`automation/`).
"""

import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.cells import cell_ids
from geopin_assets.defs.code_version import version_of
from geopin_assets.defs.graph import Node, node
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

# beta in Dagster 1.13; the version is pinned, so the reminder on every start helps nobody
_BETA = r".*(backfill_policy|CodeReference).*"
warnings.filterwarnings("ignore", message=_BETA, category=dg.BetaWarning)

OWNERS = ["team:geopin"]

cells = dg.StaticPartitionsDefinition(cell_ids())
"""About 20,000 cells in the frozen order of the grid: a province or a city is one contiguous range."""

Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]


@dataclass(frozen=True, slots=True)
class Columns:
    """What the rows of an asset hold."""

    schema: Mapping[str, pl.DataType]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    unchanged_from: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Key of an asset above -> its columns that pass through as they are, under the same name."""

    def metadata(self) -> dict[str, object]:
        """Their table, and where they come from."""
        lineage = {
            column: [dg.TableColumnDep(asset_key(above), column) for above in sources]
            for column in self.schema
            if (sources := [above for above, names in self.unchanged_from.items() if column in names])
        }
        shown: dict[str, object] = {"dagster/column_schema": column_schema(self.schema, self.descriptions)}
        return shown | ({"dagster/column_lineage": dg.TableColumnLineage(lineage)} if lineage else {})


def asset(
    key: str | Node,
    *,
    columns: Columns | None = None,
    decided_by: Sequence[object] = (),
    code: Sequence[dg.LocalFileCodeReference] = (),
    **options: Any,
) -> Decorator:
    """Decorator of the asset of that key (or row): cell by cell or as a whole, as the table says.

    `decided_by`: what its output depends on beside its columns and what it is made from; a change shows as such.
    `code`: where a person looks before the function itself.
    """
    row = node(key) if isinstance(key, str) else key
    shown = where_it_lies(row) | (columns.metadata() if columns else {}) | options.pop("metadata", {})
    options |= {
        "deps": [asset_key(above) for above in row.above],
        "pool": row.pool,
        "code_version": version_of(dict(columns.schema) if columns else None, *decided_by),
    }

    def declare(make: Callable[..., Any]) -> dg.AssetsDefinition:
        here = dg.LocalFileCodeReference(file_path=make.__code__.co_filename, line_number=make.__code__.co_firstlineno)
        references = dg.CodeReferencesMetadataValue(code_references=[*code, here])
        metadata = shown | {"dagster/code_references": references}
        if row.cells_per_run is not None:
            cell_by_cell = cell_asset(row.key.split("/"), cells_per_run=row.cells_per_run, metadata=metadata, **options)
            return cell_by_cell(make)
        whole = dg.asset(key=asset_key(row.key), group_name=row.group, owners=OWNERS, metadata=metadata, **options)
        return whole(make)

    return declare


def report(
    key: str,
    *,
    checks: Mapping[str, str] = {},
    blocking: Collection[str] = (),
    decided_by: Sequence[object] = (),
    **options: Any,
) -> Decorator:
    """Decorator of an unpartitioned report that judges as it is made. `checks`: name -> what it means, what to do."""
    specs = [
        dg.AssetCheckSpec(name, asset=asset_key(key), description=text, blocking=name in blocking)
        for name, text in checks.items()
    ]
    return asset(key, decided_by=[*checks, *decided_by], check_specs=specs or None, **options)


def verdict(check: str, passed: bool, text: str, *, is_error: bool = False, **shown: Any) -> dg.AssetCheckResult:
    """What a check says; a warning unless it is an error."""
    severity = dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=check, passed=passed, severity=severity, description=text, metadata=shown)


def cell_asset(key: Sequence[str], *, cells_per_run: int, **options: Any) -> Decorator:
    """Decorator of an asset that is done cell by cell, many cells to a run (see `running/materialize.py`)."""
    return dg.asset(
        key=key,
        group_name=key[0],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(cells_per_run),
        output_required=False,
        owners=OWNERS,
        **options,
    )


@cache
def settings_at_load() -> Settings:
    """The settings, or the defaults where a variable is wrong: the definitions must load, runs then say what is."""
    try:
        return Settings.from_env(os.environ)
    except ConfigurationError:
        return Settings()


def where_it_lies(row: Node) -> dict[str, object]:
    """`dagster/uri` of what is kept in files."""
    settings = settings_at_load()
    if row.path is None or (row.group == "publish" and settings.publishes_to_cloudflare):
        return {}
    return {"dagster/uri": (settings.data_dir / row.path).absolute().as_uri()}


def column_schema(schema: Mapping[str, pl.DataType], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Columns with their types and, where there is one, their description."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, str(dtype), description=descriptions.get(name)) for name, dtype in schema.items()]
    )


def frame_table(frame: pl.DataFrame) -> dg.TableMetadataValue:
    """The rows of a small frame, as a table in the UI."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in frame.to_dicts()], column_schema(frame.schema, {}))


def asset_key(key: str) -> dg.AssetKey:
    """Dagster's form of a key of the table."""
    return dg.AssetKey(key.split("/"))
