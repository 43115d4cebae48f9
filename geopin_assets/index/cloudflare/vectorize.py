"""Cloudflare Vectorize as a VectorIndex.

Here: its calls, one method each, and vectors as its lines of JSON, exact to the last bit of a float32. Not here: the
wire (`api.py`), limits (`limits.py`).

An index that was created is only half ready: metadata indexes cover only vectors upserted after them,
so `create` makes them, waits until they are processed and sees them listed before it returns.

orjson writes a float32 with the fewest digits that name it: 6.4 KB for 512 values instead of 10.9 KB
as Python floats, at a twelfth of the CPU time.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from geopin_assets.capture import MAX_DIM
from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.index import limits
from geopin_assets.index.cloudflare.api import CloudflareApi, RequestTooLarge, field, unless
from geopin_assets.index.protocol import METADATA, IndexInfo, NameUsedUpError, Wait, vector_schema

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


def matches_frame(answer: Any) -> pl.DataFrame:
    """What a query answered: `vector_id` and `score`. Raises PayloadError for anything else."""
    try:
        columns = {"vector_id": [m["id"] for m in answer["matches"]], "score": [m["score"] for m in answer["matches"]]}
        return pl.DataFrame(columns, strict=False).cast({"vector_id": pl.String, "score": pl.Float64})
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


_INDEXES = "vectorize/v2/indexes"
_METRIC = "cosine"
_NAME_TAKEN = "vectorize.index.duplicate_name"
_USED_UP = "was deleted, and its name can never be used again: geopin reconcile begins another version"


def indexes_of(api: CloudflareApi, prefix: str) -> dict[str, int]:
    """The account's indexes whose names begin so, with their dimensions."""
    found = ((field(index, "name"), field(field(index, "config"), "dimensions")) for index in api.call("GET", _INDEXES))
    return {name: dim for name, dim in found if name.startswith(prefix)}


class VectorizeIndex:
    """A VectorIndex at Cloudflare. `wait` is how long `create` waits for metadata indexes."""

    def __init__(self, api: CloudflareApi, name: str, dim: int, *, wait: Wait | None = None) -> None:
        if not 1 <= dim <= MAX_DIM:
            raise PermanentError(f"{dim} dimensions; between 1 and {MAX_DIM}")
        self._api, self.name, self.dim = api, name, dim
        self._wait = wait or Wait()
        self._per_request = limits.VECTORS_PER_UPSERT
        self._is_ready = False

    count_lags = True
    deepest = limits.MAX_TOP_K
    ids_per_get = limits.IDS_PER_GET
    upserts_at_once = 4
    """While one upsert of 32 MB is on the line, the next is encoded."""

    @property
    def store_key(self) -> str:
        return f"vectorize:{self._api.account_key}:{self.name}"

    def create(self) -> None:
        """Raises PermanentError for an index of this name with another dimension or metric: they are for life."""
        if self._is_ready:
            return
        config = self._configuration() or self._create()
        if (found := (config.get("dimensions"), config.get("metric"))) != (self.dim, _METRIC):
            raise PermanentError(
                f"the index {self.name} has {found[0]} dimensions, {found[1]}, not {self.dim}, {_METRIC}"
            )
        self._create_metadata_indexes()
        self._is_ready = True

    def metadata_indexes(self) -> list[str]:
        listed = field(self._call("GET", "metadata_index/list"), "metadataIndexes")
        return [field(index, "propertyName") for index in listed]

    def upsert(self, vectors: pl.DataFrame) -> str:
        """As the protocol says. What is too large for one request goes in several, now and later."""
        limits.check_vectors(vectors, vector_schema(self.dim), self.dim)
        mutation, rest = "", vectors
        while rest.height:
            part = rest.head(self._per_request)
            try:
                mutation = self._upsert(part)
            except RequestTooLarge:
                if part.height == 1:
                    raise
                self._per_request = part.height // 2
            else:
                rest = rest.slice(part.height)
        return mutation

    def delete(self, vector_ids: Sequence[str]) -> str:
        limits.check_ids(vector_ids, limits.IDS_PER_DELETE)
        return self._mutate("delete_by_ids", {"ids": list(vector_ids)}) if len(vector_ids) else ""

    def get(self, vector_ids: Sequence[str]) -> pl.DataFrame:
        limits.check_ids(vector_ids, self.ids_per_get)
        found = self._call("POST", "get_by_ids", {"ids": list(vector_ids)}) if len(vector_ids) else []
        return vectors_frame(found, self.dim)

    def query(self, vector: NDArray[np.float32], top_k: int, *, where: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """As the protocol says; the service's scores are approximate unless it returns all values, 3 KB a match."""
        limits.check_top_k(top_k)
        limits.check_query_vector(vector, self.dim)
        limits.check_filter(where or {}, list(METADATA))
        body = {
            "vector": np.ascontiguousarray(vector, dtype=np.float32),
            "topK": top_k,
            "returnValues": False,
            "returnMetadata": "none",
        } | ({"filter": where} if where else {})
        return matches_frame(self._call("POST", "query", body))

    def info(self) -> IndexInfo:
        state = self._call("GET", "info")
        dim, count = field(state, "dimensions"), field(state, "vectorCount")
        mutation, at = state.get("processedUpToMutation"), state.get("processedUpToDatetime")
        return IndexInfo(dim, count, mutation or None, moment(at))

    def ids(self) -> Iterator[str]:
        """Every id in the index, as it was at the first page; there is no way to list more than ids."""
        cursor: dict[str, Any] = {}
        while True:
            page = self._call("GET", "list", params={"count": limits.IDS_PER_LIST, **cursor})
            yield from (field(vector, "id") for vector in field(page, "vectors"))
            if not page.get("isTruncated"):
                return
            cursor = {"cursor": field(page, "nextCursor")}

    def optimize(self) -> None:
        """Nothing to do: the service tidies up by itself."""

    def purge(self) -> None:
        """Nothing to do: what is deleted is gone, or the service's own concern."""

    def drop(self) -> None:
        """Delete the index with all its vectors, if there is one. Its name cannot be used again."""
        self._is_ready = False
        if self._configuration() is not None:
            with unless(lambda: self._configuration() is None):
                self._call("DELETE", "")

    def _upsert(self, vectors: pl.DataFrame) -> str:
        body = ndjson(vectors)
        if len(body) > limits.MAX_UPSERT_BYTES:
            raise RequestTooLarge(f"{len(body)} bytes of vectors; at most {limits.MAX_UPSERT_BYTES}")
        return self._mutate("upsert", body, {"unparsable-behavior": "error"})

    def _configuration(self) -> Mapping[str, Any] | None:
        """How the index was created, or None if it was not. From the list: what a missing one answers is not said."""
        named = [index for index in self._api.call("GET", _INDEXES) if field(index, "name") == self.name]
        return field(named[0], "config") if named else None

    def _create(self) -> Mapping[str, Any]:
        config = {"dimensions": self.dim, "metric": _METRIC}
        try:
            with unless(lambda: self._configuration() is not None):
                self._api.call("POST", _INDEXES, body={"name": self.name, "config": config})
        except PermanentError as error:
            if _NAME_TAKEN not in str(error):
                raise
            self._wait.sleep(self._wait.poll_s)
            if self._configuration() is None:  # else another process has made it, and the list was behind
                raise NameUsedUpError(f"{self.name} {_USED_UP}") from error
        return self._configuration() or config

    def _create_metadata_indexes(self) -> None:
        if not (missing := self._missing_metadata_indexes()):
            return
        if count := self.info().vector_count:
            raise PermanentError(
                f"{self.name}: no metadata index on {', '.join(missing)}, and none would cover the {count} vectors "
                "that are there: publish into an index with another version in its name"
            )
        for name in missing:
            self._create_metadata_index(name)
        until = self._wait.clock() + timedelta(seconds=self._wait.timeout_s)
        while still := self._missing_metadata_indexes():  # not our mutation: others may be making the same, after us
            if self._wait.clock() >= until:
                raise TransientError(f"{self.name}: metadata indexes not there yet: {', '.join(still)}")
            self._wait.sleep(self._wait.poll_s)

    def _create_metadata_index(self, name: str) -> str:
        kind = "string" if METADATA[name] == pl.String else "number"
        return self._mutate("metadata_index/create", {"propertyName": name, "indexType": kind})

    def _missing_metadata_indexes(self) -> list[str]:
        there = self.metadata_indexes()
        return [name for name in METADATA if name not in there]

    def _mutate(self, operation: str, body: Any, params: Mapping[str, Any] | None = None) -> str:
        return field(self._call("POST", operation, body, params), "mutationId")

    def _call(self, method: str, operation: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        path = f"{_INDEXES}/{self.name}/{operation}".rstrip("/")
        return self._api.call(method, path, body=body, params=params)
