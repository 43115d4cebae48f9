"""Bytes of untrusted origin to upright RGB pixels, or the reason why not.

Here: sniffing, the gate on size in pixels, EXIF orientation, the preview of a DNG. Not here: the formats (`jpeg.py`,
`pillow_formats.py`), where bytes come from (`fetching.py`), the process that this runs in (`decoders.py`), and what a
model wants (its own `preprocess`). Importing this imports neither torch nor polars.
"""

import math
import re
import struct
from collections.abc import Callable
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from geopin_assets.embedding.jpeg import Jpeg
from geopin_assets.embedding.pillow_formats import Avif, PillowImage, Png, Tiff, WebP, heic
from geopin_assets.embedding.protocol import Failure, FailureReason, Image

MIN_SIDE_PX = 32
"""Smaller images are tracking pixels and placeholders."""
FLAT_AT_LEAST = (1024, 1024)
PANORAMA_AT_LEAST = (4000, 2000)
"""(width, height) below which an image is not reduced while decoding, for a model that sees 512 pixels: twice that for
a flat image; for panoramas 11 px per degree, 1.4 times the views' resolution (wider ones would alias when sampled)."""
_SIDE_PX = 512
MAX_ASPECT = 4
"""Of longer strips the middle is taken, which is more than any model looks at: without reducing the shorter side,
65,000 x 1,500 would stay 0.3 GB."""


def needed_px(side_px: int, is_pano: bool) -> tuple[int, int]:
    """(width, height) that a model needs of an image, by the side of what it sees."""
    width, height = PANORAMA_AT_LEAST if is_pano else FLAT_AT_LEAST
    return width * side_px // _SIDE_PX, height * side_px // _SIDE_PX


_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Jpeg | PillowImage]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), Jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), Png),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebP),
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), Avif),
    (re.compile(rb".{4}ftyp(?:hei[cfmsx]|hev[cmsx]|mi[af]1|msf1)", re.DOTALL), heic),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), lambda data: _tiff(data)),
)
"""By content: neither names nor headers of answers can be relied on."""
_OTHER_IMAGES = re.compile(rb"GIF8|BM.{4}\0\0\0\0|\xff\x0a|\0\0\0\x0cJXL |\0\0\0\x0cjP  |\xff\x4f\xff\x51", re.DOTALL)
"""GIF, BMP, JPEG XL, JPEG 2000."""
_MEANINGS = (
    (re.compile("nsupported|not implemented"), FailureReason.UNSUPPORTED),
    (re.compile("nsufficient memory"), FailureReason.TOO_COSTLY),
)
"""What simplejpeg says of 12 bits a sample, and of memory that it does not get."""
_ORIENTATION, _SHORT, _DNG_VERSION = 0x0112, 3, 0xC612
_MOST_TILES, _HEADER_BYTES, _HEADER_SEGMENTS = 2_000, 64 * 2**10, 100
"""Raw images come as some hundred tiles, each a lossless JPEG."""


def decode_image(
    data: bytes,
    *,
    at_least: tuple[int, int] = FLAT_AT_LEAST,
    into: NDArray[np.uint8] | None = None,
    reserve: Callable[[int], None] = lambda _: None,
) -> Image | Failure:
    """Decode an image, reduced as long as it stays `at_least` (width, height).

    `into`: memory that the pixels may be put in. `reserve` is told how many bytes decoding takes before it begins.
    """
    open_ = next((open_ for magic, open_ in _FORMATS if magic.match(data)), None)
    if open_ is None:
        is_image = _OTHER_IMAGES.match(data)
        return Failure(FailureReason.UNSUPPORTED if is_image else FailureReason.NOT_AN_IMAGE, repr(data[:16]))
    try:
        image = open_(data)
        width, height = image.size
        if width * height > image.max_pixels:
            return Failure(FailureReason.TOO_MANY_PIXELS, f"{width}x{height}")
        if min(width, height) < MIN_SIDE_PX:
            return Failure(FailureReason.TOO_SMALL, f"{width}x{height}")
        reserve(image.working_bytes(at_least))
        return _upright(_middle(image.pixels(at_least, into)), _orientation(image.exif))
    except DecompressionBombError as error:
        return Failure(FailureReason.TOO_MANY_PIXELS, str(error))
    except MemoryError:
        return Failure(FailureReason.TOO_COSTLY, "decoding takes more memory than an image may")
    except Exception as error:  # noqa: BLE001 decoders raise anything on hostile bytes; it is this image's failure only
        said = f"{type(error).__name__}: {error}"[:200]
        meant = (reason for words, reason in _MEANINGS if words.search(said))
        return Failure(next(meant, FailureReason.DAMAGED), said)


def _tiff(data: bytes) -> Jpeg | PillowImage:
    """A TIFF, or the largest preview in a DNG, whose raw image nothing here develops."""
    if _entry(data, _DNG_VERSION) is None:
        return Tiff(data)
    starts = islice((found.start() for found in re.finditer(rb"\xff\xd8\xff", data)), _MOST_TILES)
    pixels, start = max(((_preview_px(data[start : start + _HEADER_BYTES]), start) for start in starts), default=(0, 0))
    if not pixels:
        raise ValueError("unsupported: a DNG without a preview")
    preview = Jpeg(data[start:])
    preview.exif = data
    return preview


def _preview_px(header: bytes) -> int:
    """How many pixels a JPEG that begins so has; 0 for a lossless one, which is raw, and for none."""
    try:
        return math.prod(Jpeg(header, most_segments=_HEADER_SEGMENTS).size)
    except ValueError:
        return 0


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1..8; 1 where there is none or the EXIF block is damaged. Nothing else of it is looked at."""
    kind, value = _entry(exif.removeprefix(b"Exif\0\0"), _ORIENTATION) or (0, 1)
    return value if kind == _SHORT and 1 <= value <= 8 else 1


def _entry(tiff: bytes, wanted: int) -> tuple[int, int] | None:
    """Type and first number of an entry of a TIFF's first directory."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == wanted:
                return kind, value
    except struct.error:  # cut short
        return None
    return None


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
