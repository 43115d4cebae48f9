"""A search: what it may ask for, and its matches.

Here: the body of a query and the answer to it. Not here: scores (`vector_search.py`), the grammar of filters
(`vector_filter.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from geopin_assets.sandbox.cloudflare import refusals
from geopin_assets.sandbox.cloudflare.limits import Limits
from geopin_assets.sandbox.cloudflare.vector_filter import conditions, holds, indexed
from geopin_assets.sandbox.cloudflare.vector_search import Matrix, best, scores
from geopin_assets.sandbox.cloudflare.vector_store import Index, Stored, VectorStore

_LEVELS = ("none", "indexed", "all")


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A checked query: by `vector` or by the id of a stored one."""

    vector: list[float] | None
    vector_id: str | None
    top_k: int
    namespace: str | None
    where: Any
    with_values: bool
    metadata: str
    limits: Limits

    @classmethod
    def parsed(cls, body: Mapping[str, Any], limits: Limits) -> "VectorQuery":
        """Raises Refused for what the service does not take."""
        vector, vector_id, level = body.get("vector"), body.get("vectorId"), body.get("returnMetadata", "none")
        if level not in _LEVELS:
            raise refusals.NOT_JSON("returnMetadata: expected value")
        if not isinstance(body.get("returnValues", False), bool):
            raise refusals.NOT_JSON("returnValues: expected a boolean")
        if (vector is None) == (vector_id is None):
            raise refusals.NOT_JSON("expected one of vector and vectorId")
        if vector is not None and not (isinstance(vector, list) and set(map(type, vector)) <= {int, float}):
            raise refusals.NOT_JSON("vector: expected a list of numbers")
        query = cls(
            vector,
            vector_id,
            body.get("topK", 5),
            body.get("namespace"),
            body.get("filter"),
            body.get("returnValues", False),
            level,
            limits,
        )
        query._check_top_k()
        return query

    def matches(self, index: Index, store: VectorStore) -> dict[str, Any]:
        """The answer. Raises Refused for a vector or a filter that does not fit the index."""
        properties = store.properties(index.name)
        wanted = self._wanted(index, store)
        parsed = [] if self.where is None else conditions(self.where, dict(properties.values()), self.limits)
        rows = [row for row in store.rows(index.name) if self.namespace in (None, row.namespace)]
        if parsed:
            rows = [row for row in rows if holds(parsed, self._seen(row, properties))]
        if not rows:
            return {"count": 0, "matches": []}
        found = scores(_matrix(rows, index), wanted, index.metric, is_exact=self.with_values)
        chosen = best(found, index.metric, self.top_k)
        matches = [{**self._shown(rows[n], properties), "score": float(found[n])} for n in chosen]
        return {"count": len(matches), "matches": matches}

    def _check_top_k(self) -> None:
        if type(self.top_k) is not int or self.top_k < 1:
            raise refusals.NOT_JSON("topK: expected a positive integer")
        if self.top_k > self.limits.top_k:
            raise refusals.TOP_K(self.limits.top_k, self.top_k)
        is_heavy = self.with_values or self.metadata == "all"
        if is_heavy and self.top_k > self.limits.top_k_with_values:
            raise refusals.TOP_K_WITH_VALUES(self.limits, self.top_k)

    def _wanted(self, index: Index, store: VectorStore) -> Matrix:
        if self.vector_id is not None:
            stored = store.rows(index.name, [self.vector_id])
            if not stored:
                raise refusals.NO_VECTOR(self.vector_id)
            return _matrix(stored, index)[0]
        vector = self.vector or []
        if len(vector) != index.dimensions:
            raise refusals.QUERY_DIMENSIONS(index.dimensions, len(vector))
        return np.array(vector, dtype=np.float32)

    def _seen(self, row: Stored, properties: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
        """What the metadata indexes that cover a vector hold of it."""
        covering = dict(properties[id_] for id_ in json.loads(row.covered) if id_ in properties)
        return indexed(_metadata(row), covering, self.limits)

    def _shown(self, row: Stored, properties: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
        shown = row.shown()
        if not self.with_values:
            del shown["values"]
        if self.metadata != "all":
            shown.pop("metadata", None)
        if self.metadata == "indexed":
            shown["metadata"] = self._seen(row, properties)
        return shown


def _matrix(rows: list[Stored], index: Index) -> Matrix:
    return np.frombuffer(b"".join(row.values for row in rows), np.float32).reshape(-1, index.dimensions)


def _metadata(row: Stored) -> dict[str, Any]:
    return {} if row.metadata is None else orjson.loads(row.metadata)
