"""Painting a row of houses: roof lines, windows, doors and shop fronts.

Here: colors of walls at each pixel. Not here: where the row stands and what is in front (`rendering.py`).
"""

import numpy as np
from numpy.typing import NDArray

from geopin_assets.sandbox.canvas import Canvas, rows_of
from geopin_assets.sandbox.scenes import Facades, Floats


def paint_row(canvas: Canvas, row: Facades, distance: Floats, along: Floats, light: float) -> None:
    """Paint the houses of one row. `distance` and `along` (where on the row) per column; inf sees none."""
    with np.errstate(invalid="ignore"):
        columns = np.flatnonzero(np.isfinite(distance) & (along > row.edges_m[0]) & (along < row.edges_m[-1]))
    t, along = distance[columns], along[columns]
    house = np.searchsorted(row.edges_m, along) - 1
    up, top = canvas.up_m(columns, t), _roof_line(row, house, along)
    wall = (up >= 0) & (up < top)
    rows = rows_of(wall)
    color = _facade_colors(row, house, along, up[rows], top, t) * light
    canvas.paint(rows, columns, wall[rows], color, t)


def _roof_line(row: Facades, house: NDArray, along: Floats) -> Floats:
    """Height of the roof per column: eaves plus a pointed or stepped gable."""
    width = row.edges_m[house + 1] - row.edges_m[house]
    inward = 1 - np.abs(2 * (along - row.edges_m[house]) / width - 1)
    inward = np.where(row.stepped[house], np.ceil(inward * 4) / 4, inward)
    return row.eaves_m[house] + row.gable_m[house] * inward


def _facade_colors(row: Facades, house: NDArray, along: Floats, up: Floats, top: Floats, t: Floats) -> Floats:
    """Color of the wall at each pixel [H, n, 3], windows and doors included."""
    offset = along - row.edges_m[house]
    bay = offset / row.bay_m[house]
    across = np.abs(bay % 1 - 0.5)
    storey = up / row.storey_m[house]
    above = np.abs(storey % 1 - 0.55)
    width, height = row.window[house, 0] / 2, row.window[house, 1] / 2
    upper = (storey >= 1) & (up < row.eaves_m[house] - 0.5)
    framed = upper & (across < width + 0.04) & (above < height + 0.03)
    glass = framed & (across < width) & (above < height) & ((across > 0.03) | (t > 40))
    brick = 1 - 0.10 * ((up * 3) % 1 < 0.2) * np.exp(-t / 12)
    color = row.wall_color[house] * brick[..., None]
    color[(up < 0.5) | (top - up < 0.35)] *= 0.6
    color[framed] = (0.82, 0.81, 0.77)
    sheen = 0.5 + 0.5 * np.sin(np.floor(bay) * 12.9 + np.floor(storey) * 78.2 + house.astype(np.float32) * 37.7)
    color[glass] = np.array([0.10, 0.13, 0.17], np.float32) + sheen[glass][:, None] * 0.16
    _paint_ground_floor(color, row, house, bay, across, storey)
    return color


def _paint_ground_floor(
    color: Floats, row: Facades, house: NDArray, bay: Floats, across: Floats, storey: Floats
) -> None:
    """Shop windows under an awning, or windows and one door."""
    low = (storey < 1) & (storey > 0)
    shop = row.is_shop[house]
    pane = low & shop & (across < 0.44) & (storey < 0.72) & (storey > 0.12)
    awning = low & shop & (storey > 0.74) & (storey < 0.92)
    door = low & ~shop & (np.floor(bay) == 0) & (across < 0.3) & (storey < 0.7)
    window = low & ~shop & (np.floor(bay) > 0) & (across < row.window[house, 0] / 2) & (np.abs(storey - 0.5) < 0.25)
    color[pane | window] = (0.16, 0.17, 0.18)
    accent = np.broadcast_to(row.accent_color[house], color.shape)
    color[awning | door] = accent[awning | door]
