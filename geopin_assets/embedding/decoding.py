"""Bytes of untrusted origin to upright RGB pixels, or the reason why not.

Here: sniffing, the gate on size in pixels, EXIF orientation, JPEGs (the walk over their segments, colors; simplejpeg
does the work), PNG and WebP (through Pillow). Not here: where bytes come from (`fetching.py`), the process that this
runs in (`decoders.py`), and what a model wants (its own `preprocess`). Importing this imports neither torch nor polars.

A 1024x768 JPEG takes simplejpeg 2.9 ms, Pillow 8.1 (one core). Its fast upsampling of colors would save a tenth, but
moves a preprocessed image by 0.2 levels of 255 on average. It reads progressive files, arithmetic coding, CMYK and
the first picture of a multi-picture file, and calls a file cut short what it is.
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile

from geopin_assets.embedding.protocol import Failure, FailureReason, Image

MAX_SCANS = 64
"""Progressive files have 6 to 20. Each takes the decoder a pass over the picture, however short it is: 800 scans in
a file of 300 kB took 54 s (100 Mpx)."""
MAX_PARTS = 20_000
"""Segments of a JPEG, or chunks of a PNG: 32 MB in pieces as programs write them are 4,000 at most, and empty ones took
12 s."""

_MARKER = re.compile(rb"(?>[^\xff]++|\xff++[\x00\x01\xd0-\xd8])*+\xff++([^\x00\xff])")
"""The next marker with a length, and what libjpeg skips before it. Nothing is taken back: 32 kB of FF took 19 s."""
_SCAN, _END, _APP1, _APP14 = 0xDA, 0xD9, 0xE1, 0xEE
_PROGRESSIVE = frozenset((0xC2, 0xCA))
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))
_RARE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} - _SEQUENTIAL - _PROGRESSIVE
"""Lossless or hierarchical."""
_MENDABLE = re.compile(r"subsampling level|Invalid SOS parameters|\b[1-9] extraneous bytes")
"""What simplejpeg refuses and viewers show: odd sampling of colors, and what cameras of some makes write."""


class Jpeg:
    """A JPEG that has been looked at, but not decoded. Methods raise ValueError for one that is damaged."""

    max_pixels = 100_000_000

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = (0, 0)
        self.exif = b""
        self._components = 0
        self._is_adobe = self._is_in_parts = False
        self._read_header()

    def working_bytes(self, at_least: tuple[int, int]) -> int:
        """Memory that decoding takes: what is returned, and the coefficients of a picture that comes in parts."""
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(self._data, min_width=at_least[0], min_height=at_least[1])
        except ValueError:  # Pillow may reduce it
            width, height = self.size
        per_pixel = 8 if self._is_in_parts else 0
        return self.size[0] * self.size[1] * per_pixel + int(height) * int(width) * (16 if self._is_cmyk else 3)

    def pixels(self, at_least: tuple[int, int], into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """RGB, uint8 [h, w, 3], reduced while decoding as long as it stays `at_least` (width, height)."""
        if self._is_in_parts and self._has_too_many_scans():
            raise ValueError(f"unsupported: more than {MAX_SCANS} scans")
        try:
            return self._by_simplejpeg(at_least, into)
        except ValueError as error:
            if not _MENDABLE.search(str(error)):
                raise
        return self._by_pillow(at_least)

    def _by_simplejpeg(self, at_least: tuple[int, int], into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        size = {"min_width": at_least[0], "min_height": at_least[1]}
        if not self._is_cmyk:
            return simplejpeg.decode_jpeg(self._data, colorspace="RGB", buffer=into, **size)
        light = simplejpeg.decode_jpeg(self._data, colorspace="CMYK", **size)
        light = light if self._is_adobe else ~light  # Adobe's programs, and so nearly all, store light, not ink
        return (light[..., :3].astype(np.uint16) * light[..., 3:] // 255).astype(np.uint8)

    def _by_pillow(self, at_least: tuple[int, int]) -> NDArray[np.uint8]:
        """Slower, and it says only of missing bytes that they are missing."""
        with JpegImagePlugin.JpegImageFile(io.BytesIO(self._data)) as image:
            image.draft("RGB", at_least)
            return np.asarray(_rgb(image))

    @property
    def _is_cmyk(self) -> bool:
        return self._components == 4

    def _read_header(self) -> None:
        """The segments up to the first scan."""
        for kind, start, end in _segments(self._data):
            if kind in _RARE:
                raise ValueError(f"unsupported: frame {kind:X}")
            if kind in _SEQUENTIAL | _PROGRESSIVE and start + 5 < end:
                height, width, self._components = struct.unpack_from(">HHB", self._data, start + 1)
                self.size, self._is_in_parts = (width, height), kind in _PROGRESSIVE
            elif kind == _APP1 and not self.exif and self._data.startswith(b"Exif\0\0", start):
                self.exif = self._data[start:end]
            elif kind == _APP14 and self._data.startswith(b"Adobe", start):
                self._is_adobe = True
            elif kind == _SCAN and self._components:
                self._is_in_parts |= self._data[start:end][:1] != bytes([self._components])
                return
        raise ValueError("cut short before the picture begins")

    def _has_too_many_scans(self) -> bool:
        """Counting bytes is 30 times as fast as the walk, and counts too many: a video behind the picture, say."""
        if self._data.count(b"\xff\xda") <= MAX_SCANS:
            return False
        return sum(kind == _SCAN for kind, _, _ in _segments(self._data)) > MAX_SCANS


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of every segment up to the end of the picture, found as libjpeg finds them."""
    position = 2
    for _ in range(MAX_PARTS):
        marker = _MARKER.match(data, position)
        if marker is None or (kind := marker[1][0]) == _END:
            return
        start = marker.end() + 2
        position = marker.end() + int.from_bytes(data[marker.end() : start], "big")
        yield kind, start, position
    raise ValueError(f"unsupported: more than {MAX_PARTS} segments")


_STRIP_PX = 4_000_000


class PillowImage:
    """A file whose header has been read. Methods raise anything for one that is damaged."""

    max_pixels: ClassVar[int]
    bytes_per_pixel: ClassVar[int]
    plugin: ClassVar[type[ImageFile]]
    """Opening through the plugin skips Pillow's own warning about large images."""

    def __init__(self, data: bytes) -> None:
        self._image = self.plugin(io.BytesIO(data))
        self.size = self._image.size

    @property
    def exif(self) -> bytes:
        """As it is in the file; a PNG may have it behind the pixels."""
        return self._image.info.get("exif", b"")

    def working_bytes(self, at_least: tuple[int, int]) -> int:
        """Memory that decoding takes."""
        return self.size[0] * self.size[1] * self.bytes_per_pixel

    def pixels(self, at_least: tuple[int, int], into: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """RGB, uint8 [h, w, 3], reduced as long as it stays `at_least` (width, height); in memory of its own.

        In strips: converted and reduced as a whole, a PNG of 100 Mpx took 1.3 GB, now 0.4.
        """
        self._image.load()
        self._image.info.pop("transparency", None)  # of a palette: Pillow warns when it is left out
        width, height = self.size
        factor = max(1, min(width // at_least[0], height // at_least[1]))
        rows = max(1, _STRIP_PX // width // factor) * factor
        strips = (self._image.crop((0, top, width, min(top + rows, height))) for top in range(0, height, rows))
        return np.concatenate([np.asarray(_rgb(strip).reduce(factor)) for strip in strips])


class Png(PillowImage):
    """A PNG; of an animated one the picture that viewers without animation show."""

    max_pixels = 100_000_000
    bytes_per_pixel = 4
    plugin = PngImagePlugin.PngImageFile

    def __init__(self, data: bytes) -> None:
        position = 8
        for _ in range(MAX_PARTS):
            length, kind = data[position : position + 4], data[position + 4 : position + 8]
            if kind in (b"IEND", b""):
                break
            position += 12 + int.from_bytes(length, "big")
        else:
            raise ValueError(f"unsupported: more than {MAX_PARTS} chunks")
        super().__init__(data)


class WebP(PillowImage):
    """A WebP; of an animated one the first frame. Pillow decodes all of them as animations, in four copies."""

    max_pixels = 40_000_000
    bytes_per_pixel = 16
    plugin = WebPImagePlugin.WebPImageFile


def _rgb(image: Pillow.Image) -> Pillow.Image:
    """Without transparency, 8 bits a sample; 16-bit gray is scaled, where Pillow would clip."""
    if image.mode.startswith("I"):
        image = Pillow.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    return image.convert("RGB")


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


_OTHER_IMAGES = re.compile(
    rb"GIF8|BM.{4}\0\0\0\0|II[*+]\0|MM\0[*+]|.{4}ftyp(avi[fs]|hei[cfmsx]|hev[cmsx]|mi[af]1|msf1)"
    rb"|\xff\x0a|\0\0\0\x0cJXL |\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    re.DOTALL,
)
"""GIF, BMP, TIFF, AVIF and HEIC, JPEG XL, JPEG 2000."""
_MEANINGS = (
    (re.compile("nsupported|not implemented"), FailureReason.UNSUPPORTED),
    (re.compile("nsufficient memory"), FailureReason.TOO_COSTLY),
)
"""What simplejpeg says of 12 bits a sample, and of memory that it does not get."""
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF


def decode_image(
    data: bytes,
    *,
    at_least: tuple[int, int] = FLAT_AT_LEAST,
    into: NDArray[np.uint8] | None = None,
    reserve: Callable[[int], None] = lambda _: None,
) -> Image | Failure:
    """Decode a JPEG, PNG or WebP, reduced as long as it stays `at_least` (width, height).

    `into`: memory that the pixels may be put in. `reserve` is told how many bytes decoding takes before it begins.
    """
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
