"""Which part of an image the model sees, and at what size. No torch here.

Not here: the resize itself (`cosplace.py`), decoding (`decode.py`), panoramas (`panorama.py`).

CosPlace was trained on 512 x 512 and takes any size; its author advises square or almost square images near that
size. So the shorter side becomes 512, and aspects from 3:4 (upright) to 16:9 (lying) stay: photos of a phone held
upright and frames of a dash camera lose nothing, and what is longer is cropped at both ends. Within that range sources
send any size (one camera's photos come as 1024x682, 683 and 684), so an image is cropped to the widest of eleven
shapes that fits in it: batches fill, and what is planned or compiled per shape is so eleven times. That takes at most
11 % of one side, and nothing of the usual formats.
"""

from dataclasses import dataclass

PREPROCESSING = "p2"
"""Part of `model_id`: change it with anything that changes what the network sees."""

SHORTER_SIDE_PX = 512
LYING = (1 / 1, 9 / 8, 5 / 4, 4 / 3, 7 / 5, 3 / 2, 8 / 5, 16 / 9)
UPRIGHT = LYING[:4]
"""Longer over shorter side, of lying and of upright images."""
_TOLERANCE = 1.01
"""An image this much short of an aspect loses a line or two of its shorter side instead."""


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
