"""How assets are declared: each by its key in the table (`graph.py`), with what all declarations share.

Here: the one partitions definition, the decorators, what Dagster shows of an asset beside its description (columns,
where they come from, where the data lies), and code versions: of values (a schema, a model) and of code (a source's
parser, read as a syntax tree without docstrings, so that comments and formatting change nothing). Nothing is made
again because of a version: automation follows content. Not here: any asset, or when one is made (`automation/`).
"""

import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

import geopin_assets
from geopin_assets.cells import cell_ids
from geopin_assets.defs.dagster_internals import FrozenPartitions
from geopin_assets.defs.graph import EMBEDDINGS, Node, node
from geopin_assets.defs.running.under_way import alone
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

_PACKAGE = Path(geopin_assets.__file__).parent
_IMPORTED = re.compile(r"^ *from (geopin_assets\.sources\.[\w.]+) import", re.MULTILINE)
_WORDS = re.compile(r'^[ \t]*""".*?"""[ \t]*\n|^[ \t]*#[^\n]*\n|[ \t]+#[^"\'\n]*$|^[ \t]*\n', re.MULTILINE | re.DOTALL)
"""Docstrings, comments and empty lines. A syntax tree would know them better, and take 0.15 s of each start."""
_OF_EVERY_SOURCE = ("base", "crawl")
"""How a crawl goes, of whichever source: as part of their versions it would mark everything at once."""


def version_of(*values: object) -> str:
    """A version of values by their text."""
    return blake2b(repr(values).encode(), digest_size=6).hexdigest()


def version_of_module(file: str) -> str:
    """The version of what one module does, its own code only."""
    return version_of(_read(Path(file))[0])


def version_of_source(module: str) -> str:
    """The version of the modules that a source is made of: its own, and those of `sources/` that it uses."""
    room = _PACKAGE / "sources"
    ours, waiting = set[Path](), {_home(module, room)}
    while waiting:
        path = waiting.pop()
        ours.add(path)
        used = {_home(name, room) for name in _read(path)[1]}
        shared = {room / f"{name}.py" for name in _OF_EVERY_SOURCE}
        waiting |= {path for path in used if path.exists()} - ours - shared
    return version_of([(path.stem, _read(path)[0]) for path in sorted(ours)])


def _home(module: str, room: Path) -> Path:
    """The file of a module of `sources/`, or the folder of a source that has more than one."""
    name = module.removeprefix(f"{geopin_assets.__name__}.sources.").partition(".")[0]
    folder = room / name
    return folder if folder.is_dir() else room / f"{name}.py"


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """What a file, or a folder of files, does; and the modules of `sources/` that it imports from."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return _WORDS.sub("", text), frozenset(_IMPORTED.findall(text))


# beta in Dagster 1.13; the version is pinned, so the reminder on every start helps nobody
_BETA = r".*(backfill_policy|CodeReference).*"
warnings.filterwarnings("ignore", message=_BETA, category=dg.BetaWarning)

OWNERS = ["team:geopin"]

cells = FrozenPartitions(cell_ids())
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
        return whole(alone(make))

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
    if _is_stored(row) and "://" in settings.store:
        return {"dagster/uri": f"{settings.store}/{row.path}"}
    folder = Path(settings.store) if _is_stored(row) else settings.data_dir
    return {"dagster/uri": (folder / row.path).absolute().as_uri()}


def _is_stored(row: Node) -> bool:
    """Whether it lies in the object store, which several machines may share."""
    return row.group in ("raw", "quality") or row.key == EMBEDDINGS


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
