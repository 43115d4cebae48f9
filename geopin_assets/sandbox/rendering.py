"""A street scene, on a day, as a camera sees it.

Here: sky, ground, and what is painted in which order. Not here: cameras (`canvas.py`), walls
(`facades.py`), trees and cars (`shapes.py`), what stands in a street (`scenes.py`), JPEG (`images.py`).
"""

import numpy as np

from geopin_assets.embedding.protocol import Image
from geopin_assets.sandbox.canvas import Camera, Canvas, rows_of
from geopin_assets.sandbox.days import Day
from geopin_assets.sandbox.facades import paint_row
from geopin_assets.sandbox.scenes import Floats, Kind, Scene, Thing
from geopin_assets.sandbox.shapes import SHAPES

_BEHIND_M = 22.0  # from the houses to the row behind them
_NEAREST_M, _FARTHEST_M = 1.2, 260.0


def render(scene: Scene, day: Day, camera: Camera) -> Image:
    """The picture, uint8 [H, W, 3], gamma 2."""
    sky = _sky(day, camera)
    horizon = int(np.argmin(np.abs(camera.slope[:, 0])))
    canvas = Canvas(camera, sky, sky[horizon].mean(0))
    things = sorted((*scene.things, *day.things), key=lambda thing: -_distance_m(thing, camera))
    _paint_things(canvas, [thing for thing in things if thing.kind is Kind.TOWER], day)
    _paint_backdrop(canvas, scene)
    _paint_ground(canvas, scene, day)
    _paint_sides(canvas, scene, day)
    _paint_things(canvas, [thing for thing in things if thing.kind is not Kind.TOWER], day)
    exposed = np.clip(canvas.pixels * np.asarray(day.gain, np.float32), 0, 1)
    return (np.sqrt(exposed) * 255).astype(np.uint8)


def _distance_m(thing: Thing, camera: Camera) -> float:
    return float(np.hypot(thing.x_m - camera.x_m, thing.z_m - camera.z_m))


def _sky(day: Day, camera: Camera) -> Floats:
    """Blue on a sunny day, gray on a dull one, with soft clouds; paler toward the horizon."""
    elevation = np.arctan(camera.slope) + np.zeros_like(camera.azimuth)
    a, p = camera.azimuth, day.clouds
    drift = np.sin(2 * a + p) + np.sin(3 * elevation - p)
    puffs = np.sin(3 * a + p + 2 * drift) * np.sin(6 * elevation + drift)
    cloud = puffs + 0.5 * np.sin(8 * a - 9 * elevation + 2 * drift)
    cloud = np.clip(cloud * 0.4 + 0.45 - 0.45 * day.sun, 0, 1)
    blue = np.array([0.22, 0.42, 0.78], np.float32) * day.sun + np.array([0.62, 0.66, 0.70], np.float32) * (1 - day.sun)
    pale = np.clip(1.2 - elevation * 1.6, 0, 1)[..., None]
    sky = blue + (0.86 - blue) * pale * 0.75
    return (sky + (0.88 - sky) * cloud[..., None]).astype(np.float32)


def _paint_backdrop(canvas: Canvas, scene: Scene) -> None:
    """The rows behind the houses, seen through gaps, and the ends of the street."""
    camera = canvas.camera
    east, north = np.sin(camera.azimuth), np.cos(camera.azimuth)
    for side in (-1, 1):
        distance = _ahead(side * (scene.half_width_m + _BEHIND_M) - camera.x_m, east)
        paint_row(canvas, scene.behind, distance, camera.z_m + distance * north, 0.75)
    for side, row in ((-1, scene.near_end), (1, scene.far_end)):
        distance = _ahead(side * scene.end_m - camera.z_m, north)
        paint_row(canvas, row, distance, camera.x_m + distance * east, 0.85)


def _paint_sides(canvas: Canvas, scene: Scene, day: Day) -> None:
    """The houses on both sides; the right ones are in the shade on a dull day."""
    camera = canvas.camera
    east, north = np.sin(camera.azimuth), np.cos(camera.azimuth)
    for side, row, light in ((-1, scene.left, 1.0), (1, scene.right, 0.55 + 0.35 * day.sun)):
        distance = _ahead(side * scene.half_width_m - camera.x_m, east)
        distance[np.abs(camera.z_m + distance * north) > scene.end_m] = np.inf
        paint_row(canvas, row, distance, camera.z_m + distance * north, light)


def _ahead(offset_m: float, direction: Floats) -> Floats:
    """Distance to a plane for each column, inf where it lies behind."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = offset_m / direction
    return np.where(distance > 0.05, distance, np.inf).astype(np.float32)


def _paint_ground(canvas: Canvas, scene: Scene, day: Day) -> None:
    """Everything below the horizon up to the rows behind; what houses hide they paint over."""
    camera = canvas.camera
    rows = rows_of(camera.slope < -1e-3)
    t = -camera.height_m / np.minimum(camera.slope[rows], -1e-3)
    x = camera.x_m + t * np.sin(camera.azimuth)
    z = camera.z_m + t * np.cos(camera.azimuth)
    color = scene.band_colors[np.searchsorted(scene.band_edges_m, x)]
    patches = np.sin(z * 0.43 + 2 * np.sin(x * 0.9)) * np.sin(x * 0.7 - z * 0.21)
    joints = ((z * 2.2) % 1 < 0.12) | ((x * 1.6 + 0.5 * np.floor(z * 2.2)) % 1 < 0.09)
    grain = 1 + 0.06 * patches - 0.16 * joints * np.exp(-t / 9)
    water = (x > scene.water[0]) & (x < scene.water[1])
    ripple = 0.75 + 0.25 * np.sin(z * 0.9 + 2 * np.sin(x * 0.7))
    color = np.where(water[..., None], color + canvas.haze * 0.35 * ripple[..., None], color * grain[..., None])
    inside = (np.abs(x) <= scene.half_width_m + _BEHIND_M) & (np.abs(z) <= scene.end_m)
    canvas.paint(rows, np.arange(x.shape[1]), inside, color * (0.75 + 0.25 * day.sun), t)


def _paint_things(canvas: Canvas, things: list[Thing], day: Day) -> None:
    for thing in things:
        if _NEAREST_M < _distance_m(thing, canvas.camera) < _FARTHEST_M:
            _paint_thing(canvas, thing, day)


def _paint_thing(canvas: Canvas, thing: Thing, day: Day) -> None:
    """Paint a thing as a flat shape that faces the camera."""
    x, z = thing.x_m - canvas.camera.x_m, thing.z_m - canvas.camera.z_m
    distance = float(np.hypot(x, z))
    off = (canvas.camera.azimuth - np.arctan2(x, z) + np.pi) % (2 * np.pi) - np.pi
    columns = np.flatnonzero(np.abs(off) < np.arctan(1.5 * thing.radius_m / distance))
    right = distance * np.tan(off[columns])
    up = canvas.up_m(columns, distance / np.cos(off[columns]))
    rows = rows_of((up > 0) & (up < thing.height_m + 1.5 * thing.radius_m))
    mask, color = SHAPES[thing.kind](thing, day, right, up[rows], abs(x) / distance)
    canvas.paint(rows, columns, mask, color, distance)
