"""One panel of the PNG map: ground, cells, outline and names within a view.

Here: what is drawn where, and the colors. Not here: the figure around the panels, titles and legend
(`map_png.py`). Imported by it alone, since importing it imports matplotlib.
"""

from collections.abc import Iterable
from math import cos, radians
from typing import Any

import numpy as np
import polars as pl
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke

from geopin_assets.cells import all_cells, cell_facts, place_slug, places
from geopin_assets.geo import dutch_outline
from geopin_assets.grid import CELL_LAT_DEG, CELL_LON_DEG, Bbox, Cell

LAND, ABROAD, SHORE, WATER, NOTHING = "#f7f5ef", "#e5e4e1", "#7d7d78", "#d6e2ea", "#b0b7be"
GAP, INK, SOFT = "#e8590c", "#1d1d1f", "#5f6368"
BLUES = LinearSegmentedColormap.from_list("captures", ("#cfe1f2", "#93c4de", "#4a98c9", "#1b69af", "#08306b"))
ASPECT = 1 / cos(radians(52.1))


def draw_panel(axes: Axes, view: Bbox, cells: pl.DataFrame, norm: Normalize, *, is_detailed: bool) -> None:
    """Draw `cells` (as made by `map_png`) within a view; hatching and rims only where a cell is large enough."""
    axes.set(xlim=(view.west, view.east), ylim=(view.south, view.north), aspect=ASPECT, facecolor=WATER)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#b9bec3", linewidth=0.8)
    _draw_ground(axes, view)
    _draw_cells(axes, cells, norm, _rim_width(view) if is_detailed else None)
    _draw_names(axes, view)


def draw_frame(axes: Axes, view: Bbox) -> None:
    """Mark what another panel shows."""
    size = view.east - view.west, view.north - view.south
    axes.add_patch(Rectangle((view.west, view.south), *size, fill=False, edgecolor=INK, linewidth=1.3, zorder=5))


def _draw_ground(axes: Axes, view: Bbox) -> None:
    """The outline filled as land; cells abroad gray; the Dutch cells without land (the large lakes) as water."""
    margin = 0.02  # so that the cut edges fall outside of the panel
    box = view.west - margin, view.south - margin, view.east + margin, view.north + margin
    shown = shapely.clip_by_rect(dutch_outline(), *box)
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(shown))]
    if rings:
        path = Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))
        axes.add_patch(PathPatch(path, facecolor=LAND, edgecolor="none", zorder=0.05))
    abroad = _squares(f.cell for f in all_cells() if f.province in ("be", "de"))
    lakes = _squares(f.cell for f in all_cells() if not f.is_land and f.province not in ("be", "de", "sea"))
    for squares, color in ((abroad, ABROAD), (lakes, WATER)):
        axes.add_collection(PolyCollection(squares, facecolor=color, edgecolor="none", antialiased=False, zorder=0.1))
    axes.add_collection(LineCollection(rings, colors=SHORE, linewidths=0.7, zorder=2.5))


def _draw_cells(axes: Axes, cells: pl.DataFrame, norm: Normalize, rim_width: float | None) -> None:
    def squares(condition: pl.Expr, inset: float = 0.0) -> Any:
        return _squares((cell_facts(id_).cell for id_ in cells.filter(condition)["cell_id"]), inset)

    rim: dict[str, Any] = {"edgecolor": "none", "antialiased": False}
    if rim_width:
        rim = {"edgecolor": "white", "linewidth": rim_width / 3}
    is_counted, is_empty = pl.col("captures") > 0, pl.col("is_empty")
    axes.add_collection(PolyCollection(squares(~is_counted & ~is_empty), facecolor=NOTHING, **rim))
    counts = cells.filter(is_counted)["captures"].to_numpy()
    axes.add_collection(PolyCollection(squares(is_counted), array=counts, cmap=BLUES, norm=norm, **rim))
    if rim_width:
        hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": GAP, "hatch": "//////", "linewidth": rim_width}
        short = squares(pl.col("is_short"), inset=0.1)
        axes.add_collection(PolyCollection(squares(is_empty), zorder=2.1, **hatched))
        axes.add_collection(PolyCollection(short, facecolor="none", edgecolor=GAP, linewidth=rim_width, zorder=2.2))
    else:
        axes.add_collection(PolyCollection(squares(is_empty), facecolor=GAP, zorder=2.1, **rim))


def _rim_width(view: Bbox) -> float:
    """Points; thinner where many cells share the panel, so that rims do not cover what they frame."""
    return min(1.5, 45 * CELL_LAT_DEG / (view.north - view.south))


def _squares(cells: Iterable[Cell], inset: float = 0.0) -> Any:
    """Corners [cells, 4, 2], smaller by a share of the cell on every side: one array is drawn faster than a list."""
    edges = np.array([(c.bbox.west, c.bbox.south, c.bbox.east, c.bbox.north) for c in cells]).reshape(-1, 4)
    edges += np.array([CELL_LON_DEG, CELL_LAT_DEG, -CELL_LON_DEG, -CELL_LAT_DEG]) * inset
    return edges[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def _draw_names(axes: Axes, view: Bbox, limit: int = 12) -> None:
    """Names of the largest places in view that keep apart; quarters of a city are left out."""
    known = {f.place for f in all_cells()}
    far = (view.north - view.south) / 13
    named: list[tuple[float, float]] = []
    for place in places():
        is_near = any(abs(place.lon - lon) < 3.2 * far and abs(place.lat - lat) < far for lon, lat in named)
        is_inside = view.west + 1.3 * far < place.lon < view.east - 1.3 * far and view.contains(place.lon, place.lat)
        if len(named) < limit and is_inside and not is_near and place_slug(place.name) in known:
            named.append((place.lon, place.lat))
            text = axes.text(place.lon, place.lat, place.name, ha="center", va="center", fontsize=8.5, clip_on=True)
            text.set(color=INK, zorder=4, path_effects=[withStroke(linewidth=3, foreground=(1, 1, 1, 0.9))])
