"""Bytes of untrusted origin to upright RGB pixels, or the reason why not.

Here: sniffing, the gate on size in pixels, EXIF orientation. Not here: where bytes come from (`fetching.py`), the
formats (`formats.py`), and what a model wants (its own `preprocess`).
"""

import re
import struct

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.formats import Jpeg, PillowImage, Png, WebP
from geopin_assets.embedding.memory import ThreadMemory
from geopin_assets.embedding.protocol import Image

MIN_SIDE_PX = 32
"""Smaller images are tracking pixels and placeholders."""
FLAT_AT_LEAST = (1024, 1024)
PANORAMA_AT_LEAST = (4000, 2000)
"""(width, height) below which an image is not reduced while decoding: twice what the model takes for a flat
image; for panoramas 11 px per degree, 1.4 times the views' resolution (wider ones would alias when sampled)."""
MAX_ASPECT = 4
"""Of longer strips the middle is taken, which is more than any model looks at: without reducing the shorter side,
65,000 x 1,500 would stay 0.3 GB."""
WORKING_BYTES = 512 * 2**20
"""For decoding, in all threads together. What needs more is decoded alone: 0.8 GB at most, for a progressive CMYK JPEG
of 100 Mpx; 0.4 for a PNG of 100 Mpx, 0.6 for a WebP of 40."""

_memory = ThreadMemory(WORKING_BYTES)
_OTHER_IMAGES = re.compile(
    rb"GIF8|BM.{4}\0\0\0\0|II[*+]\0|MM\0[*+]|.{4}ftyp(avi[fs]|hei[cfmsx]|hev[cmsx]|mi[af]1|msf1)"
    rb"|\xff\x0a|\0\0\0\x0cJXL |\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    re.DOTALL,
)
"""GIF, BMP, TIFF, AVIF and HEIC, JPEG XL, JPEG 2000."""
_UNSUPPORTED = re.compile("nsupported|not implemented|subsampling level")
"""What simplejpeg says of 12 bits a sample, lossless coding, odd subsampling."""
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF


def decode_image(data: bytes, *, at_least: tuple[int, int] = FLAT_AT_LEAST) -> Image | Failure:
    """Decode a JPEG, PNG or WebP, reduced as long as it stays `at_least` (width, height)."""
    format_ = _format(data)
    if format_ is None:
        is_image = _OTHER_IMAGES.match(data)
        return Failure(FailureReason.UNSUPPORTED if is_image else FailureReason.NOT_AN_IMAGE, repr(data[:16]))
    try:
        image = format_(data)
        width, height = image.size
        if width * height > image.max_pixels:
            return Failure(FailureReason.TOO_MANY_PIXELS, f"{width}x{height}")
        if min(width, height) < MIN_SIDE_PX:
            return Failure(FailureReason.TOO_SMALL, f"{width}x{height}")
        with _memory.taken(image.working_bytes(at_least)):
            return _upright(_middle(image.pixels(at_least)), _orientation(image.exif))
    except DecompressionBombError as error:
        return Failure(FailureReason.TOO_MANY_PIXELS, str(error))
    except Exception as error:  # noqa: BLE001 decoders raise anything on hostile bytes; it is this image's failure only
        said = f"{type(error).__name__}: {error}"[:200]
        return Failure(FailureReason.UNSUPPORTED if _UNSUPPORTED.search(said) else FailureReason.DAMAGED, said)


def _format(data: bytes) -> type[Jpeg | PillowImage] | None:
    """By content: neither names nor headers of answers can be relied on."""
    if data.startswith(b"\xff\xd8\xff"):
        return Jpeg
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebP
    return None


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1..8; 1 where there is none or the EXIF block is damaged. Nothing else of it is looked at."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:  # cut short
        return 1
    return 1


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a strip that is too long."""
    height, width = pixels.shape[:2]
    top, left = (max(0, side - MAX_ASPECT * min(height, width)) // 2 for side in (height, width))
    return pixels[top : height - top, left : width - left]


def _upright(pixels: NDArray[np.uint8], orientation: int) -> Image:
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
