"""What the sandbox's streets look like: houses, ground, trees and signs, invented from a street's name.

Here: what stays in a street, and what changes in it (season, light and parked cars on the day that a drive passed),
as data. Not here: pixels (`painting.py`).

Street frame: x meters to the right of the street's middle line, z meters along it, y meters up.
Colors are linear RGB in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geopin_assets.sandbox.streets.world import Street

Floats = NDArray[np.float32]
BEYOND_M = 130.0  # how far the houses go on behind both ends of a street
_BRICKS = ((0.45, 0.20, 0.14), (0.62, 0.36, 0.24), (0.20, 0.13, 0.12), (0.78, 0.66, 0.44), (0.88, 0.86, 0.80),
           (0.30, 0.33, 0.38), (0.70, 0.42, 0.16), (0.55, 0.12, 0.08), (0.32, 0.42, 0.50), (0.42, 0.48, 0.34),
           (0.80, 0.55, 0.50))  # fmt: skip
_ACCENTS = ((0.10, 0.25, 0.16), (0.12, 0.16, 0.32), (0.45, 0.10, 0.10), (0.85, 0.83, 0.78), (0.75, 0.55, 0.12))
_PAINTS = ((0.75, 0.75, 0.77), (0.12, 0.12, 0.14), (0.55, 0.08, 0.08), (0.10, 0.20, 0.42), (0.85, 0.85, 0.85),
           (0.20, 0.33, 0.25))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Facades:
    """A row of n houses along one line. Every array has one entry (or color) per house, except `edges_m` [n + 1]."""

    edges_m: Floats
    eaves_m: Floats
    """Height of the wall; the gable rises above it. 0 is a gap between houses."""
    gable_m: Floats
    stepped: NDArray[np.bool_]
    bay_m: Floats
    """Distance between windows."""
    storey_m: Floats
    window: Floats
    """[n, 2] share of a bay and of a storey that is window."""
    wall_color: Floats
    accent_color: Floats
    """Of doors, shutters and shop fronts."""
    is_shop: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RowStyle:
    """What the houses of one row have in common: bricks (indices), mean height of walls and width, share of gables."""

    palette: tuple[int, ...]
    eaves_m: float
    width_m: float
    gabled: float


class Kind(StrEnum):
    """Things that are drawn flat, turned to the camera."""

    TREE = "tree"
    LAMP = "lamp"
    SIGN = "sign"
    CAR = "car"
    TOWER = "tower"


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing at (x, z). `radius_m` is half its width, `height_m` its top (of a tree: the crown's middle)."""

    kind: Kind
    x_m: float
    z_m: float
    radius_m: float
    height_m: float
    color: tuple[float, float, float]
    seed: float = 0.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A street. `bands`: edges (x) and colors of the strips of ground, from left to right."""

    half_width_m: float
    end_m: float
    left: Facades
    right: Facades
    near_end: Facades
    far_end: Facades
    behind: Facades
    band_edges_m: Floats
    band_colors: Floats
    water: tuple[float, float]
    """Strip of x that is water; empty when the ends are equal."""
    things: tuple[Thing, ...]


@lru_cache(maxsize=32)
def scene_of(street: Street) -> Scene:
    """The same scene for the same street, always."""
    rng = np.random.default_rng([7, *street.name.encode()])
    half = 18.0 if street.is_canal else float(rng.uniform(6.5, 11.5))
    end = street.length_m / 2 + BEYOND_M
    edges, colors, water = _ground(rng, half, street.is_canal)
    left, right, ends = (_row_style(rng) for _ in range(3))
    return Scene(
        half_width_m=half,
        end_m=end,
        left=_facades(rng, -end, end, left),
        right=_facades(rng, -end, end, right),
        near_end=_facades(rng, -60, 60, ends),
        far_end=_facades(rng, -60, 60, ends),
        behind=_facades(rng, -end - 60, end + 60, ends, taller_m=5),
        band_edges_m=edges,
        band_colors=colors,
        water=water,
        things=(*_trees(rng, half, end, street.is_canal), *_furniture(rng, half, end), _tower(rng, half, end)),
    )


def _row_style(rng: np.random.Generator) -> RowStyle:
    return RowStyle(
        palette=tuple(int(brick) for brick in rng.choice(len(_BRICKS), 4, replace=False)),
        eaves_m=float(rng.uniform(4, 18)),
        width_m=float(rng.uniform(5, 13)),
        gabled=float(rng.uniform(0.2, 0.9)),
    )


def _facades(rng: np.random.Generator, start_m: float, end_m: float, style: RowStyle, taller_m: float = 0) -> Facades:
    count = int((end_m - start_m) / (0.5 * style.width_m)) + 1
    edges = start_m + np.concatenate([[0.0], np.cumsum(style.width_m * rng.uniform(0.6, 1.6, count))])
    eaves = style.eaves_m * rng.uniform(0.6, 1.5, count) + taller_m
    eaves[rng.random(count) < 0.06] = 0.0
    gabled = rng.random(count) < style.gabled
    shade = rng.uniform(0.4, 1.25, (count, 1))
    return Facades(
        edges_m=_f32(edges),
        eaves_m=_f32(eaves),
        gable_m=_f32(np.where(gabled & (eaves > 0), rng.uniform(1.5, 4.5, count), 0)),
        stepped=rng.random(count) < 0.4,
        bay_m=_f32(np.diff(edges) / np.maximum(1, np.round(np.diff(edges) / rng.uniform(1.7, 3.2, count)))),
        storey_m=_f32(rng.uniform(2.8, 3.9, count)),
        window=_f32(np.stack([rng.uniform(0.35, 0.7, count), rng.uniform(0.45, 0.72, count)], 1)),
        wall_color=_f32(np.array(_BRICKS)[rng.choice(style.palette, count)] * shade),
        accent_color=_f32(np.array(_ACCENTS)[rng.integers(0, len(_ACCENTS), count)]),
        is_shop=rng.random(count) < 0.3,
    )


def _ground(rng: np.random.Generator, half_m: float, is_canal: bool) -> tuple[Floats, Floats, tuple[float, float]]:
    """Strips of ground: pavements, roads, and a canal in the middle."""
    walk = float(rng.uniform(2.0, 3.2))
    pavement = np.array([0.58, 0.56, 0.54]) * rng.uniform(0.85, 1.1)
    road = np.array([[0.33, 0.33, 0.34], [0.44, 0.30, 0.26], [0.40, 0.38, 0.36]])[rng.integers(0, 3)]
    kerb = np.array([0.70, 0.69, 0.67])
    inner, kerb_m = half_m - walk, half_m - walk - 0.25
    if is_canal:
        quay = 7.0
        edges = [-inner, -kerb_m, -quay - 0.5, -quay, quay, quay + 0.5, kerb_m, inner]
        colors = [pavement, kerb, road, kerb, [0.16, 0.21, 0.18], kerb, road, kerb, pavement]
        return _f32(edges), _f32(colors), (-quay, quay)
    edges = [-inner, -kerb_m, -0.09, 0.09, kerb_m, inner]
    line = np.array([0.85, 0.85, 0.83]) if rng.random() < 0.6 else road
    return _f32(edges), _f32([pavement, kerb, road, line, road, kerb, pavement]), (0.0, 0.0)


def _trees(rng: np.random.Generator, half_m: float, end_m: float, is_canal: bool) -> list[Thing]:
    row = 8.0 if is_canal else half_m - 2.6
    spacing = float(rng.uniform(18, 50))
    sides = (-1, 1) if is_canal or rng.random() < 0.5 else (int(rng.choice([-1, 1])),)
    hue = rng.uniform((0.12, 0.26, 0.06), (0.26, 0.42, 0.14))
    return [
        Thing(Kind.TREE, side * row, float(z + rng.normal(0, 2)), float(rng.uniform(1.5, 2.7)),
              float(rng.uniform(4.5, 6.5)), tuple(hue * rng.uniform(0.8, 1.2)), float(rng.uniform(0, 6)))
        for side in sides
        for z in np.arange(-end_m + 30, end_m - 30, spacing)
        if rng.random() < 0.8
    ]  # fmt: skip


def _furniture(rng: np.random.Generator, half_m: float, end_m: float) -> list[Thing]:
    lamps = [
        Thing(Kind.LAMP, side * (half_m - 1.9), float(z), 0.35, 4.6, (0.12, 0.15, 0.14))
        for z, side in zip(np.arange(-end_m + 20, end_m - 20, 28), _alternating(), strict=False)
    ]
    signs = [
        Thing(Kind.SIGN, float(rng.choice([-1, 1])) * (half_m - float(rng.uniform(0.8, 1.6))),
              float(rng.uniform(-end_m + 40, end_m - 40)), float(rng.uniform(0.3, 0.6)), float(rng.uniform(2.3, 3.2)),
              tuple(rng.uniform(0.05, 0.9, 3)))
        for _ in range(int(end_m / 14))
    ]  # fmt: skip
    return lamps + signs


def _alternating() -> list[int]:
    return [-1, 1] * 50


def _tower(rng: np.random.Generator, half_m: float, end_m: float) -> Thing:
    """A church tower behind the houses: the street's landmark."""
    x = float(rng.choice([-1, 1])) * (half_m + 38)
    z = float(rng.uniform(-0.4, 0.4)) * (end_m - BEYOND_M)
    color = tuple(rng.uniform((0.3, 0.2, 0.16), (0.5, 0.36, 0.3)))
    return Thing(Kind.TOWER, x, z, float(rng.uniform(3.5, 5)), 56.0, color)


def _f32(values: Sequence | NDArray) -> Floats:
    return np.asarray(values, np.float32)


@dataclass(frozen=True, slots=True)
class Day:
    """Season and light on one day: `leaf` in [0, 1], `autumn` in [0, 1], `sun` in [0, 1], cars along the kerb."""

    leaf: float
    autumn: float
    sun: float
    gain: tuple[float, float, float]
    clouds: float
    things: tuple[Thing, ...]


@lru_cache(maxsize=256)
def day_of(street: Street, captured_at: datetime) -> Day:
    """Season, light and parked cars when a drive passed; `captured_at`: start of the drive."""
    rng = np.random.default_rng([11, *street.name.encode(), captured_at.toordinal()])
    month = captured_at.month
    sun = float(rng.uniform(0.25, 1.0))
    warmth = float(rng.normal(0, 0.03))
    exposure = 0.86 + 0.2 * sun + float(rng.normal(0, 0.03))
    return Day(
        leaf={11: 0.35, 12: 0.0, 1: 0.0, 2: 0.0, 3: 0.15, 4: 0.6}.get(month, 1.0),
        autumn={9: 0.25, 10: 0.8, 11: 1.0}.get(month, 0.0),
        sun=sun,
        gain=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        clouds=float(rng.uniform(0, 100)),
        things=tuple(_cars(rng, street, scene_of(street))),
    )


def _cars(rng: np.random.Generator, street: Street, scene: Scene) -> list[Thing]:
    lane = 8.6 if street.is_canal else scene.half_width_m - 4.3
    reach = street.length_m / 2 + 40
    return [
        Thing(Kind.CAR, side * lane, float(z + rng.normal(0, 0.6)), 2.1, float(rng.uniform(1.4, 1.7)),
              _PAINTS[int(rng.integers(0, len(_PAINTS)))])
        for side in (-1, 1)
        for z in np.arange(-reach, reach, 6.5)
        if rng.random() < 0.1
    ]  # fmt: skip
