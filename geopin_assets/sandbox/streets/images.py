"""JPEGs of shots, in the sizes that the sources serve, and the cameras and canvas that they are painted with.

Here: where each pixel looks, how a color gets onto it through haze, which camera took a shot, sizes, JPEG. Not here:
what is painted (`painting.py`), files on disk (`photos.py`). The same shot and size give the same bytes, always.

Both projections keep plumb lines vertical, so that a column of pixels looks in one direction: walls and things are
met once per column, and only heights are worked out per pixel.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from geopin_assets.embedding.protocol import Image
from geopin_assets.sandbox.streets.painting import render
from geopin_assets.sandbox.streets.scenes import Floats, day_of, scene_of
from geopin_assets.sandbox.streets.world import Shot

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


PANORAMAX_SIZES = ("hd", "sd", "thumb")
AMSTERDAM_WIDTHS = (8000, 4000, 2000)
FIELD_OF_VIEW_DEG = 62
_FLAT_RENDERED, _PANO_RENDERED_WIDTH = (400, 300), 1024
_PANORAMAX_FLAT = {"hd": (1600, 1200), "sd": (2048, 1536), "thumb": (500, 375)}
_PANORAMAX_PANO = {"hd": (4096, 2048), "sd": (2048, 1024), "thumb": (500, 300)}
_CAMERA_HEIGHT_M = {"amsterdam": 2.4, "panoramax": 1.8}
_PHONE_HEIGHT_M = 1.6
_QUALITY = 85


@lru_cache(maxsize=256)
def panoramax_jpeg(shot: Shot, size: str) -> bytes:
    """A Panoramax picture; `size` is one of PANORAMAX_SIZES. sd is always 2048 wide, thumb 500."""
    sizes = _PANORAMAX_PANO if shot.drive.is_pano else _PANORAMAX_FLAT
    return jpeg(draw(shot), sizes[size])


@lru_cache(maxsize=96)
def amsterdam_jpeg(shot: Shot, width: int) -> bytes:
    """An Amsterdam panorama, `width` by half of it, north in the middle column."""
    return jpeg(draw(shot, center_deg=0.0), (width, width // 2))


@lru_cache(maxsize=256)
def shot_jpeg(shot: Shot, width: int) -> bytes:
    """A shot as most sources serve it, `width` wide: 4:3, or 2:1 with its heading in the middle for a panorama."""
    return jpeg(draw(shot), (width, width // 2 if shot.drive.is_pano else width * 3 // 4))


@lru_cache(maxsize=16)
def draw(shot: Shot, center_deg: float | None = None) -> Image:
    """The shot as rendered, uint8 [H, W, 3]. `center_deg`: bearing of the middle column, by default its heading."""
    street = shot.drive.street
    center_deg = shot.heading_deg if center_deg is None else center_deg
    yaw_deg = center_deg - street.bearing_deg
    height_m = _CAMERA_HEIGHT_M.get(shot.drive.source, _PHONE_HEIGHT_M)
    if shot.drive.is_pano:
        camera = panorama(shot.right_m, shot.along_m, height_m, yaw_deg, _PANO_RENDERED_WIDTH)
    else:
        camera = perspective(shot.right_m, shot.along_m, height_m, yaw_deg, FIELD_OF_VIEW_DEG, _FLAT_RENDERED)
    return render(scene_of(street), day_of(street, shot.drive.started_at), camera)


def jpeg(image: Image, size: tuple[int, int], **metadata: Any) -> bytes:
    """Enlarge to `size` (width, height) and encode. `metadata`: what Pillow writes along (exif, xmp)."""
    buffer = BytesIO()
    _enlarged(PillowImage.fromarray(image), size).save(buffer, "JPEG", quality=_QUALITY, **metadata)
    return buffer.getvalue()


def _enlarged(image: PillowImage.Image, size: tuple[int, int]) -> PillowImage.Image:
    """Smoothly up to half of a large size, and from there each pixel as four: as good, in a third of the time."""
    half = size[0] // 2, size[1] // 2
    if half[0] >= image.width:
        image = image.resize(half, PillowImage.Resampling.BILINEAR)
        return image.resize(size, PillowImage.Resampling.NEAREST)
    return image.resize(size, PillowImage.Resampling.BILINEAR)
