"""Vectors as Vectorize's lines of JSON, and its answers as frames.

Here: pure translation, exact to the last bit of a float32. Not here: requests (`vectorize.py`).

orjson writes a float32 with the fewest digits that name it: 6.4 KB for 512 values instead of 10.9 KB
as Python floats, at a twelfth of the CPU time.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import polars as pl

from geopin_assets.errors import PayloadError
from geopin_assets.index.protocol import METADATA, vector_schema

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def ndjson(vectors: pl.DataFrame) -> bytes:
    """One line per vector: `{"id", "values", "metadata"}`. A property that is null is left out.

    Each line is let go when it is written: joining 5,000 of them holds 114 MB instead of 36, and cost a process 16,000
    more page faults (30 ms) for each of its first upserts.
    """
    values = np.ascontiguousarray(vectors["embedding"].to_numpy(), dtype=np.float32)
    metadata = vectors.select(list(METADATA)).iter_rows(named=True)
    rows = zip(vectors["vector_id"], values, metadata, strict=True)
    lines = io.BytesIO()
    lines.writelines(
        orjson.dumps({"id": id_, "values": row, "metadata": _without_nulls(properties)}, option=_OPTIONS)
        for id_, row, properties in rows
    )
    return lines.getvalue()


def vectors_frame(found: Any, dim: int) -> pl.DataFrame:
    """What `get_by_ids` answered, with the columns of `vector_schema`. Raises PayloadError for anything else."""
    try:
        columns = {
            "vector_id": [vector["id"] for vector in found],
            "embedding": np.array([vector["values"] for vector in found], dtype=np.float32).reshape(-1, dim),
        }
        return _frame(columns, [vector.get("metadata") or {} for vector in found], vector_schema(dim))
    except _UNEXPECTED as error:
        raise PayloadError(f"vectors that cannot be read: {error}") from error


def matches_frame(answer: Any, *, with_metadata: bool) -> pl.DataFrame:
    """What a query answered: `vector_id`, `score` and METADATA if asked. Raises PayloadError for anything else."""
    try:
        matches = answer["matches"]
        columns = {"vector_id": [match["id"] for match in matches], "score": [match["score"] for match in matches]}
        schema = {"vector_id": pl.String(), "score": pl.Float64()}
        if not with_metadata:
            return _frame(columns, [], schema)
        return _frame(columns, [match.get("metadata") or {} for match in matches], schema | METADATA)
    except _UNEXPECTED as error:
        raise PayloadError(f"matches that cannot be read: {error}") from error


def moment(value: Any) -> datetime | None:
    """A time as the service writes it, ISO 8601 or milliseconds; None for nothing and the year 1."""
    if not value:
        return None
    try:
        read = datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int | float) else _iso(value)
    except _UNEXPECTED as error:
        raise PayloadError(f"a time that cannot be read: {value!r}") from error
    return None if read.year == 1 else read


_UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError)


def _iso(value: str) -> datetime:
    read = datetime.fromisoformat(value)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _without_nulls(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value is not None}


def _frame(
    columns: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    properties = {name: [row.get(name) for row in metadata] for name in METADATA if name in schema}
    types: dict[Any, Any] = dict(schema)
    return pl.DataFrame({**columns, **properties}, strict=False).cast(types)
