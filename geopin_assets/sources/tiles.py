"""Vector tiles: which tiles cover a box, what points a tile holds, and keeping tiles so that none is fetched twice.

Here: slippy-map arithmetic (OpenStreetMap wiki, "Slippy map tilenames") and the cache. Not here: the format
(`vector_tile.py`), any platform's addresses, layers or properties.

Points are as exact as the tile's raster, 1/4096 of its side: 0.37 m at z14 in the Netherlands.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import asinh, atan, degrees, floor, pi, radians, sinh, tan
from pathlib import Path
from threading import Condition
from typing import Any

from cachetools import LRUCache, cached

from geopin_assets.errors import PayloadError
from geopin_assets.files.atomic import write_bytes
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Tally
from geopin_assets.sources.vector_tile import BrokenTileError, Feature, Geometry, check, features

BYTES_KEPT = 64 * 1024 * 1024  # of tiles, in memory; dense ones have 1 MB, the largest known 12 MB


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
    return [Tile(z, x, y) for x in range(west, east + 1) for y in range(north, south + 1)]


def points_of(tile: Tile, data: bytes, layer: str) -> list[Point]:
    """The points of one layer; none for an empty tile or one without the layer.

    Buffer copies (points of the neighbors, beyond the edges) are left out. Points on the edges are kept, because
    rounding may put a point there that only this tile has: callers unite tiles by id.
    Raises PayloadError for bytes that are no vector tile.
    """
    return [
        Point(*tile.position(right, down), feature.properties)
        for feature in features_of(tile, data, layer)
        if feature.geometry is Geometry.POINT
        for right, down in feature.corners
        if 0 <= right <= 1 and 0 <= down <= 1
    ]


def features_of(tile: Tile, data: bytes, layer: str) -> Iterator[Feature]:
    """The features of one layer; none for an empty tile or one without the layer.

    Raises PayloadError for bytes that are no vector tile, also in between.
    """
    try:
        yield from features(data, layer)
    except BrokenTileError as error:
        raise _not_a_tile(tile, data) from error


def _check(tile: Tile, data: bytes) -> bytes:
    """The bytes, if they are a vector tile (features are not looked at). Raises PayloadError."""
    try:
        check(data)
    except BrokenTileError as error:
        raise _not_a_tile(tile, data) from error
    return data


def _not_a_tile(tile: Tile, data: bytes) -> PayloadError:
    return PayloadError(f"tile {tile.z}/{tile.x}/{tile.y}: {len(data)} bytes that are no vector tile")


class TileCache:
    """Tiles by address: each is fetched once, however many cells share it, and kept in `folder` for `ttl_s`.

    `fetch(tile, tally)` returns the bytes, b"" for an empty tile; what it raises is not kept, nor are bytes that are
    no vector tile (a login page answered with 200). `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        fetch: Callable[[Tile, Tally], bytes],
        *,
        folder: Path | None,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch, self._folder, self._ttl_s, self._clock = fetch, folder, ttl_s, clock
        memory: LRUCache[Tile, bytes] = LRUCache(BYTES_KEPT, getsizeof=len)
        self._memory, self._changes = memory, Condition()
        self._bytes = cached(memory, key=lambda tile, tally, anew: tile, condition=self._changes)(self._read)

    def get(self, tile: Tile, tally: Tally, *, anew: bool = False) -> bytes:
        """The bytes of a tile, from memory, disk or the network; a request is on the tally of whoever needed it.

        `anew`: from the network, whatever is kept. Raises PayloadError for what is no vector tile.
        """
        if anew:
            with self._changes:
                self._memory.pop(tile, None)
        return self._bytes(tile, tally, anew)

    def _read(self, tile: Tile, tally: Tally, anew: bool) -> bytes:
        path = self._folder / str(tile.z) / str(tile.x) / f"{tile.y}.mvt" if self._folder else None
        if not anew and path and path.exists() and abs(self._clock() - path.stat().st_mtime) < self._ttl_s:
            with suppress(PayloadError):  # a file that others have spoiled is fetched again
                return _check(tile, path.read_bytes())
        data = _check(tile, self._fetch(tile, tally))
        if path:
            write_bytes(path, data, is_durable=False)  # other processes write the same tile
        return data


def _xy(lon: float, lat: float, z: int) -> tuple[int, int]:
    """Column and row of the tile that holds a position; beyond the edges of the map, of the nearest."""
    side = 2**z
    x, y = (lon + 180) / 360 * side, (1 - asinh(tan(radians(lat))) / pi) / 2 * side
    return min(max(floor(x), 0), side - 1), min(max(floor(y), 0), side - 1)
