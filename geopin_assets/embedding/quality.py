"""How good a view is: sharp, lit, not washed out, and of something. Classic measures of pixels that are decoded anyway.

Here: the measures, which are stored with every vector, and from where on a view is of no use. Not here: images that
show nothing at all (`content.py`), what follows (`seen.py`), or what a windscreen shows, which no single image tells
(`drives.py`). Rooms no measure of this kind tells from a street: for them and for insides of vehicles a network may be
configured (`model/scenes.py`).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from geopin_assets.embedding.drives import MOST_BELOW, MOST_STAYING
from geopin_assets.embedding.protocol import FailureReason, Image

_R = FailureReason
_SIDE_PX = 192
"""Of the gray picture that is measured: less than any model sees, so that only what it would not see either counts."""
_REBLUR_PX = 9
_BLOCK_PX = 12
_WHITE = 250
_FLAT = 2.5
"""Levels of 255 from pixel to pixel, in the mean of a block, below which it has no detail: sky, fog, a bare wall."""


class Limit(NamedTuple):
    """A measure, from where on a view is of no use, and whether that is below it or above."""

    measure: str
    at: float
    is_least: bool

    def is_passed(self, found: "Quality") -> bool:
        """Whether a view is of no use for it; not where nobody measured it."""
        value = getattr(found, self.measure)
        return value is not None and (value < self.at if self.is_least else value > self.at)

    def __str__(self) -> str:
        return f"{self.measure} {'below' if self.is_least else 'above'} {self.at:g}"


LIMITS = {
    _R.DARK: Limit("light", 0.16, is_least=True),
    _R.OVEREXPOSED: Limit("clipped", 0.2, is_least=False),
    _R.NO_DETAIL: Limit("detail", 0.12, is_least=True),
    _R.VEILED: Limit("contrast", 0.07, is_least=True),
    _R.BLURRED: Limit("blur", 0.55, is_least=False),
    _R.IN_VEHICLE: Limit("in_vehicle", 0.5, is_least=False),
    _R.INDOOR: Limit("indoor", 0.9, is_least=False),
}
"""In this order. Of real photos none comes near the first five: light 0.65 at least, clipped 0.10 at most, detail 0.31
at least, contrast 0.15 at least, blur 0.45 at most. The network's two nobody measured here."""
THRESHOLDS = {reason.value: str(limit) for reason, limit in LIMITS.items()} | {
    "windscreen": f"of a drive: everywhere above {MOST_STAYING}, or below above {MOST_BELOW}"
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


def flaw(found: Quality, limits: Mapping[FailureReason, Limit] = LIMITS) -> FailureReason | None:
    """Why a view is of no use: the first that holds."""
    return next((reason for reason, limit in limits.items() if limit.is_passed(found)), None)


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
