"""Does an image show anything? Black frames, pictures of one color and padding have no place that could be found again.

Here: looking at pixels. Not here: the same picture at many captures (`repeats.py`), or what follows from it
(`pipeline.py`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import FailureReason, Image

_BLOCKS, _BLOCK_PX = 16, 5
"""Looked at are 16 x 16 blocks of the image, fewer of a tiny one, and in each 5 x 5 pixels."""
_EVEN = 6
"""Levels of 255 that a block without content spans: noise of sensors in the dark, and what JPEG makes of one color."""
_MOSTLY = 0.8
_BLACK = 24
_SAMPLES = 256


def emptiness(image: Image) -> FailureReason | None:
    """Why there is nothing to see, if four fifths of it are even: a sky alone, however clear, is less. 0.1 ms."""
    blocks = max(1, min(_BLOCKS, min(image.shape[:2]) // _BLOCK_PX))
    for axis in (0, 1):
        image = image.take(np.arange(blocks * _BLOCK_PX) * image.shape[axis] // (blocks * _BLOCK_PX), axis)
    lowest, highest = _of_blocks(image, blocks, np.min), _of_blocks(image, blocks, np.max)
    even = (highest - lowest).max(axis=2) <= _EVEN
    if even.mean() < _MOSTLY:
        return None
    return FailureReason.BLACK if highest[even].mean() < _BLACK else FailureReason.ONE_COLOR


def _of_blocks(pixels: Image, blocks: int, most: Callable[..., Image]) -> Image:
    """The least or greatest of each block and channel, in two steps over whole rows: four times as fast as in one."""
    rows = most(pixels.reshape(blocks, _BLOCK_PX, -1), axis=1)
    return most(rows.reshape(blocks, blocks, _BLOCK_PX, 3), axis=2)


def filled(panorama: Image) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows and which columns of a panorama are more than one color from end to end, so no padding.

    Of some of its rows and columns, evenly chosen.
    """
    height, width = panorama.shape[:2]
    some = panorama[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)]
    rows, columns = ((some.max(axis=axis) - some.min(axis=axis)).max(axis=1) > _EVEN for axis in (1, 0))
    return rows, columns
