"""Which way takes the fewest requests to all pictures of a box, judged from counts on a coarse grid.

Here: the estimate, pure. Not here: where counts come from (`panoramax_map.py`), or going any way.

A count only chooses; it never proves that what was found is all there is.
"""

from collections.abc import Iterable
from enum import StrEnum
from math import ceil

from geopin_assets.grid import Bbox
from geopin_assets.sources.panoramax_map import Patch


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
