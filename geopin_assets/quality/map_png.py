"""The coverage map as one PNG, small enough to sit inside an asset's metadata.

Here: the figure, its panels, titles and legend, with matplotlib's object API and Agg (no window, no global state). Not
here: the interactive map (`map_html.py`), or what counts as a gap (`coverage.py`). Importing this imports matplotlib.

Blue by number of captures (log scale) against orange for gaps: told apart with any kind of color
blindness. When little of the country was crawled, a second panel shows that part.
"""

from collections.abc import Collection, Iterable
from io import BytesIO
from math import cos, radians
from typing import Any

import numpy as np
import polars as pl
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from PIL import Image

from geopin_assets.cells import PLACES_ATTRIBUTION, all_cells, place_slug, places, stored_facts
from geopin_assets.geo import OUTLINE_ATTRIBUTION, dutch_outline
from geopin_assets.grid import CELL_LAT_DEG, CELL_LON_DEG, Bbox, Cell
from geopin_assets.quality.coverage import GapReason, not_crawled

COUNTRY = Bbox(3.36, 50.75, 7.235, 53.56)
DPI = 90  # 1,080 px wide: what the dialog in the Dagster UI shows without scrolling
LAND, ABROAD, SHORE, WATER, NOTHING = "#f7f5ef", "#e5e4e1", "#7d7d78", "#d6e2ea", "#b0b7be"
GAP, INK, SOFT = "#e8590c", "#1d1d1f", "#5f6368"
BLUES = LinearSegmentedColormap.from_list("captures", ("#cfe1f2", "#93c4de", "#4a98c9", "#1b69af", "#08306b"))
ASPECT = 1 / cos(radians(52.1))


def render_png(
    coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame, *, region: Collection[str] | None = None
) -> bytes:
    """PNG bytes (about 100 KB). Frames as in `coverage.py`; `region` (cell ids) sets what the second panel shows."""
    cells = _cells(coverage, gaps, crawled)
    norm = LogNorm(1, max([10, *cells["captures"]]))
    focus = _extent(list(region or cells["cell_id"]))
    if focus is not None and focus.east - focus.west < 0.6 * (COUNTRY.east - COUNTRY.west):
        figure = Figure(figsize=(12.0, 7.9), dpi=DPI, facecolor="white")
        country = figure.add_axes((0.02, 0.135, 0.437, 0.765), anchor="W")
        detail = figure.add_axes((0.47, 0.135, 0.51, 0.765), anchor="E")
        _draw_panel(detail, focus, cells, norm, is_detailed=True)
        _draw_frame(country, focus)
    else:
        figure = Figure(figsize=(7.6, 10.5), dpi=DPI, facecolor="white")
        country = figure.add_axes((0.02, 0.1, 0.96, 0.805), anchor="N")
    _draw_panel(country, COUNTRY, cells, norm, is_detailed=False)
    _draw_titles(figure, cells, gaps, crawled)
    _draw_legend(figure, norm)
    out = BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return _reduced(out)


def _cells(coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame) -> pl.DataFrame:
    """One row per crawled cell: cell_id, captures, is_empty (a gap without any), is_short (any other gap)."""
    is_empty = (pl.col("reason") == GapReason.NO_CAPTURE).any()
    return (
        crawled.select("cell_id")
        .unique(maintain_order=True)
        .join(coverage.group_by("cell_id").agg(pl.col("captures").sum()), on="cell_id", how="left")
        .join(gaps.group_by("cell_id").agg(is_empty.alias("is_empty"), pl.lit(True).alias("is_gap")), "cell_id", "left")
        .with_columns(pl.col("captures").fill_null(0), pl.col("is_empty", "is_gap").fill_null(False))
        .select("cell_id", "captures", "is_empty", is_short=pl.col("is_gap") & ~pl.col("is_empty"))
    )


def _extent(ids: list[str]) -> Bbox | None:
    """A view that these cells fill: square on the ground, with a margin around."""
    if not ids:
        return None
    boxes = [stored_facts(id_).cell.bbox for id_ in ids]
    west, east = min(b.west for b in boxes), max(b.east for b in boxes)
    south, north = min(b.south for b in boxes), max(b.north for b in boxes)
    height = max(north - south, (east - west) / ASPECT, 5 * CELL_LAT_DEG) * 1.06 + CELL_LAT_DEG
    lon, lat = (west + east) / 2, (south + north) / 2
    return Bbox(lon - height * ASPECT / 2, lat - height / 2, lon + height * ASPECT / 2, lat + height / 2)


def _draw_titles(figure: Figure, cells: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame) -> None:
    people = gaps.unique("cell_id")["population"].sum()
    parts = (
        f"{cells.height:,} cells crawled by {crawled['source'].n_unique()} source(s)",
        f"{cells.filter(pl.col('captures') > 0).height:,} with captures",
        f"{gaps['cell_id'].n_unique():,} fall short ({people:,} inhabitants)",
        f"{not_crawled(crawled).height:,} land cells not crawled yet",
    )
    is_wide, height = figure.get_figwidth() > 10, figure.get_figheight()
    between = ["   ·   "] * 3 if is_wide else ["   ·   ", "\n", "   ·   "]
    summary = "".join(part + gap for part, gap in zip(parts, [*between, ""], strict=True))
    title = "Street-level coverage of the Netherlands"
    figure.text(0.02, 1 - 0.13 / height, title, fontsize=15, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.5 / height, summary, fontsize=9, color=SOFT, va="top", linespacing=1.5)
    credit = f"{OUTLINE_ATTRIBUTION}   ·   {PLACES_ATTRIBUTION}"
    figure.text(0.98, 0.012, credit, fontsize=7.5, color=SOFT, ha="right")


def _draw_legend(figure: Figure, norm: Normalize) -> None:
    is_detailed = figure.get_figwidth() > 10
    bar = figure.add_axes((0.025, 0.06, 0.27, 0.016))
    colors = figure.colorbar(ScalarMappable(norm, BLUES), cax=bar, orientation="horizontal", format="{x:,.0f}")
    colors.minorticks_off()
    colors.outline.set_visible(False)
    bar.tick_params(labelsize=8, colors=SOFT, length=2)
    bar.set_title("captures per cell (2 × 2 km)", fontsize=8.5, loc="left", pad=4)
    empty: dict[str, Any] = (
        {"facecolor": "white", "hatch": "//////", "edgecolor": GAP} if is_detailed else {"facecolor": GAP}
    )
    handles = [Patch(label="gap: crawled, nothing found", **empty)]
    if is_detailed:
        handles.append(Patch(facecolor="none", edgecolor=GAP, linewidth=1.5, label="gap: short of an expectation"))
    handles.append(Patch(facecolor=NOTHING, label="crawled, nothing found, no Dutch land"))
    handles.append(Patch(facecolor=LAND, edgecolor="#c9c5bb", label="land, not crawled yet"))
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (0.32, 0.025, 0.66, 0.08)}
    figure.legend(handles=handles, ncols=2, fontsize=8.5, frameon=False, **where)


def _reduced(png: BytesIO) -> bytes:
    """The same picture in 256 colors: half of the bytes."""
    out = BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out, "PNG", optimize=True
        )
    return out.getvalue()


def _draw_panel(axes: Axes, view: Bbox, cells: pl.DataFrame, norm: Normalize, *, is_detailed: bool) -> None:
    """Draw `cells` (as made by `_cells`) within a view; hatching and rims only where a cell is large enough."""
    axes.set(xlim=(view.west, view.east), ylim=(view.south, view.north), aspect=ASPECT, facecolor=WATER)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#b9bec3", linewidth=0.8)
    _draw_ground(axes, view)
    _draw_cells(axes, cells, norm, _rim_width(view) if is_detailed else None)
    _draw_names(axes, view)


def _draw_frame(axes: Axes, view: Bbox) -> None:
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
        return _squares((stored_facts(id_).cell for id_ in cells.filter(condition)["cell_id"]), inset)

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
