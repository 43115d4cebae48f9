"""How good a view is: sharp, lit, not washed out, and of something. Classic measures of pixels that are decoded anyway.

Here: the measures, which are stored with every vector, and from where on a view is of no use. Not here: images that
show nothing at all (`content.py`), or what follows (`seen.py`). Rooms, and what a windscreen or a drop of rain covers
in part, no measure of this kind tells from a street (docs/embedding.md has what was tried): for rooms and insides of
vehicles a network may be configured (`model/scenes.py`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from geopin_assets.embedding.protocol import FailureReason, Image

_R = FailureReason
_SIDE_PX = 192
"""Of the gray picture that is measured: less than any model sees, so that only what it would not see either counts."""
_REBLUR_PX = 9
_BLOCK_PX = 12
_WHITE = 250
_FLAT = 2.5
"""Levels of 255 from pixel to pixel, in the mean of a block, below which it has no detail: sky, fog, a bare wall."""
MOST_BLURRED, LEAST_LIGHT, MOST_CLIPPED, LEAST_CONTRAST, LEAST_DETAIL = 0.55, 0.16, 0.2, 0.07, 0.12
"""Of real photos none comes near: 0.45 at most, 0.65 at least, 0.10 at most, 0.15 at least, 0.31 at least."""
MOST_INDOOR, MOST_IN_VEHICLE = 0.9, 0.5
"""Shares of what the network of scenes says; nobody measured it here."""
THRESHOLDS = {
    "dark": f"light below {LEAST_LIGHT}",
    "overexposed": f"clipped above {MOST_CLIPPED}",
    "no_detail": f"detail below {LEAST_DETAIL}",
    "veiled": f"contrast below {LEAST_CONTRAST}",
    "blurred": f"blur above {MOST_BLURRED}",
    "indoor": f"indoor above {MOST_INDOOR}",
    "in_vehicle": f"in_vehicle above {MOST_IN_VEHICLE}",
}


class Quality(NamedTuple):
    """Each from 0 to 1."""

    blur: float
    """How little another blurring changes it (Crete et al. 2007), along the axis that is worse."""
    light: float
    """The level that a tenth of its pixels exceed."""
    clipped: float
    """Share of pixels of the lower half, where no sky is, that are white."""
    contrast: float
    """Standard deviation of its levels."""
    detail: float
    """Share of blocks that are not flat."""
    indoor: float | None = None
    """How likely it is a room; None: nobody was asked, as for the next."""
    in_vehicle: float | None = None
    """How likely it is the inside of a vehicle."""


class Scene(NamedTuple):
    """What a network says of a view, each from 0 to 1."""

    indoor: float
    in_vehicle: float


SceneOf = Callable[[Image], Scene]


def quality(view: Image) -> Quality | None:
    """Of a view or photo, uint8 [h, w, 3], in 1 ms; None of one that is smaller than what is measured."""
    if min(view.shape[:2]) < _SIDE_PX:
        return None
    levels = _gray(view)
    gray, counts = levels.astype(np.float32), np.cumsum(np.bincount(levels.reshape(-1), minlength=256))
    along, across = np.abs(np.diff(gray, axis=1)), np.abs(np.diff(gray, axis=0))
    steps = along[:-1] + across[:, :-1]
    rows, columns = (side // _BLOCK_PX for side in steps.shape)
    blocks = steps[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    return Quality(
        blur=max(_blur(gray, along), _blur(gray.T, across.T)),
        light=float(np.searchsorted(counts, 0.9 * counts[-1])) / 255,
        clipped=float((levels[len(levels) // 2 :] >= _WHITE).mean()),
        contrast=float(gray.std()) / 255,
        detail=float((blocks.mean(axis=(1, 3)) > _FLAT).mean()),
    )


def flaw(found: Quality) -> FailureReason | None:
    """Why a view is of no use: the first of FLAWS that holds."""
    if found.light < LEAST_LIGHT:
        return _R.DARK
    if found.clipped > MOST_CLIPPED:
        return _R.OVEREXPOSED
    if found.detail < LEAST_DETAIL:
        return _R.NO_DETAIL
    if found.contrast < LEAST_CONTRAST:
        return _R.VEILED
    if found.blur > MOST_BLURRED:
        return _R.BLURRED
    if (found.in_vehicle or 0) > MOST_IN_VEHICLE:
        return _R.IN_VEHICLE
    return _R.INDOOR if (found.indoor or 0) > MOST_INDOOR else None


def _gray(view: Image) -> NDArray[np.uint8]:
    """Green alone, which is most of what is light and dark: taking all three colors takes 2 ms instead of 0.3."""
    step = max(1, min(view.shape[:2]) // (2 * _SIDE_PX))
    small = Pillow.fromarray(np.ascontiguousarray(view[::step, ::step, 1]))
    scale = _SIDE_PX / min(small.size)
    width, height = (max(_SIDE_PX, round(side * scale)) for side in small.size)
    return np.asarray(small.resize((width, height), Pillow.Resampling.BILINEAR))


def _blur(gray: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    """Along the second axis; `before`: how much neighbors differ. Means of so many pixels in a row, one pixel apart,
    differ by their first and last pixel, so none is taken."""
    padded = np.pad(gray, ((0, 0), (_REBLUR_PX // 2, _REBLUR_PX // 2)), mode="edge")
    after = np.abs(padded[:, _REBLUR_PX:] - padded[:, :-_REBLUR_PX]) / _REBLUR_PX
    return float(1 - np.maximum(0, before - after).sum() / max(float(before.sum()), 1e-6))
