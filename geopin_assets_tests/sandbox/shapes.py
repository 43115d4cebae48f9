"""The shape of a JSON value: keys, nesting and types, without the values."""

from typing import Any


def shape(value: Any) -> Any:
    """Dicts keep their keys, lists the shapes that occur in them; numbers are all alike."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({repr(shape(item)) for item in value})
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
