"""Which cell a Mapillary capture belongs to, although it has two positions and tiles round them.

Here: the margin around a cell and what it means for a record. Not here: positions themselves (`mapillary_record.py`).

A search or a tile may go by another position than the one a capture is given, at most EDGE_DEG (and a tile's raster)
away. So a cell is asked for with that margin around it, what turns out to lie beside the cell is left to its
neighbors without a word, and a tile's position decides only where the border is further away than that.
"""

from typing import Any

from geopin_assets.grid import Bbox
from geopin_assets.sources.mapillary_record import EDGE_DEG, place_of
from geopin_assets.sources.mapillary_tiles import RASTER_DEG
from geopin_assets.sources.tiles import Point

_MARGIN_DEG = EDGE_DEG + 2 * RASTER_DEG


def widened(box: Bbox) -> Bbox:
    """A box with the margin around it."""
    return Bbox(box.west - _MARGIN_DEG, box.south - _MARGIN_DEG, box.east + _MARGIN_DEG, box.north + _MARGIN_DEG)


def is_deep(point: Point, cell: Bbox) -> bool:
    """Whether a tile's point is so far within a cell that no better position of it lies elsewhere."""
    inward = point.lon - cell.west, cell.east - point.lon, point.lat - cell.south, cell.north - point.lat
    return min(inward) > _MARGIN_DEG


def is_neighbors(record: Any, cell: Bbox) -> bool:
    """Whether an image came only because a cell is asked for with a margin: another cell has it."""
    place = place_of(record)
    return place is not None and not cell.contains(*place) and widened(widened(cell)).contains(*place)
