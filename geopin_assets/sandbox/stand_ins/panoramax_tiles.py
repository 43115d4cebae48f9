"""The vector tiles of the Panoramax stand-in: pictures, sequences and the grid of counts, as geovisio 2.15 cuts them.

Here: what each zoom shows and how it is encoded. Not here: routes (`panoramax.py`).

As in the real code: pictures at zoom 15 only; sequences from 7, and without properties at 6; below 7 a grid, a
point for each square of 0.1 degrees, counted at night and so not changed by what vanishes or moves. A picture
belongs to the tile that its place lies in, without the margin that would show it to the neighbor, and is then
rounded to 4096 units. The catalog counts in hexagons (theirs are H3, these only look alike).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from math import asinh, pi, radians, tan
from typing import Any

import mapbox_vector_tile
from shapely import LineString, Point, Polygon, box

from geopin_assets.sandbox.stand_ins.panoramax_item import collection_id, picture_id
from geopin_assets.sandbox.state import Shelf
from geopin_assets.sandbox.streets.world import Quirk, Shot
from geopin_assets.sources.tiles import Tile

LAST_ZOOM, SEQUENCES_ZOOM, GRID_ZOOM = 15, 7, 6
_EXTENT, _BUFFER = 4096, 256
_HEXAGON_DEG, _ROW_DEG = 0.12, 0.09
_CLIP = box(-_BUFFER, -_BUFFER, _EXTENT + _BUFFER, _EXTENT + _BUFFER)
_LARGEST = 2000  # of shots in a low tile: simplified sequences leave out what is too much anyway

Corners = list[tuple[float, float]]


class Tiles:
    """Tiles over a shelf, of an instance or of the catalog."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def instance(self, tile: Tile) -> bytes:
        """A tile of /api/map: empty where nothing is."""
        layers = [self._sequences(tile)] if tile.z >= GRID_ZOOM else []
        if tile.z < SEQUENCES_ZOOM:
            layers.append(_layer("grid", self._grid_of(tile, self._squares, _square)))
        if tile.z == LAST_ZOOM:
            layers.append(_layer("pictures", self._pictures(tile)))
        return _encode(layers)

    def catalog(self, tile: Tile) -> bytes:
        """A tile of /api/map/2, with hexagons below zoom 7."""
        if tile.z >= SEQUENCES_ZOOM:
            return self.instance(tile)
        return _encode([_layer("grid", self._grid_of(tile, self._hexagons, _hexagon))])

    @cached_property
    def _squares(self) -> dict[tuple[int, int], Counter[bool]]:
        return self._counted(lambda lon, lat: (round(lon * 10), round(lat * 10)))

    @cached_property
    def _hexagons(self) -> dict[tuple[int, int], Counter[bool]]:
        return self._counted(_hexagon_at)

    def _counted(self, cell_of: Callable[[float, float], tuple[int, int]]) -> dict[tuple[int, int], Counter[bool]]:
        """Shots by grid cell and by whether they are panoramas."""
        counted: dict[tuple[int, int], Counter[bool]] = {}
        for shot in self._shelf.all().values():
            counted.setdefault(cell_of(shot.lon, shot.lat), Counter())[shot.drive.is_pano] += 1
        return counted

    def _grid_of(
        self, tile: Tile, counted: dict[tuple[int, int], Counter[bool]], shape: Callable[[int, int], Corners]
    ) -> Iterator[dict[str, Any]]:
        most = max((counts.total() for counts in counted.values()), default=1)
        for cell, counts in counted.items():
            corners = [_units(tile, *corner) for corner in shape(*cell)]
            geometry = Point(corners[0]) if len(corners) == 1 else Polygon(corners).intersection(_CLIP)
            if not geometry.is_empty and geometry.intersects(_CLIP):
                yield {
                    "geometry": geometry,
                    "properties": {
                        "nb_pictures": counts.total(),
                        "nb_360_pictures": counts[True],
                        "nb_flat_pictures": counts[False],
                        "coef": round(counts.total() / most, 1),
                    },
                }

    def _sequences(self, tile: Tile) -> dict[str, Any]:
        drives: dict[str, list[Shot]] = {}
        for shot in self._within(tile):
            drives.setdefault(collection_id(shot.drive), []).append(shot)
        return _layer("sequences", (_sequence(tile, id_, shots) for id_, shots in drives.items() if len(shots) > 1))

    def _pictures(self, tile: Tile) -> Iterator[dict[str, Any]]:
        for shot in self._within(tile):
            x, y = _units(tile, shot.lon, shot.lat)
            yield {"geometry": Point(round(x), round(y)), "properties": _picture(shot)}

    def _within(self, tile: Tile) -> list[Shot]:
        edges = tile.bbox
        return list(self._shelf.within((edges.west, edges.south, edges.east, edges.north)).values())


def _sequence(tile: Tile, id_: str, shots: list[Shot]) -> dict[str, Any]:
    step = 1 + len(shots) // _LARGEST
    line = LineString([_units(tile, shot.lon, shot.lat) for shot in sorted(shots, key=lambda s: s.rank)[::step]])
    drive = shots[0].drive
    properties = {
        "id": id_,
        "account_id": collection_id(drive),
        "model": "Sandbox One",
        "type": "equirectangular" if drive.is_pano else "flat",
        "date": f"{drive.started_at:%Y-%m-%d}",
    }
    return {"geometry": line, "properties": properties if tile.z >= SEQUENCES_ZOOM else {}}


def _picture(shot: Shot) -> dict[str, Any]:
    collection = collection_id(shot.drive)
    properties = {
        "id": picture_id(shot),
        "ts": f"{shot.captured_at:%Y-%m-%d %H:%M:%S}+00",
        "heading": None if shot.quirk is Quirk.NO_HEADING else round(shot.heading_deg) % 360,
        "account_id": collection,
        "type": "equirectangular" if shot.drive.is_pano else "flat",
        "model": "Sandbox One",
        "sequences": f'["{collection}"]',
        "first_sequence": collection,
    }
    return {name: value for name, value in properties.items() if value is not None}


def _layer(name: str, features: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "features": list(features)}


def _encode(layers: list[dict[str, Any]]) -> bytes:
    filled = [layer for layer in layers if layer["features"]]
    return (
        mapbox_vector_tile.encode(filled, default_options={"y_coord_down": True, "extents": _EXTENT}) if filled else b""
    )


def _units(tile: Tile, lon: float, lat: float) -> tuple[float, float]:
    """A place in a tile's units, from its north-west corner."""
    side = 2**tile.z
    x, y = (lon + 180) / 360 * side, (1 - asinh(tan(radians(lat))) / pi) / 2 * side
    return (x - tile.x) * _EXTENT, (y - tile.y) * _EXTENT


def _square(x: int, y: int) -> Corners:
    return [(x / 10, y / 10)]


def _hexagon_center(column: int, row: int) -> tuple[float, float]:
    return (column + row % 2 / 2) * _HEXAGON_DEG, row * _ROW_DEG


def _hexagon_at(lon: float, lat: float) -> tuple[int, int]:
    """(column, row) of the hexagon that holds a place: the one with the nearest center."""
    rows = (int(lat // _ROW_DEG), int(lat // _ROW_DEG) + 1)
    cells = [(round(lon / _HEXAGON_DEG - row % 2 / 2), row) for row in rows]

    def apart(cell: tuple[int, int]) -> float:
        x, y = _hexagon_center(*cell)
        return (x - lon) ** 2 + (y - lat) ** 2

    return min(cells, key=apart)


def _hexagon(column: int, row: int) -> Corners:
    lon, lat = _hexagon_center(column, row)
    half = _HEXAGON_DEG / 2
    tip, side = (half**2 + _ROW_DEG**2) / (2 * _ROW_DEG), (_ROW_DEG**2 - half**2) / (2 * _ROW_DEG)
    around = ((0, tip), (half, side), (half, -side), (0, -tip), (-half, -side), (-half, side))
    return [(lon + east, lat + north) for east, north in around]
