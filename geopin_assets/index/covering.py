"""Which sources show a place: the column `covered_by` of a published capture.

An answer is worth more when sources agree, and less when one that shows the place finds another; a source that shows
nothing there says nothing. Only the row of the best match is read for that: positions have no index in D1. Here:
counting sources around captures. Not here: what agreement is worth (`locate/`).
"""

from collections.abc import Collection, Iterable
from math import cos, radians
from typing import TYPE_CHECKING

import orjson
import polars as pl

from geopin_assets.cells import cells_in, stored_facts
from geopin_assets.geo import EARTH_RADIUS_M
from geopin_assets.grid import Bbox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WITHIN_M = 25.0
_MARGIN_DEG = 0.0005
"""At 53 degrees north, 33 m of longitude and 55 m of latitude."""


def cells_around(cell_ids: Collection[str]) -> list[str]:
    """The cells, and those that hold positions within WITHIN_M of one in them."""
    found = set(cell_ids).union(*([other.cell_id for other in cells_in(box)] for box in boxes_around(cell_ids)))
    return sorted(found)


def boxes_around(cell_ids: Iterable[str]) -> list[Bbox]:
    """Each holds a cell and all positions within WITHIN_M of one in it."""
    boxes = (stored_facts(cell_id).cell.bbox for cell_id in cell_ids)
    margin = _MARGIN_DEG
    return [Bbox(box.west - margin, box.south - margin, box.east + margin, box.north + margin) for box in boxes]


def covered_by(captures: pl.DataFrame, around: pl.DataFrame) -> pl.Series:
    """For each capture (lon, lat) the sources with one within WITHIN_M, a JSON list in alphabetical order.

    `around` holds the captures themselves and those of `cells_around`: source, lon, lat.
    """
    import numpy as np
    import shapely

    if captures.is_empty():
        return pl.Series([], dtype=pl.String)
    lat0 = float(captures["lat"].mean())  # type: ignore[arg-type]
    names = sorted(around["source"].unique())
    shown = np.zeros((captures.height, len(names)), dtype=np.bool_)
    at = shapely.points(_meters(captures, lat0))
    for number, name in enumerate(names):
        tree = shapely.STRtree(shapely.points(_meters(around.filter(pl.col("source") == name), lat0)))
        nearest_m = tree.query_nearest(at, max_distance=WITHIN_M, all_matches=False)[0]
        shown[nearest_m, number] = True
    texts = {}
    for row in np.unique(shown, axis=0):
        texts[row.tobytes()] = orjson.dumps([name for name, is_shown in zip(names, row, strict=True) if is_shown])
    return pl.Series([texts[row.tobytes()].decode() for row in shown], dtype=pl.String)


def _meters(places: pl.DataFrame, lat0: float) -> "NDArray[np.float64]":
    """On a plane that touches near these places; cells of one batch are up to some hundred km apart, as the grid is."""
    import numpy as np

    y = np.radians(places["lat"].to_numpy()) * EARTH_RADIUS_M
    x = np.radians(places["lon"].to_numpy()) * EARTH_RADIUS_M * cos(radians(lat0))
    return np.stack([x, y], axis=1)
