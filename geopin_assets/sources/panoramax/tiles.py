"""Panoramax's vector tiles: counts on a coarse grid at low zoom, single pictures at zoom 15, and what a count decides.

Here: reading both, keeping what the grid says, and which way takes the fewest requests to all pictures of a box.
Not here: going any way (`ask.py`).

An instance's grid is made of points, each for the square of 0.1 degrees around it; older servers and the catalog
use polygons. The grid is an economy, never a source of errors: a server that does not give it is asked as if there
were none. A count only chooses; it never proves that what was found is all there is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import ceil
from threading import Lock
from typing import Any

import orjson

from geopin_assets.errors import GeoPinError
from geopin_assets.grid import EAST, NORTH, SOUTH, WEST, Bbox
from geopin_assets.sources import fields
from geopin_assets.sources.tiles import Tile, features_of, points_of, tiles_of
from geopin_assets.sources.vector_tile import Feature, Geometry

GRID_ZOOM = 6  # four tiles for the Netherlands
PICTURES_ZOOM = 15
SQUARE_DEG = 0.1
MARGIN_DEG = 0.3  # most that a patch reaches beyond itself, so the tiles that can matter to a box are known
_TINY_DEG = 1e-6
WHOLE_GRID = Bbox(WEST, SOUTH, EAST, NORTH)


@dataclass(frozen=True, slots=True)
class Patch:
    """A piece of the map that holds pictures: `box`, and `around` it one more patch of its size."""

    box: Bbox
    around: Bbox
    pictures: float
    """How many; 0 for a stretch of a sequence, which is drawn without a count."""


@dataclass(frozen=True, slots=True)
class TilePicture:
    """What a tile says of a picture: enough to ask for it, too little to store (no license, no image)."""

    id: str
    lon: float
    lat: float
    collections: frozenset[str]


def parse_grid(tile: Tile, data: bytes) -> list[Patch]:
    """Where a low tile says that pictures are: cells with a count, and sequences.

    The grid is counted at night, sequences are drawn at once: what either shows is there.
    Raises PayloadError for bytes that are no vector tile.
    """
    counted = [_patch(_bounds(outline), pictures) for outline, pictures in _counts(tile, data)]
    sequences = (feature for feature in features_of(tile, data, "sequences") if feature.geometry is Geometry.LINE)
    lines = [_outline(tile, feature) for feature in sequences]
    return counted + [_patch(_bounds(list(ends)), 0, SQUARE_DEG) for line in lines for ends in pairwise(line)]


def parse_pictures(tile: Tile, data: bytes) -> list[TilePicture]:
    """The pictures of a tile of zoom 15. Raises PayloadError for bytes that are no vector tile."""
    pictures = ((point, fields.source_id(point.properties.get("id"))) for point in points_of(tile, data, "pictures"))
    return [
        TilePicture(id_, point.lon, point.lat, _collections(point.properties.get("sequences")))
        for point, id_ in pictures
        if id_ is not None
    ]


def _collections(text: Any) -> frozenset[str]:
    """The ids in a JSON list that is itself a text."""
    try:
        listed = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        listed = None
    return frozenset(id_ for id_ in listed if isinstance(id_, str)) if isinstance(listed, list) else frozenset()


def _counts(tile: Tile, data: bytes) -> Iterator[tuple[list[tuple[float, float]], float]]:
    """Corners and count of every grid cell with pictures; one without a readable count has at least one."""
    for feature in features_of(tile, data, "grid"):
        outline, pictures = _outline(tile, feature), fields.number(feature.properties.get("nb_pictures", 1))
        if not outline or (pictures is not None and pictures <= 0):
            continue
        if feature.geometry is Geometry.POINT and len(outline) == 1:
            lon, lat = outline[0]
            half = SQUARE_DEG / 2
            outline = [(lon - half, lat - half), (lon + half, lat + half)]
        yield outline, pictures or 1


def _patch(box: Bbox, pictures: float, margin_deg: float = 0.0) -> Patch:
    right, up = (min(margin_deg or side, MARGIN_DEG) for side in (box.east - box.west, box.north - box.south))
    around = Bbox(
        max(box.west - right, -180), max(box.south - up, -90), min(box.east + right, 180), min(box.north + up, 90)
    )
    return Patch(box, around, pictures)


def _bounds(corners: list[tuple[float, float]]) -> Bbox:
    lons, lats = [lon for lon, _ in corners], [lat for _, lat in corners]
    west, south, east, north = min(lons), min(lats), max(lons), max(lats)
    return Bbox(west - _TINY_DEG, south - _TINY_DEG, east + _TINY_DEG, north + _TINY_DEG)


def _outline(tile: Tile, feature: Feature) -> list[tuple[float, float]]:
    """The corners of a feature in degrees."""
    return [tile.position(*corner) for corner in feature.corners]


class Way(StrEnum):
    """nothing: do not ask · search: boxes, divided where full · tiles: if the first box is full, ids from tiles, then
    the pictures by id."""

    NOTHING = "nothing"
    SEARCH = "search"
    TILES = "tiles"


def choose_way(pictures: float | None, *, tiles: int, limit: int, ids_per_request: int) -> Way:
    """`pictures`: how many to expect, None if unknown; `tiles`: how many a box touches; `limit`: of one search."""
    if pictures is None:
        return Way.SEARCH
    if pictures == 0:
        return Way.NOTHING
    by_tiles = 1 + tiles + ceil(pictures / ids_per_request)
    return Way.TILES if by_tiles < requests_by_search(pictures, limit) else Way.SEARCH


def requests_by_search(pictures: float, limit: int) -> int:
    """The least that dividing by four can take: pictures that crowd together take more."""
    requests = leaves = 1
    while pictures / leaves >= limit:
        leaves *= 4
        requests += leaves
    return requests


def expected_pictures(box: Bbox, patches: Iterable[Patch]) -> float:
    """How many pictures to expect in a box: 0 only if no patch, nor the one next to it, reaches into the box.

    Patches are taken as evenly filled; for hexagons the boxes around them overlap just as much as they are too large.
    """
    near = [patch for patch in patches if patch.around.intersects(box)]
    expected = sum(patch.pictures * _share(patch.box, box) for patch in near)
    return max(1.0, expected) if near else 0.0


def _share(patch: Bbox, box: Bbox) -> float:
    """How much of a patch lies in a box."""
    if not patch.intersects(box):
        return 0.0
    width = min(patch.east, box.east) - max(patch.west, box.west)
    height = min(patch.north, box.north) - max(patch.south, box.south)
    return width * height / ((patch.east - patch.west) * (patch.north - patch.south))


class Overview:
    """Counts of one server. Thread-safe; each tile is asked for once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._patches: dict[Tile, list[Patch] | None] = {}

    def pictures(self, box: Bbox, fetch: Callable[[Tile], bytes]) -> float | None:
        """How many pictures to expect in a box; 0 if there are none near it either; None if the server cannot say.

        `fetch` returns the bytes of a low tile. The grid is believed if it counts anything in the country: until
        its first night it is empty.
        """
        near: list[Patch] = []
        for tile in tiles_of(_with_margin(box), GRID_ZOOM):
            patches = self._read(tile, fetch)
            if patches is None:
                return None
            near += patches
        return expected_pictures(box, near) if self._is_counted(fetch) else None

    def _is_counted(self, fetch: Callable[[Tile], bytes]) -> bool:
        return any(
            patch.pictures for tile in tiles_of(WHOLE_GRID, GRID_ZOOM) for patch in self._read(tile, fetch) or ()
        )

    def _read(self, tile: Tile, fetch: Callable[[Tile], bytes]) -> list[Patch] | None:
        with self._lock:
            if tile not in self._patches:
                try:
                    self._patches[tile] = parse_grid(tile, fetch(tile))
                except GeoPinError:
                    self._patches[tile] = None
            return self._patches[tile]


def _with_margin(box: Bbox) -> Bbox:
    return Bbox(box.west - MARGIN_DEG, box.south - MARGIN_DEG, box.east + MARGIN_DEG, box.north + MARGIN_DEG)
