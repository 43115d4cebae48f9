"""Vectors as they are uploaded: NDJSON, raw or as a file in a form, and every rule about one vector.

Here: from bytes to checked vectors. Not here: rules about an index as a whole (`vectorize.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.limits import Limits
from geopin_assets_tests.cloudflare.wire import Request

NDJSON = "application/x-ndjson"
FIELD = "vectors"
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NUMBERS = {int, float}


@dataclass(frozen=True, slots=True)
class Vector:
    """One uploaded vector: float32 bytes, compact JSON of its metadata or None."""

    id: str
    values: bytes
    namespace: str | None
    metadata: bytes | None


def uploaded(request: Request, operation: str, dimensions: int, limits: Limits) -> list[Vector]:
    """The vectors of an insert or upsert. Raises Refused."""
    if len(request.body) > limits.upload_bytes:
        raise refusals.UPLOAD_TOO_LARGE(limits.upload_bytes)
    discard = request.query.get("unparsable-behavior", "error") == "discard"
    vectors = list(_vectors(_ndjson(request), operation, dimensions, limits, discard=discard))
    if not vectors and not discard:
        raise refusals.UNPARSABLE_LINE(operation, 0)
    return vectors


def _ndjson(request: Request) -> bytes:
    stated = request.headers.get("content-type", "")
    kind = stated.partition(";")[0].strip().lower()
    if kind == NDJSON:
        return request.body
    boundary = _BOUNDARY.search(stated)
    if kind != "multipart/form-data" or boundary is None:
        raise refusals.UNKNOWN_CONTENT_TYPE()
    for part in request.body.split(b"--" + boundary[1].encode()):
        head, _, body = part.partition(b"\r\n\r\n")
        if f'name="{FIELD}"'.encode() in head:
            return body.removesuffix(b"\r\n")
    raise refusals.UNKNOWN_CONTENT_TYPE()


def _vectors(body: bytes, operation: str, dimensions: int, limits: Limits, *, discard: bool) -> Iterator[Vector]:
    count = 0
    for number, line in enumerate(body.split(b"\n")):
        if not line.strip():
            continue
        count += 1
        if count > limits.vectors_per_upsert:
            raise refusals.TOO_MANY_VECTORS(limits.vectors_per_upsert, body.strip().count(b"\n") + 1)
        row = _row(line)
        if row is not None:
            yield _checked(row, dimensions, limits)
        elif not discard:
            raise refusals.UNPARSABLE_LINE(operation, number)


def _row(line: bytes) -> dict[str, Any] | None:
    """A line that has the format, None for any other."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
        return None
    if not isinstance(row.get("values"), list) or not set(map(type, row["values"])) <= _NUMBERS:
        return None
    if not isinstance(row.get("namespace"), str | None) or not isinstance(row.get("metadata"), dict | None):
        return None
    return row


def _checked(row: dict[str, Any], dimensions: int, limits: Limits) -> Vector:
    vector_id, values = row["id"], row["values"]
    if (size := len(vector_id.encode())) > limits.id_bytes:
        raise refusals.ID_TOO_LONG(limits.id_bytes, size)
    namespace = row.get("namespace")
    if namespace is not None and (size := len(namespace.encode())) > limits.namespace_bytes:
        raise refusals.NAMESPACE_TOO_LONG(limits.namespace_bytes, size)
    if len(values) != dimensions:
        raise refusals.VECTOR_DIMENSIONS(vector_id, dimensions, len(values))
    metadata = row.get("metadata")
    return Vector(vector_id, _float32(vector_id, values), namespace, _metadata(vector_id, metadata, limits))


def _float32(vector_id: str, values: list[float]) -> bytes:
    with np.errstate(over="ignore"):
        vector = np.array(values, dtype=np.float64).astype(np.float32)
    if not np.isfinite(vector).all():
        raise refusals.VECTOR_NOT_FINITE(vector_id)
    return vector.tobytes()


def _metadata(vector_id: str, metadata: dict[str, Any] | None, limits: Limits) -> bytes | None:
    if metadata is None:
        return None
    text = orjson.dumps(metadata)
    if len(text) > limits.metadata_bytes:
        raise refusals.OVERSIZED_METADATA(vector_id, limits.metadata_bytes, len(text))
    for key in _keys(metadata):
        if not key or key.startswith("$") or "." in key or '"' in key:
            raise refusals.METADATA_KEY(vector_id, key)
    return text


def _keys(metadata: dict[str, Any]) -> Iterator[str]:
    """Keys at every depth: nested ones are found by `outer.inner`."""
    for key, value in metadata.items():
        yield key
        if isinstance(value, dict):
            yield from _keys(value)
