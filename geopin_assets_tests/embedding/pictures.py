"""Pictures for the embedding tests: smooth ones, and ones encoded in every way a source may send."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def smooth(width: int, height: int, seed: int = 0) -> Pixels:
    """A smooth colorful picture, uint8 [height, width, 3]; wraps around horizontally."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    tiled = Image.fromarray(np.hstack([small, small, small])).resize((3 * width, height), Image.Resampling.BICUBIC)
    return np.asarray(tiled)[:, width : 2 * width].copy()


def encoded(pixels: Pixels, format: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    if format == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()
