"""Photos of any kind, opened by what their first bytes say, whatever their names do; no pixel is decoded.

Here: which of Pillow's plugins a file is for; pillow-heif is loaded when the first HEIC comes. Not here: what a header
says (`read.py`), which names are looked at (`photo_folder/names.py`).
"""

from collections.abc import Callable
from io import BytesIO

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""DNG too: its first picture is a preview or the raw one, its EXIF that of the photo."""


def plugin(start: bytes) -> Callable[[BytesIO], ImageFile]:
    """What opens a file that starts so; for anything unknown the plugin for JPEG, which refuses it.

    A plugin that is called itself judges no size, and no other sees the file.
    """
    if start.startswith(b"\x89PNG\r\n"):
        return PngImageFile
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile
    if start[:4] in _TIFF:
        return TiffImageFile
    if start[4:8] == b"ftyp":
        return _avif if b"avi" in start[8 : max(16, int.from_bytes(start[:4], "big") & 0xFF)] else _heif
    return JpegImageFile


def _avif(file: BytesIO) -> ImageFile:
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile(file)


def _heif(file: BytesIO) -> ImageFile:
    from pillow_heif import HeifImageFile

    return HeifImageFile(file)
