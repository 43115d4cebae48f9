"""Vector tiles: which tiles cover a box, what points a tile holds, and keeping tiles so that none is fetched twice.

Here: slippy-map arithmetic (OpenStreetMap wiki, "Slippy map tilenames"), decoding (Mapbox Vector Tile 2.1)
and the cache. Not here: any platform's addresses, layers or properties.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import asinh, atan, degrees, floor, pi, radians, sinh, tan
from pathlib import Path
from threading import Condition
from typing import Any

import mapbox_vector_tile
from cachetools import LRUCache, cached
from google.protobuf.message import DecodeError

from geopin_assets.errors import PayloadError
from geopin_assets.grid import Bbox

TILES_KEPT = 32  # decoded, in memory; a dense one holds 30,000 points


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A slippy-map tile."""

    z: int
    x: int
    y: int

    @property
    def bbox(self) -> Bbox:
        west, north = self.position(0, 0)
        east, south = self.position(1, 1)
        return Bbox(west, south, east, north)

    def position(self, right: float, down: float) -> tuple[float, float]:
        """(lon, lat) of a point in the tile: shares of its width and height from the north-west corner."""
        side = 2**self.z
        return (self.x + right) / side * 360 - 180, degrees(atan(sinh(pi * (1 - 2 * (self.y + down) / side))))


@dataclass(frozen=True, slots=True)
class Point:
    """A point feature: degrees WGS84, and its properties as the tile has them (untrusted)."""

    lon: float
    lat: float
    properties: dict[str, Any]


def tiles_of(box: Bbox, z: int) -> list[Tile]:
    """The tiles that a box touches, in order."""
    west, north = _xy(box.west, box.north, z)
    east, south = _xy(box.east, box.south, z)
    return [Tile(z, x, y) for x in range(floor(west), floor(east) + 1) for y in range(floor(north), floor(south) + 1)]


def points_of(tile: Tile, data: bytes, layer: str) -> list[Point]:
    """The points of one layer; none for an empty tile or one without the layer. Buffer copies are left out.

    Raises PayloadError for bytes that are no vector tile.
    """
    if not data:
        return []
    try:
        found = mapbox_vector_tile.decode(data, default_options={"y_coord_down": True}).get(layer)
    except (DecodeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise PayloadError(f"tile {tile.z}/{tile.x}/{tile.y}: not a vector tile of {len(data)} bytes") from error
    return list(_points(tile, found)) if found else []


def _points(tile: Tile, layer: dict[str, Any]) -> Iterator[Point]:
    extent = layer.get("extent") or 4096
    for feature in layer.get("features", ()):
        geometry = feature.get("geometry") or {}
        if geometry.get("type") != "Point":
            continue
        x, y = geometry["coordinates"][:2]
        if 0 <= x < extent and 0 <= y < extent:
            yield Point(*tile.position(x / extent, y / extent), feature.get("properties") or {})


class TileCache:
    """Tiles by address: each is fetched once, however many cells share it, and kept in `folder` for `ttl_s`.

    `fetch(tile)` returns the bytes, b"" for an empty tile; what it raises is not kept.
    `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        fetch: Callable[[Tile], bytes],
        *,
        folder: Path | None,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch, self._folder, self._ttl_s, self._clock = fetch, folder, ttl_s, clock
        self._bytes = cached(LRUCache(TILES_KEPT), condition=Condition())(self._read)

    def get(self, tile: Tile) -> bytes:
        """The bytes of a tile, from memory, disk or the network."""
        return self._bytes(tile)

    def _read(self, tile: Tile) -> bytes:
        path = self._folder / str(tile.z) / str(tile.x) / f"{tile.y}.mvt" if self._folder else None
        if path and path.exists() and self._clock() - path.stat().st_mtime < self._ttl_s:
            return path.read_bytes()
        data = self._fetch(tile)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(data)
            part.replace(path)
        return data


def _xy(lon: float, lat: float, z: int) -> tuple[float, float]:
    side = 2**z
    return (lon + 180) / 360 * side, (1 - asinh(tan(radians(lat))) / pi) / 2 * side
