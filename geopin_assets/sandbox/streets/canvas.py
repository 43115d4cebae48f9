"""Cameras, and the canvas on which a picture is painted, near things first.

Here: where each pixel looks, and how a color gets onto it through haze. Not here: what is painted.

Both projections keep plumb lines vertical, so that a column of pixels looks in one direction: walls
and things are met once per column, and only heights are worked out per pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import Image
from geopin_assets.sandbox.streets.scenes import Floats

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
