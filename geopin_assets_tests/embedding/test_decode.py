import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from geopin_assets.embedding.decode import MAX_PIXELS, PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets_tests.embedding.pictures import encoded, smooth

PICTURE = smooth(96, 64)


def reason(data: bytes) -> FailureReason:
    result = decode_image(data)
    assert isinstance(result, Failure), "decoded what it should refuse"
    return result.reason


def pixels(data: bytes, **options: tuple[int, int]) -> np.ndarray:
    result = decode_image(data, **options)
    assert not isinstance(result, Failure), result
    assert result.dtype == np.uint8 and result.ndim == 3 and result.shape[2] == 3
    return result


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", mode) for mode in ("RGB", "L", "CMYK")]
    + [("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1")]
    + [("WEBP", mode) for mode in ("RGB", "RGBA")],
)
def test_every_format_and_mode_becomes_rgb(format: str, mode: str) -> None:
    got = pixels(encoded(PICTURE, format, mode, lossless=True)).astype(float)
    want = np.asarray(Image.fromarray(PICTURE).convert(mode).convert("RGB"))
    assert got.shape == (64, 96, 3)
    assert np.abs(got - want).mean() < 2


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    gray = np.asarray(Image.fromarray(PICTURE).convert("L"))
    buffer = io.BytesIO()
    Image.fromarray(gray.astype(np.uint16) * 257).save(buffer, "PNG")
    np.testing.assert_array_equal(pixels(buffer.getvalue()), np.repeat(gray[..., None], 3, axis=2))


def test_a_progressive_jpeg_is_decoded() -> None:
    assert np.abs(pixels(encoded(PICTURE, progressive=True)).astype(float) - PICTURE).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, format, exif=exif.tobytes())
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.abs(pixels(data).astype(float) - want).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_damaged_exif_block_does_not_cost_the_image(exif: bytes) -> None:
    assert pixels(encoded(PICTURE, exif=exif)).shape == (64, 96, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_a_failure(part: float, format: str) -> None:
    data = encoded(PICTURE, format)
    assert reason(data[: int(len(data) * part)]) is FailureReason.DAMAGED


@pytest.mark.parametrize(
    "data",
    [b"", b"<html><body>503", b'{"error": 1}', b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a....", b"II*\0"],
)
def test_what_is_no_jpeg_png_or_webp_is_not_decoded(data: bytes) -> None:
    assert reason(data) is FailureReason.NOT_AN_IMAGE


def bomb_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encoded(PICTURE))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bomb_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bomb", [bomb_jpeg, bomb_png])
@pytest.mark.parametrize("size", [(16_000, 16_000), (65_000, 2_000), (10_001, 10_000)])
def test_a_decompression_bomb_is_refused_by_its_header(bomb, size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    assert reason(bomb(*size)) is FailureReason.TOO_MANY_PIXELS


def test_a_tracking_pixel_is_too_small() -> None:
    assert reason(encoded(PICTURE[:1, :1])) is FailureReason.TOO_SMALL


def test_large_jpegs_are_reduced_while_decoding_but_stay_at_least_as_large_as_asked() -> None:
    def gray(width: int, height: int) -> bytes:
        return encoded(np.full((height, width, 3), 90, np.uint8))

    assert pixels(gray(8000, 4000), at_least=PANORAMA_AT_LEAST).shape == (2000, 4000, 3)
    assert pixels(gray(5760, 2880), at_least=PANORAMA_AT_LEAST).shape[1] >= 4000
    assert pixels(gray(4500, 3000)).shape[0] >= 1024
    assert pixels(gray(1500, 1100)).shape == (1100, 1500, 3)


@given(st.data())
def test_a_flipped_byte_never_raises(data: st.DataObject) -> None:
    for whole in (encoded(PICTURE), encoded(PICTURE, "PNG"), encoded(PICTURE, "WEBP")):
        position = data.draw(st.integers(0, len(whole) - 1))
        broken = bytearray(whole)
        broken[position] ^= data.draw(st.integers(1, 255))
        result = decode_image(bytes(broken))
        assert isinstance(result, Failure) or result.shape[2] == 3
