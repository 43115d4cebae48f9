"""Mapbox Vector Tiles 2.1, read within bounds: a layer's features, one after another.

Here: the format (protobuf's wire format, and the commands of geometries). Not here: which tiles, and where points lie
(`tiles.py`). General readers build all layers first: 5 GB of a tile of 64 MB whose features are empty, and text that is
no UTF-8 becomes bytes among the properties.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

MAX_COST = 24_000_000
"""Of a tile: bytes of tags and coordinates, and what is kept of fields and corners. The largest true ones, with 200,000
features, cost 17 million; this much takes 0.5 GB and some seconds."""
_LAYERS_FIELD, _CORNER = 20, 8
DEFAULT_EXTENT = 4096
_LAYER = 3
_NAME, _FEATURE, _KEY, _VALUE, _EXTENT = 1, 2, 3, 4, 5
_TAGS, _TYPE, _GEOMETRY = 2, 3, 4
_STRING, _FLOAT, _DOUBLE, _INT, _UINT, _SINT, _BOOL = range(1, 8)
_MOVE_TO, _LINE_TO = 1, 2
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


class Geometry(IntEnum):
    """What the corners of a feature are."""

    UNKNOWN = 0
    POINT = 1
    LINE = 2
    POLYGON = 3


_GEOMETRIES = frozenset(Geometry)


@dataclass(frozen=True, slots=True)
class Feature:
    """`corners`: of all its parts, as shares of the tile's width and height from the north-west corner."""

    geometry: Geometry
    corners: list[tuple[float, float]]
    properties: dict[str, Any]


class BrokenTileError(ValueError):
    """Bytes that are no vector tile, or one with more in it than any has."""


class _Reader:
    """The fields of messages, and what was spent on them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._left = data, MAX_COST

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise BrokenTileError("more in it than any tile has")

    def fields(self, where: Any, *, cost: int = 1) -> Iterator[tuple[int, Any]]:
        """(number, value) of each field between two positions; a value of bytes as their two positions."""
        start, end = self._span(where)
        while start < end:
            self.spend(cost)
            value: int | tuple[int, int]
            key, start = self._varint(start, end)
            kind = key & 7
            if kind == _VARINT:
                value, start = self._varint(start, end)
            elif kind == _BYTES:
                length, start = self._varint(start, end)
                value, start = (start, start + length), start + length
            elif kind in (_FIXED_32, _FIXED_64):
                value, start = (start, start + (4 if kind == _FIXED_32 else 8)), start + (4 if kind == _FIXED_32 else 8)
            else:
                raise BrokenTileError(f"a field of kind {kind}")
            if start > end:
                raise BrokenTileError("a field that ends too late")
            yield key >> 3, value

    def bytes(self, where: Any) -> bytes:
        start, end = self._span(where)
        return self._data[start:end]

    def numbers(self, where: Any) -> list[int]:
        """Varints behind each other."""
        packed = self.bytes(where)
        self.spend(len(packed))
        if packed.isascii():  # each in a byte
            return list(packed)
        found, position = [], where[0]
        while position < where[1]:
            number, position = self._varint(position, where[1])
            found.append(number)
        return found

    def _span(self, where: Any) -> tuple[int, int]:
        if not isinstance(where, tuple):
            raise BrokenTileError("a number where bytes should be")
        return where

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        if position < end and (number := self._data[position]) < 0x80:
            return number, position + 1
        number = 0
        for shift, byte in enumerate(self._data[position : min(position + 10, end)]):
            number |= (byte & 0x7F) << 7 * shift
            if byte < 0x80:
                return number, position + shift + 1
        raise BrokenTileError("a number without end")


def features(data: bytes, layer: str) -> Iterator[Feature]:
    """The features of a layer, decoded as they are asked for. Raises BrokenTileError, also in between."""
    reader = _Reader(data)
    for where in _layers(reader, len(data)):
        fields = list(reader.fields(where, cost=_LAYERS_FIELD))
        if any(number == _NAME and reader.bytes(value) == layer.encode() for number, value in fields):
            keys = [reader.bytes(value).decode(errors="replace") for number, value in fields if number == _KEY]
            values = [_value(reader, value) for number, value in fields if number == _VALUE]
            extent = next((value for number, value in fields if number == _EXTENT and isinstance(value, int)), 0)
            for number, value in fields:
                if number == _FEATURE:
                    yield _feature(reader, value, keys, values, extent or DEFAULT_EXTENT)


def check(data: bytes) -> None:
    """Raise BrokenTileError for what is no vector tile; features are counted and not looked at."""
    reader = _Reader(data)
    for where in _layers(reader, len(data)):
        if not any([number == _NAME for number, _ in reader.fields(where, cost=_LAYERS_FIELD)]):  # noqa: C419 all of them
            raise BrokenTileError("a layer without a name")


def _layers(reader: _Reader, length: int) -> Iterator[tuple[int, int]]:
    for number, where in reader.fields((0, length), cost=_LAYERS_FIELD):
        if number != _LAYER or not isinstance(where, tuple):
            raise BrokenTileError(f"field {number} where layers should be")
        yield where


def _feature(reader: _Reader, where: Any, keys: list[str], values: list[Any], extent: int) -> Feature:
    tags: list[int] = []
    commands: list[int] = []
    geometry = Geometry.UNKNOWN
    for number, value in reader.fields(where):
        if number == _TAGS:
            tags += reader.numbers(value)
        elif number == _GEOMETRY:
            commands += reader.numbers(value)
        elif number == _TYPE and value in _GEOMETRIES:
            geometry = Geometry(value)
    try:
        properties = {keys[key]: values[value] for key, value in zip(tags[::2], tags[1::2], strict=True)}
    except (IndexError, ValueError) as error:
        raise BrokenTileError("tags that lead nowhere") from error
    return Feature(geometry, [(x / extent, y / extent) for x, y in _corners(reader, commands)], properties)


def _corners(reader: _Reader, commands: list[int]) -> Iterator[tuple[int, int]]:
    x = y = position = 0
    while position < len(commands):
        command, count = commands[position] & 7, commands[position] >> 3
        position += 1
        if command not in (_MOVE_TO, _LINE_TO):
            continue
        if count > (len(commands) - position) // 2:
            raise BrokenTileError("a geometry that ends too early")
        reader.spend(_CORNER * count)
        end = position + 2 * count
        for along, down in zip(commands[position:end:2], commands[position + 1 : end : 2], strict=True):
            x, y = x + _signed(along), y + _signed(down)
            yield x, y
        position = end


def _value(reader: _Reader, where: Any) -> Any:
    """A property's value; None for one of no known kind."""
    found: Any = None
    for number, value in reader.fields(where):
        if number == _STRING:
            found = reader.bytes(value).decode(errors="replace")
        elif number in (_FLOAT, _DOUBLE):
            data = reader.bytes(value)
            found = struct.unpack("<f" if len(data) == 4 else "<d", data)[0] if len(data) in (4, 8) else None
        elif isinstance(value, int):
            found = _number(number, value)
    return found


def _number(number: int, value: int) -> int | bool | None:
    if number == _BOOL:
        return bool(value)
    if number == _SINT:
        return _signed(value)
    if number == _INT:
        return value - 2**64 if value >= 2**63 else value
    return value if number == _UINT else None


def _signed(number: int) -> int:
    return number >> 1 ^ -(number & 1)
