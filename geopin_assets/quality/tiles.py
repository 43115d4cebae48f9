"""Vector tiles in one PMTiles archive: points by their newest in each bin, areas and lines clipped to each tile.

Here: positions on the web's grid of tiles, what of a layer is in which tile, and the archive. Not here: which layers
there are and what they say (`layers.py`).
"""

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mapbox_vector_tile
import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from geopin_assets.files.atomic import replacing
from geopin_assets.grid import Bbox

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

EXTENT = 4096
MAX_ZOOM = 14
BIN = 32
"""Of a point only the newest of its kind is drawn in so many units of a tile (2 pixels), below the largest zoom."""
MOST = 20_000
"""Points of a tile below the largest zoom: more take a browser seconds, and 1 kB each while it is written."""
_BITS = MAX_ZOOM + 12
_MARGIN = 64
_AT_ONCE = 1_000
"""Features that are made at once."""
Tile = tuple[int, int, int]
"""zoom, x, y."""
Feature = Mapping[str, Any]
_ON_GRID = {"y_coord_down": True, "extents": EXTENT}


class Archive:
    """A PMTiles file while it is written."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self.tiles = writer, 0

    def add(self, tile: Tile, layers: Mapping[str, Iterable[Feature]]) -> None:
        """One tile, whose features are on its own grid. They are taken one by one: all at once are 3 kB each."""
        named = [{"name": name, "features": features} for name, features in layers.items() if features]
        if named:
            data = mapbox_vector_tile.encode(named, default_options=_ON_GRID)
            self._writer.write_tile(zxy_to_tileid(*tile), gzip.compress(data, 6, mtime=0))
            self.tiles += 1


@contextmanager
def archive(path: Path, bounds: Bbox, about: Mapping[str, Any]) -> Iterator[Archive]:
    """Replace `path` by what is added; `about` is its metadata, with `vector_layers`. Needs one tile at least."""
    with replacing(path) as partial, partial.open("wb") as file:
        writer = Writer(file)
        yield Archive(writer)
        corners = dict(zip(("min_lon", "min_lat", "max_lon", "max_lat"), _sides(bounds), strict=True))
        header = {f"{name}_e7": round(degrees * 1e7) for name, degrees in corners.items()} | {
            "center_lon_e7": round((bounds.west + bounds.east) / 2 * 1e7),
            "center_lat_e7": round((bounds.south + bounds.north) / 2 * 1e7),
            "center_zoom": 7,
            "tile_type": TileType.MVT,
            "tile_compression": Compression.GZIP,
        }
        writer.finalize(header, dict(about))


def _sides(bounds: Bbox) -> tuple[float, float, float, float]:
    return bounds.west, bounds.south, bounds.east, bounds.north


def on_grid(points: pl.DataFrame) -> pl.DataFrame:
    """With columns x and y: where `lon`, `lat` are on the grid of the largest zoom."""
    lat = pl.col("lat").radians()
    return points.with_columns(
        x=((pl.col("lon") + 180) / 360 * 2**_BITS).floor().cast(pl.Int64),
        y=((1 - (lat.tan() + 1 / lat.cos()).log() / pi) / 2 * 2**_BITS).floor().cast(pl.Int64),
    )


def newest_of_each_bin(points: pl.DataFrame, kind: Sequence[str], zoom: int, *, most: int = MOST) -> pl.DataFrame:
    """Of `on_grid` points, newest first, one of each kind in each bin of a zoom; `n` says for how many it stands.

    Where a tile has more than `most` then, its bins are larger.
    """
    side, found = BIN, _of_bins(points.with_row_index("nth"), kind, zoom, BIN)
    tile = [(pl.col(at) // (EXTENT << (MAX_ZOOM - zoom))).alias(f"tile_{at}") for at in ("x", "y")]
    is_full = pl.len().over(tile) > most
    while side < EXTENT and (full := found.filter(is_full)).height:
        side *= 2
        found = pl.concat([found.filter(~is_full), _of_bins(full, kind, zoom, side)]).sort("nth")
    return found.drop("nth")


def _of_bins(points: pl.DataFrame, kind: Sequence[str], zoom: int, side: int) -> pl.DataFrame:
    bins = [(pl.col(at) // (side << (MAX_ZOOM - zoom))).alias(f"bin_{at}") for at in ("x", "y")]
    keys = [*kind, "bin_x", "bin_y"]
    grouped = points.with_columns(bins).group_by(keys, maintain_order=True)
    first = [pl.col(name).first() for name in points.columns if name not in (*kind, "n")]
    return grouped.agg(*first, pl.col("n").sum()).drop("bin_x", "bin_y")


def point_tiles(
    points: pl.DataFrame, zoom: int, properties: Callable[[pl.DataFrame], pl.DataFrame]
) -> Iterator[tuple[Tile, Iterable[Feature]]]:
    """The tiles of one zoom that hold `on_grid` points; `properties` makes of them what a feature says.

    Features are made as they are taken, before the next tile is.
    """
    shift = MAX_ZOOM - zoom
    tiles = points.with_columns(tile_x=pl.col("x") // (EXTENT << shift), tile_y=pl.col("y") // (EXTENT << shift))
    for (tile_x, tile_y), inside in tiles.group_by("tile_x", "tile_y", maintain_order=True):
        yield (zoom, int(str(tile_x)), int(str(tile_y))), _features(inside, shift, properties)


def _features(
    points: pl.DataFrame, shift: int, properties: Callable[[pl.DataFrame], pl.DataFrame]
) -> Iterator[Feature]:
    for some in points.iter_slices(_AT_ONCE):
        at = some.select((pl.col("x", "y") // (1 << shift)) % EXTENT).to_numpy()
        shapes, said = shapely.points(at.astype(float)), properties(some).iter_rows(named=True)
        yield from ({"geometry": shape, "properties": _told(row)} for shape, row in zip(shapes, said, strict=True))


def shape_tiles(
    shapes: Sequence["BaseGeometry"], said: Sequence[Mapping[str, Any]], zoom: int
) -> Iterator[tuple[Tile, list[Feature]]]:
    """The tiles of one zoom that shapes (lon, lat) lie in, each shape clipped to the tile."""
    planar = shapely.transform(list(shapes), lambda at: _planar(at) * (EXTENT << zoom))
    placed: dict[tuple[int, int], list[int]] = {}
    for n, (x0, y0, x1, y1) in enumerate(shapely.bounds(planar)):
        for x in range(int(x0 // EXTENT), int(x1 // EXTENT) + 1):
            for y in range(int(y0 // EXTENT), int(y1 // EXTENT) + 1):
                placed.setdefault((x, y), []).append(n)
    for (x, y), numbers in placed.items():
        inside = _clipped([planar[n] for n in numbers], x * EXTENT, y * EXTENT)
        rows = [(shape, said[n]) for shape, n in zip(inside, numbers, strict=True) if not shape.is_empty]
        yield (zoom, x, y), [{"geometry": shape, "properties": _told(row)} for shape, row in rows]


def _planar(lon_lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """On the square of the web's map, (0, 0) in its north-west corner."""
    lat = np.radians(lon_lat[:, 1])
    return np.stack([(lon_lat[:, 0] + 180) / 360, (1 - np.arcsinh(np.tan(lat)) / pi) / 2], axis=1)


def _clipped(shapes: Iterable["BaseGeometry"], x: int, y: int) -> Iterable["BaseGeometry"]:
    clipped = shapely.clip_by_rect(list(shapes), x - _MARGIN, y - _MARGIN, x + EXTENT + _MARGIN, y + EXTENT + _MARGIN)
    moved: Iterable[BaseGeometry] = shapely.transform(clipped, lambda at: np.round(at - (x, y)))
    return moved


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is not known is not in a tile."""
    return {name: value for name, value in row.items() if value is not None}
