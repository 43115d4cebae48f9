"""Captures as polars frames. Columns, types and descriptions follow from `capture.Capture` alone.

Here too: the version of a frame's content, the data version of what is stored. Not here: the catalog's tables
(`schema.sql`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import get_args, get_type_hints

import polars as pl

from geopin_assets.capture import Capture, HeadingFrom, PositionFrom
from geopin_assets.errors import DamagedFileError

_TYPES: dict[object, pl.DataType] = {
    str: pl.String(),
    str | None: pl.String(),
    PositionFrom | None: pl.String(),
    HeadingFrom | None: pl.String(),
    float: pl.Float64(),
    float | None: pl.Float64(),
    bool: pl.Boolean(),
    datetime | None: pl.Datetime("us", "UTC"),
}
_HINTS = get_type_hints(Capture)

CAPTURE_SCHEMA = pl.Schema({"capture_id": pl.String()} | {f.name: _TYPES[_HINTS[f.name]] for f in fields(Capture)})
"""`capture_id`, then the fields of Capture in their order."""

RAW_SCHEMA = pl.Schema(
    {**CAPTURE_SCHEMA, "cell_id": pl.String(), "seen_in": pl.Int64(), "seen_at": _TYPES[datetime | None]}
)
"""Of a raw file: its captures, and the number and time of the newest crawl that showed each."""

_MAY_BE_NULL = {name for name, hint in _HINTS.items() if type(None) in get_args(hint)} | {"seen_at"}

CAPTURE_COLUMNS = ["capture_id", "cell_id", *CAPTURE_SCHEMA.names()[1:-1], "not_indexed_because", "row_hash"]
"""Columns of the catalog's `captures`: everything a capture has but its payload, which stays in the raw files, and why
the index does without it."""

CAPTURE_DESCRIPTIONS: dict[str, str] = {"capture_id": "Stable id: {source}:{source_capture_id}"} | {
    f.name: f.metadata["description"] for f in fields(Capture)
}

CATALOG_SCHEMA = {name: CAPTURE_SCHEMA.get(name, CAPTURE_SCHEMA["source"]) for name in CAPTURE_COLUMNS}
"""The catalog's `captures`."""

CATALOG_DESCRIPTIONS = CAPTURE_DESCRIPTIONS | {
    "cell_id": "The crawl square that holds the coordinates",
    "not_indexed_because": "Why the index does without it: thinned (another one of its sequence, near enough, looks "
    "the same way); null: the index wants it",
    "row_hash": "Changes when anything that its source says of it changes, but image_url",
}


def captures_frame(captures: Sequence[Capture]) -> pl.DataFrame:
    """A frame of CAPTURE_SCHEMA, sorted by capture_id so that equal content makes equal files."""
    columns = {name: [getattr(c, name) for c in captures] for name in CAPTURE_SCHEMA}
    return pl.DataFrame(columns, schema=CAPTURE_SCHEMA).sort("capture_id")


def conformed(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns of `schema` (some of RAW_SCHEMA) of a file written by any version: what may be null may be missing.

    Raises DamagedFileError for a file that lacks anything else, or has it in another form.
    """
    if frame.schema != schema:
        frame = _with_columns(frame, schema)
    holes = [name for name in schema if name not in _MAY_BE_NULL and frame[name].null_count()]
    if holes:
        raise DamagedFileError(f"without values in {', '.join(holes)}")
    return frame


def _with_columns(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    try:
        return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    except pl.exceptions.PolarsError as error:
        raise DamagedFileError(f"a column of another form: {error}") from error


def content_version(frame: pl.DataFrame) -> str:
    """Hash of a frame's rows, equal whenever the rows are (64 bits, hex): the data version of a partition.

    Hashes newline-delimited JSON rather than Parquet, whose bytes change with the writer's version.
    """
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()[:16]
