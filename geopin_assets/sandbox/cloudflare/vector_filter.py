"""Metadata filters of a query: their grammar, and what they see of a vector.

Here: checks and matching. Not here: which properties have an index (`vector_store.py`). A filter sees a property
only on vectors that were applied after its metadata index, strings cut to 64 bytes; where it sees nothing, no
condition holds, `$ne` and `$nin` neither.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from geopin_assets.sandbox.cloudflare import refusals
from geopin_assets.sandbox.cloudflare.limits import Limits

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
