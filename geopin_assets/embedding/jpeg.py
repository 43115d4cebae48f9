"""A JPEG from anywhere: looked at by its segments, then decoded as far as viewers do.

Here: the walk over segments, what is too costly, colors; simplejpeg does the work. Not here: other formats, or the gate
on size.

A 1024x768 JPEG takes simplejpeg 2.9 ms, Pillow 8.1 (one core). Its fast upsampling of colors would save a tenth, but
moves a preprocessed image by 0.2 levels of 255 on average. It reads progressive files, arithmetic coding, CMYK and
the first picture of a multi-picture file, and calls a file cut short what it is.
"""

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import JpegImagePlugin

MAX_SCANS = 64
"""Progressive files have 6 to 20. Each takes the decoder a pass over the picture, however short it is: 800 scans in
a file of 300 kB took 54 s (100 Mpx)."""
MAX_SEGMENTS = 20_000
"""32 MB in pieces as programs write them are 4,000 at most, and empty ones took 12 s."""

_MARKER = re.compile(rb"(?>[^\xff]++|\xff++[\x00\x01\xd0-\xd8])*+\xff++([^\x00\xff])")
"""The next marker with a length, and what libjpeg skips before it. Nothing is taken back: 32 kB of FF took 19 s."""
_SCAN, _END, _APP1, _APP14 = 0xDA, 0xD9, 0xE1, 0xEE
_EOI = bytes([0xFF, _END])
_PROGRESSIVE = frozenset((0xC2, 0xCA))
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))
_FRAMES = _SEQUENTIAL | _PROGRESSIVE
_RARE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} - _FRAMES
"""Lossless or hierarchical."""
_END_MISSING, _DATA_MISSING = "Premature end of JPEG file", "premature end of data"
"""What simplejpeg says of a file that stops before its end, and of one that has an end, but less before it."""

_MAY_LACK = 20
"""Rows of so many."""


class Jpeg:
    """A JPEG that has been looked at, but not decoded. Methods raise ValueError for one that is damaged."""

    max_pixels = 100_000_000

    def __init__(self, data: bytes, *, most_segments: int = MAX_SEGMENTS) -> None:
        self._data, self._most = data, most_segments
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
            if _END_MISSING in str(error):  # with all that comes before it there, no pixel is
                self._data += _EOI
                return self._by_simplejpeg(at_least, into)
            return self._as_viewers_do(at_least, into, error)

    def _as_viewers_do(
        self, at_least: tuple[int, int], into: NDArray[np.uint8] | None, error: ValueError
    ) -> NDArray[np.uint8]:
        """What libjpeg only warns of, and sampling of colors that TurboJPEG has no name for.

        A bit that flipped may use up more data than there is: a row or two in one color. Much more is missing data.
        """
        if not self._has_end():
            raise error
        try:
            pixels = self._by_simplejpeg(at_least, into, strict=False)
            if _DATA_MISSING in str(error) and (pixels[-len(pixels) // _MAY_LACK - 1 :] == pixels[-1, -1]).all():
                raise error
            return pixels
        except ValueError:
            if _DATA_MISSING in str(error):
                raise
        try:
            return self._by_pillow(at_least)
        except (OSError, SyntaxError) as other:
            raise error from other

    def _by_simplejpeg(
        self, at_least: tuple[int, int], into: NDArray[np.uint8] | None, *, strict: bool = True
    ) -> NDArray[np.uint8]:
        how = {"min_width": at_least[0], "min_height": at_least[1], "strict": strict}
        if not self._is_cmyk:
            return simplejpeg.decode_jpeg(self._data, colorspace="RGB", buffer=into, **how)
        light = simplejpeg.decode_jpeg(self._data, colorspace="CMYK", **how)
        light = light if self._is_adobe else ~light  # Adobe's programs, and so nearly all, store light, not ink
        return (light[..., :3].astype(np.uint16) * light[..., 3:] // 255).astype(np.uint8)

    def _by_pillow(self, at_least: tuple[int, int]) -> NDArray[np.uint8]:
        """Slower, and it says only of missing bytes that they are missing."""
        with JpegImagePlugin.JpegImageFile(io.BytesIO(self._data)) as image:
            image.draft("RGB", at_least)
            return np.asarray(image.convert("RGB"))

    @property
    def _is_cmyk(self) -> bool:
        return self._components == 4

    def _read_header(self) -> None:
        """The segments up to the first scan."""
        for kind, start, end in _segments(self._data, self._most):
            if kind in _RARE:
                raise ValueError(f"unsupported: frame {kind:X}")
            if kind in _FRAMES and start + 5 < end:
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

    def _has_end(self) -> bool:
        return any(kind == _END for kind, _, _ in _segments(self._data, self._most))

    def _has_too_many_scans(self) -> bool:
        """Counting bytes is 30 times as fast as the walk, and counts too many: a video behind the picture, say."""
        if self._data.count(b"\xff\xda") <= MAX_SCANS:
            return False
        return sum(kind == _SCAN for kind, _, _ in _segments(self._data, self._most)) > MAX_SCANS


def _segments(data: bytes, most: int) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of every segment up to that which ends the picture, found as libjpeg finds them."""
    position = 2
    for _ in range(most):
        marker = _MARKER.match(data, position)
        if marker is None:
            return
        kind, start = marker[1][0], marker.end() + 2
        position = marker.end() + int.from_bytes(data[marker.end() : start], "big")
        yield kind, start, position
        if kind == _END:
            return
    raise ValueError(f"unsupported: more than {most} segments")
