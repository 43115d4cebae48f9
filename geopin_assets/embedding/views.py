"""What a model sees of an image: the frame of a flat one, the perspective views of a panorama.

Not here: resizing to the frame (`model/inference.py`), decoding (`decoding.py`), bearings of sources: one rule holds
for all, `heading_deg` is the bearing of the image center, and columns run clockwise. Importing this imports no torch.

CosPlace was trained on crops of 512 x 512 that are 55 degrees wide. So the shorter side of a flat image becomes 512,
and it is cropped to the widest of eleven shapes that fits in it, so that batches fill; a panorama is cut into 12 views
of that size, and fetched at 4000 pixels (11 per degree; a view has 7.7) where a source has it. The numbers behind that:
docs/decisions/2026-11-25-what-the-model-sees.md.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import VIEWS, Image
from geopin_assets.sphere import WHOLE, Part, by_shape

SHORTER_SIDE_PX = 512
LYING = (1 / 1, 9 / 8, 5 / 4, 4 / 3, 7 / 5, 3 / 2, 8 / 5, 16 / 9)
UPRIGHT = LYING[:4]
"""Longer over shorter side, of lying and of upright images."""
_TOLERANCE = 1.01
"""An image this much short of an aspect loses a line or two of its shorter side instead."""

YAW_STEP_DEG = 360 / VIEWS
FOV_DEG = 60.0
PITCH_DEG = 7.0
_SMALL_PX = 64
SIZE_PX = 512
_RAYS = 24


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows and columns of an image, and the size (height, width) they are resized to."""

    rows: slice
    columns: slice
    height: int
    width: int


def frame(height: int, width: int) -> Frame:
    """The frame of an upright image of this size: in its center, of one of `SHAPES`."""
    longer, shorter = max(height, width), min(height, width)
    aspects = LYING if width >= height else UPRIGHT
    aspect = max(aspect for aspect in aspects if aspect * shorter <= longer * _TOLERANCE)
    along = _center(longer, min(longer, round(shorter * aspect)))
    across = _center(shorter, min(shorter, round(longer / aspect)))
    if width >= height:
        return Frame(across, along, SHORTER_SIDE_PX, _longer_px(aspect))
    return Frame(along, across, _longer_px(aspect), SHORTER_SIDE_PX)


def square(height: int, width: int, side_px: int) -> Frame:
    """All of an upright image, squeezed into a square, as MegaLoc was evaluated; of longer ones than LYING and UPRIGHT
    the middle."""
    columns = _center(width, min(width, round(height * LYING[-1])))
    rows = _center(height, min(height, round(width * UPRIGHT[-1])))
    return Frame(rows, columns, side_px, side_px)


def _center(length: int, kept: int) -> slice:
    start = (length - kept) // 2
    return slice(start, start + kept)


def _longer_px(aspect: float) -> int:
    return round(SHORTER_SIDE_PX * aspect)


SHAPES = frozenset(
    [(SHORTER_SIDE_PX, _longer_px(aspect)) for aspect in LYING]
    + [(_longer_px(aspect), SHORTER_SIDE_PX) for aspect in UPRIGHT]
)
"""(height, width) of everything the network sees."""


def is_equirectangular(width: int, height: int) -> bool:
    """Whether views can be cut from an equirectangular image of this size: that of what goes all around, strips too."""
    return by_shape(width, height).is_all_around


class _Rays(NamedTuple):
    """Where the pixels of view 0 look, in shares of the sphere: from its middle column, and from its top."""

    turn: NDArray[np.float64]
    fall: NDArray[np.float64]


def _rays(fov_deg: float, pitch_deg: float, size_px: int) -> _Rays:
    tangent = math.tan(math.radians(fov_deg) / 2)
    axis = (2 * np.arange(size_px) + 1 - size_px) / size_px * tangent  # rays through pixel centers
    y, x = np.meshgrid(-axis, axis, indexing="ij")  # x right, y up, z forward
    cos, sin = math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))
    y, z = y * cos + sin, cos - y * sin
    return _Rays(np.arctan2(x, z) / (2 * math.pi), 0.5 - np.arctan2(y, np.hypot(x, z)) / math.pi)


class _Grid(NamedTuple):
    """Where the pixels of view 0 lie in a panorama; the other views are turned, which shifts them along x."""

    band: slice
    """The rows that views see."""
    margin: int
    """Columns of the band that are repeated beyond either end, so that the seam is no border."""
    at: NDArray[np.float32]
    """Place of each pixel in the band with its margins, (x, y) from -1 to 1; [1, size, size, 2]. Beyond it, above or
    below, is what the panorama does not show."""


@lru_cache(maxsize=4)
def _grid(width: int, height: int, part: Part, fov_deg: float, pitch_deg: float, size_px: int) -> _Grid:
    rays = _rays(fov_deg, pitch_deg, size_px)
    column = rays.turn * width  # from the center
    row = (rays.fall - part.top) / part.height * height
    first = min(max(math.floor(row.min() - 0.5), 0), height - 1)
    end = max(min(math.ceil(row.max() + 0.5), height), first + 1)
    margin = math.ceil(column.max()) + 1
    at = np.stack([2 * column / (width + 2 * margin), 2 * (row - first) / (end - first) - 1], axis=-1)
    return _Grid(slice(first, end), margin, at[None].astype(np.float32))


def perspective_views(
    panorama: Image,
    *,
    part: Part = WHOLE,
    fov_deg: float = FOV_DEG,
    pitch_deg: float = PITCH_DEG,
    size_px: int = SIZE_PX,
    numbers: Iterable[int] = range(VIEWS),
) -> list[Image]:
    """Cut a panorama, uint8 [h, w, 3], into 12 views, uint8 [size_px, size_px, 3], or into those with these numbers.

    View i looks 30 * i degrees clockwise of the image center. Bilinear; the seam is no border. Where views look beyond
    the `part` of the sphere that is shown they see its last pixels. 62 ms for 12 views of 4000 x 2000, on the calling
    thread alone.
    """
    if part.width < 1:
        beside = round(panorama.shape[1] * (1 / part.width - 1) / 2)
        panorama = np.pad(panorama, ((0, 0), (beside, beside), (0, 0)), mode="edge")
    height, width = panorama.shape[:2]
    grid = _grid(width, height, part, fov_deg, pitch_deg, size_px)
    band = np.pad(panorama[grid.band], ((0, 0), (grid.margin,) * 2, (0, 0)), mode="wrap").astype(np.float32)
    look = _small if size_px <= _SMALL_PX else _large
    turn = 2 * width / VIEWS / band.shape[1]

    def view(number: int) -> Image:
        at = grid.at.copy()
        at[..., 0] += turn * ((number + VIEWS // 2) % VIEWS - VIEWS // 2)
        return np.ascontiguousarray((look(band, at) + np.float32(0.5)).astype(np.uint8))

    return [view(number) for number in numbers]


def _large(band: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """`band` [h, w, 3] at each place of `at` [1, size, size, 2], bilinear, its last pixels beyond its ends."""
    import torch

    source = torch.from_numpy(band[None]).permute(0, 3, 1, 2)  # channels_last: a fifth faster than planes
    pixels = torch.nn.functional.grid_sample(source, torch.from_numpy(at), padding_mode="border", align_corners=False)
    return pixels[0].permute(1, 2, 0).numpy()


def _small(band: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same for the few pixels of the stand-in model, which importing torch would take longer than cutting them."""
    last = np.array(band.shape[1::-1]) - 1
    place = np.clip((at[0] + 1) * (last + 1) / 2 - 0.5, 0, last).astype(np.float32)
    first = place.astype(np.intp)
    (x, y), (right, down) = np.moveaxis(first, -1, 0), np.moveaxis(np.minimum(first + 1, last), -1, 0)
    u, v = np.moveaxis((place - first)[..., None], 2, 0)
    above, below = (band[row, x] * (1 - u) + band[row, right] * u for row in (y, down))
    found: NDArray[np.float32] = above * (1 - v) + below * v
    return found


def shown(rows: NDArray[np.bool_], columns: NDArray[np.bool_], part: Part = WHOLE) -> list[float]:
    """How much of each view is not padding: `rows` and `columns` of the panorama that are none, evenly chosen."""
    rays = _rays(FOV_DEG, PITCH_DEG, _RAYS)
    is_row = _at(rows, (rays.fall - part.top) / part.height)
    turned = ((rays.turn + number / VIEWS + 0.5) % 1 - 0.5 for number in range(VIEWS))
    return [float((is_row & _at(columns, turn / part.width + 0.5)).mean()) for turn in turned]


def _at(there: NDArray[np.bool_], share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether there is something at these shares of a length; beyond its ends there is not."""
    place = np.floor(share * len(there)).astype(int)
    return (place >= 0) & (place < len(there)) & there[np.clip(place, 0, len(there) - 1)]
