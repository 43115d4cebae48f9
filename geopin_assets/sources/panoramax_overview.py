"""What a Panoramax server says it holds around a box, from the grid of its low tiles.

Here: asking for those tiles once, and keeping what they say. Not here: reading them (`panoramax_map.py`), or what
to do about a count (`panoramax_way.py`).

The grid is an economy, never a source of errors: a server that does not give it is asked as if there were none.
"""

from collections.abc import Callable
from threading import Lock

from geopin_assets.errors import GeoPinError
from geopin_assets.grid import EAST, NORTH, SOUTH, WEST, Bbox
from geopin_assets.sources.panoramax_map import GRID_ZOOM, MARGIN_DEG, Patch, parse_grid
from geopin_assets.sources.panoramax_way import expected_pictures
from geopin_assets.sources.tiles import Tile, tiles_of

WHOLE_GRID = Bbox(WEST, SOUTH, EAST, NORTH)


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
