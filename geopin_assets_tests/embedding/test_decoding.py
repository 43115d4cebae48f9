import base64
import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from geopin_assets.embedding.decoding import MAX_ASPECT, PANORAMA_AT_LEAST, decode_image
from geopin_assets.embedding.jpeg import MAX_SCANS, MAX_SEGMENTS, Jpeg
from geopin_assets.embedding.pillow_formats import Png, WebP
from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets_tests.embedding.pictures import (
    black_png,
    encoded,
    gray_jpeg,
    jpeg_segment,
    large_webp,
    patched_jpeg,
    png_chunk,
    smooth,
)

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


def oriented(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    return image


LOSSLESS = {
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "HEIF": {"quality": 100, "chroma": 444},
}
pillow_heif.register_heif_opener()  # encodes them, too


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", mode) for mode in ("RGB", "L", "CMYK")]
    + [("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1")]
    + [("WEBP", mode) for mode in ("RGB", "RGBA")]
    + [("TIFF", mode) for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1")]
    + [("AVIF", "RGB"), ("AVIF", "RGBA"), ("HEIF", "RGB"), ("HEIF", "L")],
)
def test_every_format_and_mode_becomes_rgb(format: str, mode: str) -> None:
    got = pixels(encoded(PICTURE, format, mode, **LOSSLESS.get(format, {}))).astype(float)
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
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, format, exif=exif.tobytes())
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    upright = np.asarray(ImageOps.exif_transpose(oriented(Image.fromarray(PICTURE), orientation)))
    assert np.abs(pixels(data).astype(float) - want).max() <= 3
    assert np.abs(want.astype(float) - upright).mean() < 6, "Pillow itself"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("position", [0, 40])
def test_the_orientation_is_found_in_either_byte_order_and_behind_other_entries(order: str, position: int) -> None:
    others = struct.pack(f"{order}HHII", 0x0100, 4, 1, 0) * position
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    exif = mark + struct.pack(f"{order}IH", 8, position + 1) + others + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    assert pixels(encoded(PICTURE, exif=b"Exif\0\0" + exif)).shape == (96, 64, 3)


DIRECTORY_OF_65535 = b"II*\0\x08\0\0\0\xff\xff"


@pytest.mark.parametrize(
    "exif",
    [
        *(b"garbage", b"II*\0\xff\xff\xff\xff", b"", b"II*\0", DIRECTORY_OF_65535, DIRECTORY_OF_65535 + bytes(60_000)),
        b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0",  # orientation 9
        b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\x06\0\0\0",  # orientation as text
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_does_not_cost_the_image(exif: bytes, format: str) -> None:
    assert pixels(encoded(PICTURE, format, exif=b"Exif\0\0" + exif)).shape == (64, 96, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_truncated_image_is_a_failure(part: float, format: str) -> None:
    data = encoded(PICTURE, format)
    assert reason(data[: int(len(data) * part)]) is FailureReason.DAMAGED


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"<html><body>503", b'{"error": 1}', b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7"),
        *(b"<!DOCTYPE html>" + encoded(PICTURE), b"PK\3\4" + encoded(PICTURE), b"\x1f\x8b\x08", b"\xff\xd8", b"BMW"),
    ],
)
def test_what_does_not_begin_like_an_image_is_none(data: bytes) -> None:
    assert reason(data) is FailureReason.NOT_AN_IMAGE


@pytest.mark.parametrize("format", ["GIF", "BMP", "JPEG2000"])
def test_an_image_in_another_format_is_unsupported_and_not_asked_for_again(format: str) -> None:
    """An error page is; it may be gone the next time."""
    got = reason(encoded(PICTURE, format))
    assert got is FailureReason.UNSUPPORTED and not got.is_transient
    assert FailureReason.NOT_AN_IMAGE.is_transient


@pytest.mark.parametrize(
    "data",
    [
        patched_jpeg(encoded(PICTURE), bits=12),
        patched_jpeg(encoded(PICTURE), frame=0xC1, bits=12),
        patched_jpeg(encoded(PICTURE), frame=0xC3),
        patched_jpeg(encoded(PICTURE), frame=0xC5),
        encoded(PICTURE)[:2] + jpeg_segment(0xFE, b"") * (MAX_SEGMENTS + 1) + encoded(PICTURE)[2:],
        gray_jpeg(400, 300, MAX_SCANS + 1),
    ],
    ids=["12 bits", "12 bits, extended", "lossless", "hierarchical", "too many segments", "too many scans"],
)
def test_a_jpeg_of_a_rare_kind_is_unsupported_and_not_asked_for_again(data: bytes) -> None:
    got = reason(data)
    assert got is FailureReason.UNSUPPORTED and not got.is_transient


def test_an_arithmetic_coded_jpeg_is_decoded() -> None:
    want = pixels(encoded(smooth(40, 40), mode="L", quality=20)).astype(float)
    assert np.abs(pixels(ARITHMETIC) - want).mean() < 1


def test_scans_that_are_no_scans_of_the_picture_do_not_count() -> None:
    """A phone's motion photo has a video behind the picture, in which any bytes may occur."""
    video = b"\xff\xda" * 1_000
    assert pixels(encoded(PICTURE, progressive=True) + video).shape == (64, 96, 3)
    assert pixels(gray_jpeg(400, 300, MAX_SCANS) + video).shape == (300, 400, 3)


@pytest.mark.parametrize("is_adobe", [True, False])
def test_cmyk_is_light_or_ink_as_the_file_says(is_adobe: bool) -> None:
    data = encoded(PICTURE, mode="CMYK")
    assert b"Adobe" in data[:20]  # as every program does
    got = pixels(data if is_adobe else data.replace(b"Adobe", b"Other", 1)).astype(float)
    ink = np.asarray(Image.fromarray(PICTURE).convert("CMYK")).astype(float)
    ink = ink if is_adobe else 255 - ink
    want = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert np.abs(got - want).mean() < 2


def test_of_a_multi_picture_jpeg_the_first_is_taken() -> None:
    both = io.BytesIO()
    Image.fromarray(PICTURE).save(both, "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))], quality=95)
    assert np.abs(pixels(both.getvalue()).astype(float) - PICTURE).mean() < 4


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = io.BytesIO()
    Image.fromarray(PICTURE).save(
        frames, format, save_all=True, append_images=[Image.new("RGB", (96, 64))] * 3, lossless=True
    )
    np.testing.assert_array_equal(pixels(frames.getvalue()), PICTURE)


def test_transparency_in_a_palette_is_left_out() -> None:
    palette = Image.fromarray(PICTURE).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    data = io.BytesIO()
    palette.save(data, "PNG", transparency=bytes([0, 128, 255] * 5))
    np.testing.assert_array_equal(pixels(data.getvalue()), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("tail", [b"PK\3\4" + bytes(2_000), b"<html><script>alert(1)</script>", encoded(PICTURE)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_what_is_appended_to_an_image_is_not_looked_at(format: str, tail: bytes) -> None:
    data = encoded(PICTURE, format)
    np.testing.assert_array_equal(pixels(data + tail), pixels(data))


def test_a_large_thumbnail_in_the_exif_is_not_taken_for_the_picture() -> None:
    thumbnail = encoded(smooth(160, 120, seed=1))
    segment = jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + thumbnail + bytes(65_000 - len(thumbnail)))
    data = encoded(PICTURE)
    np.testing.assert_array_equal(pixels(data[:2] + segment * 100 + data[2:]), pixels(data))


@pytest.mark.parametrize(
    "chunk",
    [png_chunk(kind, b"x\0" + flags + zlib.compress(bytes(16 * 2**20))) for kind, flags in
     ((b"zTXt", b"\0"), (b"iCCP", b"\0"), (b"iTXt", b"\1\0\0\0"))],
    ids=["zTXt", "iCCP", "iTXt"],
)  # fmt: skip
def test_metadata_that_unpacks_to_too_much_is_a_failure(chunk: bytes) -> None:
    assert reason(black_png(64, 64, extra=chunk)) is FailureReason.DAMAGED


@pytest.mark.parametrize(
    "bomb",
    [gray_jpeg, lambda width, height: gray_jpeg(width, height, 10), lambda *size: black_png(*size, bits=1)],
    ids=["JPEG", "progressive JPEG", "PNG"],
)
@pytest.mark.parametrize("size", [(16_000, 16_000), (65_000, 2_000), (10_001, 10_000)])
def test_a_decompression_bomb_is_refused_by_its_header(bomb, size: tuple[int, int]) -> None:
    assert size[0] * size[1] > Jpeg.max_pixels == Png.max_pixels
    assert reason(bomb(*size)) is FailureReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("size", [(16_000, 16_000), (10_001, 4_000)])
def test_a_webp_may_have_fewer_pixels_as_it_takes_more_memory(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > WebP.max_pixels
    assert reason(large_webp(*size)) is FailureReason.TOO_MANY_PIXELS


def test_a_second_header_does_not_get_past_the_gate() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    assert reason(black_png(64, 64, extra=header)) is FailureReason.TOO_MANY_PIXELS


def test_a_tracking_pixel_is_too_small() -> None:
    assert reason(encoded(PICTURE[:1, :1])) is FailureReason.TOO_SMALL


def test_large_jpegs_are_reduced_while_decoding_but_stay_at_least_as_large_as_asked() -> None:
    assert pixels(gray_jpeg(8000, 4000), at_least=PANORAMA_AT_LEAST).shape == (2000, 4000, 3)
    assert pixels(gray_jpeg(5760, 2880), at_least=PANORAMA_AT_LEAST).shape[1] >= 4000
    assert pixels(gray_jpeg(4500, 3000)).shape[0] >= 1024
    assert pixels(gray_jpeg(1500, 1100)).shape == (1100, 1500, 3)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_other_formats_are_reduced_too(format: str, mode: str) -> None:
    picture = smooth(250, 210)
    got = pixels(encoded(picture, format, mode, lossless=True), at_least=(100, 100)).astype(float)
    want = np.asarray(Image.fromarray(picture).convert(mode).convert("RGB").reduce(2)).astype(float)
    assert got.shape == want.shape == (105, 125, 3)
    assert np.abs(got - want).max() <= 1


def test_strips_are_read_to_the_last_row() -> None:
    rows = np.repeat(np.arange(4_001, dtype=np.uint16)[:, None] % 251, 2_003, axis=1).astype(np.uint8)
    data = encoded(np.repeat(rows[..., None], 3, axis=2), "PNG")
    np.testing.assert_array_equal(pixels(data, at_least=(2_000, 2_000))[..., 0], rows)
    assert pixels(data, at_least=(1_000, 2_000)).shape == (2_001, 1_002, 3)


@pytest.mark.parametrize(("width", "height"), [(9_000, 100), (100, 9_000)])
def test_of_a_long_strip_the_middle_is_taken(width: int, height: int) -> None:
    got = pixels(gray_jpeg(width, height))
    assert got.shape == ((100, 100 * MAX_ASPECT, 3) if width > height else (100 * MAX_ASPECT, 100, 3))


@given(st.data())
def test_a_flipped_byte_never_raises(data: st.DataObject) -> None:
    for whole in (encoded(PICTURE), encoded(PICTURE, "PNG"), encoded(PICTURE, "WEBP")):
        position = data.draw(st.integers(0, len(whole) - 1))
        broken = bytearray(whole)
        broken[position] ^= data.draw(st.integers(1, 255))
        result = decode_image(bytes(broken))
        assert isinstance(result, Failure) or result.shape[2] == 3


ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71"
    "////m8H////6/+b9//j/yQALCAAoACgBAREA/8wABgAQEAX/2gAIAQEAAD8AzrN8anonRJfdueDfNrzebv8ANXAgzcvNZaBbG2WM"
    "+D0rUAU7Pt3YonMEC9Y2n6t3HDyZtbj50sxXG312QI0Bqj8kqfz8dOoB1ojs1Ir/AMP+GxcZH61CbLeWwqZnjqFthbBaJiUPAqg/"
    "A/8AB7SJIoD/2Q=="
)
"""`encoded(smooth(40, 40), mode="L", quality=20)` as `jpegtran -arithmetic` of libjpeg-turbo 2.1.5 writes it."""


def dng(*previews: bytes, orientation: int = 1, tiles: int = 3) -> bytes:
    """A DNG as converters lay it out: a thumbnail's directory in front, raw tiles in lossless JPEG, then previews."""
    raw = encoded(PICTURE).replace(b"\xff\xc0", b"\xff\xc3", 1)
    tags = [(0x0112, 3, 1, orientation), (0xC612, 1, 4, 0x0401)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0\x08\0\0\0" + directory + raw * tiles + bytes(1_000) + b"".join(previews) + bytes(50)


def test_of_a_dng_the_largest_preview_is_taken_upright() -> None:
    small, large = encoded(smooth(48, 32, 1)), encoded(PICTURE)
    for data in (dng(small, large), dng(large, small), dng(large, small, tiles=300)):
        np.testing.assert_array_equal(pixels(data), pixels(large))
    np.testing.assert_array_equal(pixels(dng(large, orientation=6)), np.rot90(pixels(large), -1))
    assert reason(dng()) is FailureReason.UNSUPPORTED


BASE = encoded(smooth(640, 480), quality=90)
RESTARTS = encoded(smooth(640, 480), quality=90, restart_marker_blocks=16)


def before(data: bytes, mark: bytes, put: bytes) -> bytes:
    return data.replace(mark, put + mark, 1)


def of_scan(first: int, last: int, bits: int) -> bytes:
    start = BASE.index(b"\xff\xda")
    end = start + 2 + int.from_bytes(BASE[start + 2 : start + 4], "big")
    return BASE[: end - 3] + bytes([first, last, bits]) + BASE[end:]


@pytest.mark.parametrize(
    "data",
    [
        *(of_scan(0, 0, 0), of_scan(0, 62, 0), of_scan(1, 63, 0)),
        *(before(BASE, b"\xff\xdb", bytes(size)) for size in (2, 12, 3_000)),
        *(before(RESTARTS, b"\xff\xd1", b"\x12\x34" * size) for size in (1, 20)),
        *(before(BASE, b"\xff\xd9", bytes(size)) for size in (2, 512)),
        BASE.removesuffix(b"\xff\xd9"),
        BASE.replace(b"JFIF\0\1\1", b"JFIF\0\7\7", 1),
        before(BASE, b"\xff\xdb", jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")),
        before(BASE, b"\xff\xdb", jpeg_segment(0xE2, b"ICC_PROFILE\0\5\2" + bytes(40))),
    ],
)  # fmt: skip
def test_what_libjpeg_only_warns_of_is_the_picture_that_viewers_show(data: bytes) -> None:
    shown = np.asarray(Image.open(io.BytesIO(BASE)).convert("RGB"))
    np.testing.assert_array_equal(pixels(data), shown)


def test_bits_that_flipped_cost_what_follows_and_not_the_picture() -> None:
    data = bytearray(BASE)
    data[len(data) // 2] ^= 0x55
    try:
        shown = np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))
    except OSError:
        pytest.skip("a marker")
    np.testing.assert_array_equal(pixels(bytes(data)), shown)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_data_that_is_missing_before_an_end_is_missing(part: float) -> None:
    assert reason(BASE[: int(len(BASE) * part)] + b"\xff\xd9") is FailureReason.DAMAGED


@pytest.mark.parametrize("part", [0.3, 0.6, 0.97, 0.995])
@pytest.mark.parametrize("data", [of_scan(0, 0, 0), before(BASE, b"\xff\xdb", bytes(2)), BASE + b"", RESTARTS])
def test_data_that_is_missing_is_seen_behind_a_warning(data: bytes, part: float) -> None:
    assert reason(data[: int(len(data) * part)]) is FailureReason.DAMAGED


@pytest.mark.parametrize("sampling", [(0x11, 0x12, 0x12), (0x41, 0x11, 0x11), (0x22, 0x21, 0x12), (0x13, 0x11, 0x11)])
def test_any_sampling_of_colors_is_decoded_as_pillow_does(sampling: tuple[int, int, int]) -> None:
    """The scan of a plain picture, read with other factors: nonsense, but the same nonsense."""
    data = bytearray(encoded(smooth(96, 96), quality=60))
    frame = data.index(b"\xff\xc0")
    for component, factors in enumerate(sampling):
        data[frame + 11 + 3 * component] = factors
    scan = data.index(b"\xff\xda")
    whole = bytes(data[:-2]) + bytes(data[scan + 14 : -2]) * 12 + b"\xff\xd9"
    shown = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    got = pixels(whole)
    assert got.shape == shown.shape and np.abs(got.astype(int) - shown).mean() < 8
