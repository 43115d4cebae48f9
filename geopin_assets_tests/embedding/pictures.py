"""Pictures for the embedding tests: smooth ones, ones encoded in every way a source may send, and ones that lie."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def smooth(width: int, height: int, seed: int = 0) -> Pixels:
    """A smooth colorful picture, uint8 [height, width, 3]; wraps around horizontally."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    tiled = Image.fromarray(np.hstack([small, small, small]))
    return np.array(tiled.resize((width, height), Image.Resampling.BICUBIC, box=(8, 0, 16, 6)))


def encoded(pixels: Pixels, format: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    if format == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def patched_jpeg(data: bytes, *, frame: int = 0xC0, bits: int = 8) -> bytes:
    """A baseline JPEG that says it is coded in another way, or with more bits a sample."""
    start = data.index(b"\xff\xc0")
    return data[: start + 1] + bytes([frame]) + data[start + 2 : start + 4] + bytes([bits]) + data[start + 5 :]


def gray_jpeg(width: int, height: int, scans: int = 0) -> bytes:
    """A valid JPEG of one gray, 2 bits for 64 pixels; with `scans` a progressive one of so many, 850 at most."""
    blocks = -(-width // 8) * -(-height // 8)
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    start = b"\xff\xd8" + jpeg_segment(0xDB, b"\0" + b"\1" * 64) + jpeg_segment(0xC2 if scans else 0xC0, frame)
    only_code = b"\1" + bytes(15)  # "0", and it means …
    tables = jpeg_segment(0xC4, b"\0" + only_code + b"\0") + jpeg_segment(
        0xC4, b"\x10" + only_code + (b"\xe0" if scans else b"\0")
    )  # … "as before"; "nothing more in this block" or "in 2**14 blocks and the number that follows"
    if not scans:
        return start + tables + jpeg_segment(0xDA, b"\1\1\0\0\x3f\0") + bytes(blocks // 4 + 1) + b"\xff\xd9"
    bits = ("0" + "1" * 14) * (blocks // (2**15 - 1) + 1)
    bits += "1" * (-len(bits) % 8)
    nothing = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    data = start + tables + jpeg_segment(0xDA, b"\1\1\0\0\0\0") + bytes(blocks // 8 + 1)
    for i in range(scans - 1):
        band, low = i % 63 + 1, 13 - i // 63
        high = 0 if low == 13 else low + 1
        data += jpeg_segment(0xDA, bytes([1, 1, 0, band, band, high << 4 | low])) + nothing
    return data + b"\xff\xd9"


def black_png(width: int, height: int, *, bits: int = 8, colors: int = 0, extra: bytes = b"") -> bytes:
    """A valid PNG of zeros, a thousandth of its size in memory; `extra`: more chunks in front of the pixels."""
    row_bytes = 1 + -(-width * bits * {0: 1, 2: 3}[colors] // 8)
    compress = zlib.compressobj(1)
    pixels = b"".join(compress.compress(bytes(row_bytes)) for _ in range(height)) + compress.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def large_webp(width: int, height: int) -> bytes:
    """An animated WebP whose only frame is small on a large canvas."""

    def three_bytes(*numbers: int) -> bytes:
        return b"".join(struct.pack("<I", number)[:3] for number in numbers)

    frame = encoded(smooth(64, 48), "WEBP", lossless=True)[12:]
    chunks = (
        webp_chunk(b"VP8X", b"\2\0\0\0" + three_bytes(width - 1, height - 1))
        + webp_chunk(b"ANIM", bytes(6))
        + webp_chunk(b"ANMF", three_bytes(0, 0, 63, 47, 100) + b"\0" + frame)
    )
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks
