"""Images in other formats than JPEG: Pillow does the work, libheif for HEIC.

Here: what each takes, and strips. Not here: which format some bytes are of (`decoding.py`). HEIC's library is imported
with the first image that needs it.
"""

import io
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

MAX_CHUNKS = 20_000
"""Of a PNG: 32 MB in pieces as programs write them are 4,000 at most."""
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
        return self._image.info.get("exif") or b""

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
        for _ in range(MAX_CHUNKS):
            length, kind = data[position : position + 4], data[position + 4 : position + 8]
            if kind in (b"IEND", b""):
                break
            position += 12 + int.from_bytes(length, "big")
        else:
            raise ValueError(f"unsupported: more than {MAX_CHUNKS} chunks")
        super().__init__(data)


class WebP(PillowImage):
    """A WebP; of an animated one the first frame. Pillow decodes all of them as animations, in four copies."""

    max_pixels = 40_000_000
    bytes_per_pixel = 16
    plugin = WebPImagePlugin.WebPImageFile


class Avif(PillowImage):
    """An AVIF; of a sequence the first image."""

    max_pixels = 50_000_000
    bytes_per_pixel = 16
    plugin = AvifImagePlugin.AvifImageFile


class Tiff(PillowImage):
    """A TIFF, its first page."""

    max_pixels = 50_000_000
    bytes_per_pixel = 16
    plugin = TiffImagePlugin.TiffImageFile


def heic(data: bytes) -> PillowImage:
    """A HEIC, its main image, upright already."""
    from pillow_heif import HeifImageFile

    class Heic(PillowImage):
        max_pixels = 50_000_000
        bytes_per_pixel = 16
        plugin = HeifImageFile

    return Heic(data)


def _rgb(image: Pillow.Image) -> Pillow.Image:
    """Without transparency, 8 bits a sample; 16-bit gray is scaled, where Pillow would clip."""
    if image.mode.startswith("I"):
        image = Pillow.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    return image.convert("RGB")
