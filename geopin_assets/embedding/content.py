"""Does an image show anything? Black frames, pictures of one color and padding have no place that could be found again.

Here: looking at pixels. Not here: the same picture at many captures (`repeats.py`), or what follows from it
(`pipeline.py`).
"""

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import FailureReason, Image

_BLOCKS, _BLOCK_PX = 16, 8
"""Looked at are 16 x 16 blocks of the image, in each 8 x 8 of its pixels."""
_EVEN = 6
"""Levels of 255 that a block without content spans: noise of sensors in the dark, and what JPEG makes of one color."""
_MOSTLY = 0.8
_BLACK = 24
_SAMPLES = 256


def emptiness(image: Image) -> FailureReason | None:
    """Why there is nothing to see, if four fifths of it are even: a sky alone, however clear, is less. 0.1 ms."""
    side_px = _BLOCKS * _BLOCK_PX
    rows, columns = (np.arange(side_px) * length // side_px for length in image.shape[:2])
    blocks = image[rows[:, None], columns].reshape(_BLOCKS, _BLOCK_PX, _BLOCKS, _BLOCK_PX, 3)
    lowest, highest = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    even = (highest - lowest).max(axis=2) <= _EVEN
    if even.mean() < _MOSTLY:
        return None
    return FailureReason.BLACK if highest[even].mean() < _BLACK else FailureReason.ONE_COLOR


def filled(panorama: Image) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows and which columns of a panorama are more than one color from end to end, so no padding.

    Of some of its rows and columns, evenly chosen.
    """
    height, width = panorama.shape[:2]
    some = panorama[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)]
    rows, columns = ((some.max(axis=axis) - some.min(axis=axis)).max(axis=1) > _EVEN for axis in (1, 0))
    return rows, columns
