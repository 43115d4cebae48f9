"""Photos that are no JPEG: their headers are read like those of JPEGs, by what is in the file."""

from io import BytesIO
from pathlib import Path
from zlib import crc32

import pytest
from PIL import Image

from geopin_assets.photo_folder import LocalFolder
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.own_photos import OwnPhotos
from geopin_assets.sources.own_photos.read import MOST_READS, HeaderCutError, read_header
from geopin_assets_tests.sources.recordings.own_photos import CELL, NOW, RIGHTS, write_photo

FORMATS = {"webp": "WEBP", "png": "PNG", "tif": "TIFF", "tiff": "TIFF", "dng": "TIFF", "avif": "AVIF", "heic": "HEIF",
           "HIF": "HEIF", "jpe": "JPEG", "jfif": "JPEG"}  # fmt: skip


def written(folder: Path, name: str, kind: str, noise: int = 0) -> Path:
    """A photo of a kind with the metadata of a camera."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    with Image.open(write_photo(folder / "made.jpg")) as jpeg:
        exif = jpeg.getexif()
        picture = Image.effect_noise((noise, noise), 90).convert("RGB") if noise else jpeg.convert("RGB")
        out = BytesIO()
        picture.save(out, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    (folder / "made.jpg").unlink()
    (folder / name).write_bytes(out.getvalue())
    return folder / name


def crawled(folder: Path) -> CellCrawl:
    return crawl_cell(OwnPhotos(LocalFolder(folder), RIGHTS, now=lambda: NOW), CELL)


@pytest.mark.parametrize(("suffix", "kind"), FORMATS.items())
def test_a_photo_of_any_kind_is_placed(tmp_path: Path, suffix: str, kind: str) -> None:
    written(tmp_path, f"IMG_1.{suffix}", kind)
    (capture,) = crawled(tmp_path).captures
    assert (capture.lon, capture.lat, capture.heading_deg) == (4.895, pytest.approx(52.37, abs=1e-6), 90.0)
    assert capture.captured_at is not None and '"height":32' in capture.payload


@pytest.mark.parametrize("kind", ["HEIF", "WEBP", "PNG"])
def test_what_is_in_a_file_counts_and_not_its_suffix(tmp_path: Path, kind: str) -> None:
    written(tmp_path, "IMG_1.jpg", kind)
    assert len(crawled(tmp_path).captures) == 1


@pytest.mark.parametrize("kind", ["HEIF", "WEBP", "AVIF", "TIFF"])
def test_a_header_behind_the_pixels_is_found(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, "IMG_1.jpg", kind, noise=400)
    assert path.stat().st_size > 64 * 2**10
    assert len(crawled(tmp_path).captures) == 1


@pytest.mark.parametrize("kind", ["HEIF", "WEBP", "AVIF", "TIFF", "PNG"])
def test_a_file_cut_short_or_made_up_is_unreadable_or_has_no_place(tmp_path: Path, kind: str) -> None:
    whole = written(tmp_path, "whole.jpg", kind).read_bytes()
    for number, data in enumerate((whole[:30], whole[:60], whole[:12] + bytes(500), whole[: len(whole) // 2])):
        (tmp_path / f"{number}.heic").write_bytes(data)
    crawl = crawled(tmp_path)
    assert "whole.jpg" in [capture.source_capture_id for capture in crawl.captures]
    assert crawl.report.is_complete
    assert len(crawl.captures) + crawl.report.rejected.total() == 5


def test_a_jpeg_whose_header_is_whole_is_not_read_on(tmp_path: Path) -> None:
    jpeg = write_photo(tmp_path / "a.jpg").read_bytes()
    assert read_header(jpeg[: len(jpeg) - 50]) is not None
    assert read_header(b"not a photo at all" * 100) is None
    with pytest.raises(HeaderCutError):
        read_header(b"RIFF\xff\xff\0\0WEBP")


def _jpeg_with(segment: bytes) -> tuple[bytes, bytes, bytes]:
    data = encoded("JPEG")
    return data[:2], segment, data[2:]


def _png_with(name: bytes) -> tuple[bytes, bytes, bytes]:
    data = encoded("PNG")
    return data[:33], bytes(4) + name + crc32(name).to_bytes(4), data[33:]


def encoded(kind: str) -> bytes:
    made = BytesIO()
    Image.new("RGB", (64, 48), (9, 99, 9)).save(made, kind)
    return made.getvalue()


@pytest.mark.parametrize(
    ("before", "part", "after"),
    [
        _jpeg_with(b"\xff\xe1\0\2"),
        _jpeg_with(b"\xff\xc4\0\2"),
        _jpeg_with(b"\xff"),
        _png_with(b"abCd"),
        _png_with(b"IDAT"),
    ],
    ids=["segments", "tables", "fill bytes", "chunks", "empty data"],
)
def test_a_header_of_no_end_of_parts_is_given_up_without_asking_for_more(
    before: bytes, part: bytes, after: bytes
) -> None:
    """32 MB of them would take 20 s of CPU, the interpreter held, and the next 32 MB as long again."""
    assert read_header(before + part * 100 + after) is not None
    assert read_header(before + part * (2 * MOST_READS)) is None
    assert read_header(before + part * (2 * MOST_READS) + after) is None
