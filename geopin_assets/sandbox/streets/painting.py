"""A street scene, on a day, as a camera sees it.

Here: cameras, the canvas that is painted near things first, sky, ground, rows of houses, the silhouettes of things. Not
here: what stands in a street (`scenes.py`), JPEG (`images.py`).

Both projections keep plumb lines vertical, so that a column of pixels looks in one direction: walls
and things are met once per column, and only heights are worked out per pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import Image
from geopin_assets.sandbox.streets.scenes import Day, Facades, Floats, Kind, Scene, Thing

_HAZE_M = 420.0
_STEEPEST = 60.0
_LENS_SHIFT = 0.12  # a camera held level shows more above the horizon than below


@dataclass(frozen=True, eq=False)
class Camera:
    """Where it stands (street frame) and where each pixel looks.

    `azimuth` [W]: direction of each column, radians clockwise from the street's direction.
    `slope` [H, W] or [H, 1]: meters up per meter of horizontal distance.
    """

    x_m: float
    z_m: float
    height_m: float
    azimuth: Floats
    slope: Floats


def perspective(
    x_m: float, z_m: float, height_m: float, yaw_deg: float, fov_deg: float, size: tuple[int, int]
) -> Camera:
    """A level camera whose image center looks along `yaw_deg` (clockwise from the street's direction).

    `size`: width, height; `fov_deg`: horizontal. The horizon lies a little below the middle, as when
    a lens is shifted up.
    """
    width, height = size
    scale = np.tan(np.radians(fov_deg) / 2)
    right = (2 * np.arange(width) + 1 - width) / width * scale
    up = (height - 1 - 2 * np.arange(height)) / width * scale + _LENS_SHIFT
    azimuth = np.radians(yaw_deg) + np.arctan(right)
    slope = up[:, None] / np.hypot(1, right)
    return Camera(x_m, z_m, height_m, azimuth.astype(np.float32), slope.astype(np.float32))


def panorama(x_m: float, z_m: float, height_m: float, yaw_deg: float, width: int) -> Camera:
    """A level equirectangular camera, `width` by half of it, whose center column looks along `yaw_deg`."""
    columns = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    rows = np.pi * (0.5 - (np.arange(width // 2) + 0.5) / (width // 2))
    slope = np.clip(np.tan(rows), -_STEEPEST, _STEEPEST)[:, None]
    azimuth = np.radians(yaw_deg) + columns
    return Camera(x_m, z_m, height_m, azimuth.astype(np.float32), slope.astype(np.float32))


class Canvas:
    """A picture in the making, near things first: what is painted hides everything after it.

    `pixels` [H * W, 3], linear color; `haze` [3], the color of what is far away.
    """

    def __init__(self, camera: Camera, haze: Floats) -> None:
        self.camera, self.haze = camera, haze
        self._shape = camera.slope.shape[0], camera.azimuth.shape[0]
        self._slope = np.broadcast_to(camera.slope, self._shape)
        self._is_free = np.ones(self._shape, bool)
        self.pixels = np.zeros((self._is_free.size, 3), np.float32)

    def up_m(self, columns: NDArray, distance_m: Floats) -> Floats:
        """Height above ground [H, n] that each pixel of `columns` sees at a horizontal distance [n]."""
        slope = self.camera.slope if self.camera.slope.shape[1] == 1 else self.camera.slope[:, columns]
        return self.camera.height_m + slope * distance_m

    def free(self, mask: NDArray, columns: NDArray | None = None) -> tuple[NDArray, NDArray, NDArray]:
        """What nothing hides of `mask` [H, n] over `columns` (all by default): pixel, row, rank of column."""
        rows = np.flatnonzero(mask.any(1))
        if not rows.size:
            return rows, rows, rows
        band = slice(rows[0], rows[-1] + 1)
        is_free = self._is_free[band] if columns is None else self._is_free[band, columns]
        row, rank = np.nonzero(mask[band] & is_free)
        row += band.start
        return row * self._shape[1] + (rank if columns is None else columns[rank]), row, rank

    def paint(self, pixel: NDArray, color: Floats, distance_m: NDArray | float) -> None:
        """Lay `color` [n, 3] over pixels, hazy by distance (of each or of all)."""
        clear = np.exp(-np.asarray(distance_m, np.float32) / _HAZE_M)[..., None]
        self.pixels[pixel] = self.haze + (color - self.haze) * clear
        self._is_free.reshape(-1)[pixel] = False

    def picture(self, gain: tuple[float, float, float]) -> Image:
        """The exposed picture, uint8 [H, W, 3], gamma 2."""
        exposed = np.clip(self.pixels * np.asarray(gain, np.float32), 0, 1)
        return (np.sqrt(exposed) * 255).astype(np.uint8).reshape(*self._shape, 3)


_BEHIND_M = 22.0  # from the houses to the row behind them
_NEAREST_M, _FARTHEST_M = 1.2, 260.0


def render(scene: Scene, day: Day, camera: Camera) -> Image:
    """The picture, uint8 [H, W, 3], gamma 2."""
    horizon = int(np.argmin(np.abs(camera.slope[:, 0])))
    canvas = Canvas(camera, _sky(day, camera.slope[horizon], camera.azimuth).mean(0))
    things = sorted((*scene.things, *day.things), key=lambda thing: _distance_m(thing, camera))
    _paint_things(canvas, [thing for thing in things if thing.kind is not Kind.TOWER], day)
    _paint_sides(canvas, scene, day)
    _paint_ground(canvas, scene, day)
    _paint_backdrop(canvas, scene)
    _paint_things(canvas, [thing for thing in things if thing.kind is Kind.TOWER], day)
    _paint_sky(canvas, day)
    return canvas.picture(day.gain)


def _distance_m(thing: Thing, camera: Camera) -> float:
    return float(np.hypot(thing.x_m - camera.x_m, thing.z_m - camera.z_m))


def _paint_sky(canvas: Canvas, day: Day) -> None:
    """What is left over."""
    camera = canvas.camera
    slope = np.broadcast_to(camera.slope, (camera.slope.shape[0], camera.azimuth.shape[0]))
    pixel, row, column = canvas.free(np.ones_like(slope, bool))
    canvas.paint(pixel, _sky(day, slope[row, column], camera.azimuth[column]), 0.0)


def _sky(day: Day, slope: Floats, azimuth: Floats) -> Floats:
    """Blue on a sunny day, gray on a dull one, with soft clouds; paler toward the horizon."""
    elevation, a, p = np.arctan(slope), azimuth, day.clouds
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
    for side, row in ((1, scene.far_end), (-1, scene.near_end)):
        distance = _ahead(side * scene.end_m - camera.z_m, north)
        _paint_row(canvas, row, distance, camera.x_m + distance * east, 0.85)
    for side in (1, -1):
        distance = _ahead(side * (scene.half_width_m + _BEHIND_M) - camera.x_m, east)
        _paint_row(canvas, scene.behind, distance, camera.z_m + distance * north, 0.75)


def _paint_sides(canvas: Canvas, scene: Scene, day: Day) -> None:
    """The houses on both sides; the right ones are in the shade on a dull day."""
    camera = canvas.camera
    east, north = np.sin(camera.azimuth), np.cos(camera.azimuth)
    for side, row, light in ((-1, scene.left, 1.0), (1, scene.right, 0.55 + 0.35 * day.sun)):
        distance = _ahead(side * scene.half_width_m - camera.x_m, east)
        distance[np.abs(camera.z_m + distance * north) > scene.end_m] = np.inf
        _paint_row(canvas, row, distance, camera.z_m + distance * north, light)


def _ahead(offset_m: float, direction: Floats) -> Floats:
    """Distance to a plane for each column, inf where it lies behind."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = offset_m / direction
    return np.where(distance > 0.05, distance, np.inf).astype(np.float32)


def _paint_ground(canvas: Canvas, scene: Scene, day: Day) -> None:
    """What houses leave of everything below the horizon, up to the rows behind."""
    camera = canvas.camera
    t = -camera.height_m / np.minimum(camera.slope, -1e-3)
    x = camera.x_m + t * np.sin(camera.azimuth)
    z = camera.z_m + t * np.cos(camera.azimuth)
    inside = (np.abs(x) <= scene.half_width_m + _BEHIND_M) & (np.abs(z) <= scene.end_m) & (camera.slope < -1e-3)
    pixel, row, column = canvas.free(inside)
    t = np.broadcast_to(t, inside.shape)[row, column]
    canvas.paint(pixel, _ground_colors(canvas, scene, day, x[row, column], z[row, column], t), t)


def _ground_colors(canvas: Canvas, scene: Scene, day: Day, x: Floats, z: Floats, t: Floats) -> Floats:
    """Strips with their joints, and a canal's water, which mirrors the haze."""
    color = scene.band_colors[np.searchsorted(scene.band_edges_m, x)]
    patches = np.sin(z * 0.43 + 2 * np.sin(x * 0.9)) * np.sin(x * 0.7 - z * 0.21)
    joints = (_fraction(z * 2.2) < 0.12) | (_fraction(x * 1.6 + 0.5 * np.floor(z * 2.2)) < 0.09)
    grain = 1 + 0.06 * patches - 0.16 * joints * np.exp(-t / 9)
    water = (x > scene.water[0]) & (x < scene.water[1])
    ripple = 0.75 + 0.25 * np.sin(z[water] * 0.9 + 2 * np.sin(x[water] * 0.7))
    mirrored = color[water] + canvas.haze * 0.35 * ripple[:, None]
    color *= grain[:, None]
    color[water] = mirrored
    return color * (0.75 + 0.25 * day.sun)


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
    if not columns.size:
        return
    right = distance * np.tan(off[columns])
    up = canvas.up_m(columns, distance / np.cos(off[columns]))
    pixel, row, rank = canvas.free((up > 0) & (up < thing.height_m + 1.5 * thing.radius_m), columns)
    mask, color = _SHAPES[thing.kind](thing, day, right[rank], up[row, rank], abs(x) / distance)
    canvas.paint(pixel[mask], color[mask], distance)


def _paint_row(canvas: Canvas, row: Facades, distance: Floats, along: Floats, light: float) -> None:
    """Paint the houses of one row. `distance` and `along` (where on the row) per column; inf sees none."""
    with np.errstate(invalid="ignore"):
        columns = np.flatnonzero(np.isfinite(distance) & (along > row.edges_m[0]) & (along < row.edges_m[-1]))
    t, along = distance[columns], along[columns]
    house = np.searchsorted(row.edges_m, along) - 1
    up, top = canvas.up_m(columns, t), _roof_line(row, house, along)
    pixel, at, rank = canvas.free((up >= 0) & (up < top), columns)
    color = _facade_colors(row, house[rank], along[rank], up[at, rank], top[rank], t[rank]) * light
    canvas.paint(pixel, color, t[rank])


def _fraction(values: Floats) -> Floats:
    """Of `% 1` in a fifth of the time."""
    return values - np.floor(values)


def _roof_line(row: Facades, house: NDArray, along: Floats) -> Floats:
    """Height of the roof per column: eaves plus a pointed or stepped gable."""
    width = row.edges_m[house + 1] - row.edges_m[house]
    inward = 1 - np.abs(2 * (along - row.edges_m[house]) / width - 1)
    inward = np.where(row.stepped[house], np.ceil(inward * 4) / 4, inward)
    return row.eaves_m[house] + row.gable_m[house] * inward


def _facade_colors(row: Facades, house: NDArray, along: Floats, up: Floats, top: Floats, t: Floats) -> Floats:
    """Color of the wall at each pixel [n, 3], windows and doors included."""
    offset = along - row.edges_m[house]
    bay = offset / row.bay_m[house]
    across = np.abs(_fraction(bay) - 0.5)
    storey = up / row.storey_m[house]
    above = np.abs(_fraction(storey) - 0.55)
    width, height = row.window[house, 0] / 2, row.window[house, 1] / 2
    upper = (storey >= 1) & (up < row.eaves_m[house] - 0.5)
    framed = upper & (across < width + 0.04) & (above < height + 0.03)
    glass = framed & (across < width) & (above < height) & ((across > 0.03) | (t > 40))
    brick = 1 - 0.10 * (_fraction(up * 3) < 0.2) * np.exp(-t / 12)
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
    accented = awning | door
    color[accented] = row.accent_color[house[accented]]


def _tree(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    """A ragged crown on a trunk; most pixels around it see neither and are told apart without a sine."""
    mask = (np.abs(right) < 0.07 * thing.radius_m + 0.05) & (up > 0) & (up < thing.height_m)
    color = np.tile(np.array((0.13, 0.10, 0.08), np.float32), (len(up), 1))
    reach = right**2 + ((up - thing.height_m) * 0.9) ** 2
    near = np.flatnonzero(reach < (1.36 * thing.radius_m) ** 2)
    crown, twigs, leaves = _crown(thing, day, right[near], up[near], reach[near])
    mask[near] |= crown | twigs
    color[near[crown]] = leaves
    return mask, color


def _crown(thing: Thing, day: Day, right: Floats, up: Floats, reach: Floats) -> tuple[NDArray, NDArray, Floats]:
    """Where leaves are, where twigs, and the colors of the leaves."""
    s = thing.seed
    ragged = 0.22 * np.sin(right * 5 + s) * np.sin(up * 4 + s * 2) + 0.14 * np.sin(right * 13 + s) * np.cos(up * 11 - s)
    inside = reach < (thing.radius_m * (1 + ragged)) ** 2
    warp = np.sin(up * 4.7 + s) + np.sin(right * 5.3 - s)
    speckle = np.sin(right * 11 + 2 * warp + s * 5) * np.sin(up * 9 - 2 * warp)
    speckle += 0.5 * np.sin((right + up) * 17 + 3 * warp)
    crown = inside & (speckle < 3.2 * day.leaf - 1.1)
    twigs = inside & (np.abs(np.sin(right * 6 + up * 2 * np.sign(right + 0.01) + s)) < 0.16)
    green = np.asarray(thing.color, np.float32)
    hue = green + (np.array([0.62, 0.34, 0.06], np.float32) - green) * day.autumn
    return crown, twigs, hue * (0.85 + 0.5 * ragged[crown] + 0.2 * speckle[crown])[:, None]


def _lamp(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    pole = (np.abs(right) < 0.06) & (up > 0) & (up < thing.height_m)
    head = (np.abs(right) < 0.25) & (np.abs(up - thing.height_m) < 0.3)
    return pole | head, np.where(head[..., None], (0.8, 0.78, 0.7), thing.color).astype(np.float32)


def _sign(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    pole = (np.abs(right) < 0.04) & (up > 0) & (up < thing.height_m)
    board = (np.abs(right) < thing.radius_m) & (np.abs(up - thing.height_m) < thing.radius_m * 0.8)
    return pole | board, np.where(board[..., None], thing.color, (0.45, 0.45, 0.45)).astype(np.float32)


def _car(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    """Long when seen from the side (`side` near 1), narrow from ahead."""
    half = 0.85 + (thing.radius_m - 0.85) * side
    body = (np.abs(right) < half) & (up > 0.3) & (up < 0.85)
    cabin = (np.abs(right) < half * (0.62 + 0.2 * (0.85 - up))) & (up >= 0.85) & (up < thing.height_m)
    pane = cabin & (up < thing.height_m - 0.15) & (np.abs(right) < half * 0.55) & (up > 0.92)
    wheel = (np.abs(np.abs(right) - half * 0.62) < 0.3) & (up > 0) & (up < 0.55)
    color = np.where(pane[..., None], (0.10, 0.12, 0.14), np.asarray(thing.color))
    color = np.where((wheel & (up < 0.5))[..., None], (0.05, 0.05, 0.05), color)
    return body | cabin | wheel, color.astype(np.float32)


def _tower(thing: Thing, day: Day, right: Floats, up: Floats, side: float) -> tuple[NDArray, Floats]:
    shaft = (np.abs(right) < thing.radius_m) & (up < thing.height_m * 0.7)
    spire = (up >= thing.height_m * 0.7) & (np.abs(right) < thing.radius_m * (1 - up / thing.height_m) / 0.3)
    clock = np.hypot(right, up - thing.height_m * 0.6) < 1.6
    color = np.where(clock[..., None], (0.9, 0.85, 0.7), np.asarray(thing.color))
    color = np.where(spire[..., None], (0.22, 0.30, 0.28), color)
    return (shaft | spire) & (up > 0), color.astype(np.float32)


_SHAPES = {Kind.TREE: _tree, Kind.LAMP: _lamp, Kind.SIGN: _sign, Kind.CAR: _car, Kind.TOWER: _tower}
