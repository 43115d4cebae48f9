"""A search: what it may ask for, the grammar of its filters, scores, and its matches.

Here: the body of a query and the answer to it. Not here: which properties have an index (`vector_store.py`).

A filter sees a property only on vectors that were applied after its metadata index, strings cut to 64 bytes; where it
sees nothing, no condition holds, `$ne` and `$nin` neither. Without `returnValues` the real scores are approximations
of unknown kind; here they come from values of 8 bits, which at 512 dimensions moves a cosine by some 0.001 and swaps
close neighbors.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from geopin_assets_tests.cloudflare import refusals
from geopin_assets_tests.cloudflare.limits import Limits
from geopin_assets_tests.cloudflare.vector_store import Index, Stored, VectorStore

Condition = tuple[str, Callable[[Any], bool]]
"""A property, and whether a value of it will do."""

_KINDS: Mapping[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "boolean": (bool,)}
_RANGES: Mapping[str, Callable[[Any, Any], bool]] = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
}
_UPPER, _LOWER = {"$lt", "$lte"}, {"$gt", "$gte"}
_LISTS = {"$in", "$nin"}
Matrix = NDArray[np.float32]
_LEVELS = ("none", "indexed", "all")


def indexed(metadata: Mapping[str, Any], properties: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    """What indexes of these properties (name -> type) hold of a vector's metadata; `outer.inner` is nested."""
    found = {name: _at(metadata, name.split(".")) for name in properties}
    return {name: _cut(value, limits) for name, value in found.items() if _is_of(properties[name], value)}


def conditions(stated: Any, properties: Mapping[str, str], limits: Limits) -> list[Condition]:
    """The parts of a filter, all of which must hold. Raises Refused for anything outside the grammar."""
    if not isinstance(stated, dict) or not stated:
        raise refusals.INVALID_FILTER("a non-empty object")
    if (size := len(orjson.dumps(stated))) >= limits.filter_bytes:
        raise refusals.INVALID_FILTER(f"its compact JSON must be less than {limits.filter_bytes} bytes, got {size}")
    parsed: list[Condition] = []
    for name, condition in stated.items():
        _check_name(name, properties, limits)
        operators = condition if isinstance(condition, dict) else {"$eq": condition}
        _check_operators(name, operators)
        parsed += [(name, _test(name, sign, value)) for sign, value in operators.items()]
    return parsed


def holds(parsed: Sequence[Condition], seen: Mapping[str, Any]) -> bool:
    """Whether a vector passes; `seen` is what the indexes hold of it."""
    return all(name in seen and test(seen[name]) for name, test in parsed)


def _check_name(name: str, properties: Mapping[str, str], limits: Limits) -> None:
    if not name or name.startswith("$") or '"' in name or len(name) > limits.filter_key_characters:
        raise refusals.INVALID_FILTER(f"key {name!r}; conditions are joined by AND, there is no other operator here")
    if name not in properties:
        raise refusals.INVALID_FILTER(f"no metadata index on {name!r}")


def _check_operators(name: str, operators: Mapping[str, Any]) -> None:
    signs = set(operators)
    if not signs or not signs <= {"$eq", "$ne", *_LISTS, *_RANGES}:
        raise refusals.INVALID_FILTER(f"{name}: operators {', '.join(signs) or 'missing'}")
    is_range = signs <= _UPPER | _LOWER and len(signs & _UPPER) <= 1 and len(signs & _LOWER) <= 1
    if len(signs) > 1 and not is_range:
        raise refusals.INVALID_FILTER(f"{name}: only one upper and one lower bound can be combined")


def _test(name: str, sign: str, value: Any) -> Callable[[Any], bool]:
    if sign in _LISTS:
        if not isinstance(value, list) or not value or not all(map(_is_scalar, value)):
            raise refusals.INVALID_FILTER(f"{name}: {sign} takes a list of strings, numbers, booleans or nulls")
        return lambda seen: any(_equal(seen, one) for one in value) == (sign == "$in")
    if sign in _RANGES:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise refusals.INVALID_FILTER(f"{name}: {sign} takes a string or a number")
        compare = _RANGES[sign]
        return lambda seen: _is_text(seen) == _is_text(value) and compare(seen, value)
    if not _is_scalar(value):
        raise refusals.INVALID_FILTER(f"{name}: {sign} takes a string, number, boolean or null")
    return lambda seen: _equal(seen, value) == (sign == "$eq")


def _equal(seen: Any, value: Any) -> bool:
    return isinstance(seen, bool) == isinstance(value, bool) and bool(seen == value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _is_of(kind: str, value: Any) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _at(metadata: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = metadata
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cut(value: Any, limits: Limits) -> Any:
    return value.encode()[: limits.indexed_bytes].decode(errors="ignore") if isinstance(value, str) else value


def scores(vectors: Matrix, query: Matrix, metric: str, *, is_exact: bool) -> NDArray[np.float32]:
    """A score per row: cosine (1 = same direction), Euclidean distance, or negative dot product."""
    rows = vectors if is_exact else _coarse(vectors)
    if metric == "euclidean":
        return np.linalg.norm(rows - query, axis=1).astype(np.float32)
    products = rows @ query
    if metric == "dot-product":
        return -products
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def best(found: NDArray[np.float32], metric: str, top_k: int) -> list[int]:
    """Rows by score, the nearest first."""
    order = np.argsort(-found if metric == "cosine" else found, kind="stable")
    return [int(row) for row in order[:top_k]]


def _coarse(vectors: Matrix) -> Matrix:
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-30)
    return (np.round(vectors / largest * 127) / 127 * largest).astype(np.float32)


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
