"""The coverage map as one PNG, small enough to sit inside an asset's metadata.

Here: the figure, its titles and legend; matplotlib's object API with Agg (no window, no global state),
imported when a map is drawn. Not here: what a panel shows (`map_panel.py`), the interactive map
(`map_html.py`), or what counts as a gap (`coverage.py`).

Blue by number of captures (log scale) against orange for gaps: told apart with any kind of color
blindness. When little of the country was crawled, a second panel shows that part.
"""

from collections.abc import Collection
from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl

from geopin_assets.cells import PLACES_ATTRIBUTION, cell_facts
from geopin_assets.geo import OUTLINE_ATTRIBUTION
from geopin_assets.grid import CELL_LAT_DEG, Bbox
from geopin_assets.quality.coverage import GapReason, not_crawled

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COUNTRY = Bbox(3.36, 50.75, 7.235, 53.56)
DPI = 90  # 1,080 px wide: what the dialog in the Dagster UI shows without scrolling


def render_png(
    coverage: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame, *, region: Collection[str] | None = None
) -> bytes:
    """PNG bytes (about 100 KB). Frames as in `coverage.py`; `region` (cell ids) sets what the second panel shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from geopin_assets.quality.map_panel import draw_frame, draw_panel

    cells = _cells(coverage, gaps, crawled)
    norm = LogNorm(1, max([10, *cells["captures"]]))
    focus = _extent(list(region or cells["cell_id"]))
    if focus is not None and focus.east - focus.west < 0.6 * (COUNTRY.east - COUNTRY.west):
        figure = Figure(figsize=(12.0, 7.9), dpi=DPI, facecolor="white")
        country = figure.add_axes((0.02, 0.135, 0.437, 0.765), anchor="W")
        detail = figure.add_axes((0.47, 0.135, 0.51, 0.765), anchor="E")
        draw_panel(detail, focus, cells, norm, is_detailed=True)
        draw_frame(country, focus)
    else:
        figure = Figure(figsize=(7.6, 10.5), dpi=DPI, facecolor="white")
        country = figure.add_axes((0.02, 0.1, 0.96, 0.805), anchor="N")
    draw_panel(country, COUNTRY, cells, norm, is_detailed=False)
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
    from geopin_assets.quality.map_panel import ASPECT

    if not ids:
        return None
    boxes = [cell_facts(id_).cell.bbox for id_ in ids]
    west, east = min(b.west for b in boxes), max(b.east for b in boxes)
    south, north = min(b.south for b in boxes), max(b.north for b in boxes)
    height = max(north - south, (east - west) / ASPECT, 5 * CELL_LAT_DEG) * 1.06 + CELL_LAT_DEG
    lon, lat = (west + east) / 2, (south + north) / 2
    return Bbox(lon - height * ASPECT / 2, lat - height / 2, lon + height * ASPECT / 2, lat + height / 2)


def _draw_titles(figure: "Figure", cells: pl.DataFrame, gaps: pl.DataFrame, crawled: pl.DataFrame) -> None:
    from geopin_assets.quality.map_panel import SOFT

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


def _draw_legend(figure: "Figure", norm: "Normalize") -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    from geopin_assets.quality.map_panel import BLUES, GAP, LAND, NOTHING, SOFT

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
    from PIL import Image

    out = BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out, "PNG", optimize=True
        )
    return out.getvalue()
