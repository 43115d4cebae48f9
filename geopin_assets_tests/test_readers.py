"""Every reader of foreign bytes takes time in proportion to their length, whatever they are; each has its own worst.

Texts that a single expression is slow on are in `test_regexes.py`, vector tiles in `sources/test_vector_tile.py`, what
answers of servers hold in `http_client/`.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from geopin_assets.embedding.decoding import decode_image
from geopin_assets.errors import GeoPinError
from geopin_assets.exchange.areas import read_areas
from geopin_assets.exchange.manifest import Manifest
from geopin_assets.sources.own_photos.described import read_description
from geopin_assets.sources.own_photos.read import HeaderCutError, read_header
from geopin_assets.sources.own_photos.table import read_table
from geopin_assets.sources.own_photos.track import read_track
from geopin_assets_tests.growth import MOST, growth

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = b"file,lat,lon\n"
GPX = b'<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
DNG = b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04\0\0\0\0\0\0"


def picture(kind: str) -> bytes:
    Image.new("RGB", (64, 64)).save(file := BytesIO(), kind)
    return file.getvalue()


JPEG, PNG, TIFF, WEBP = map(picture, ("JPEG", "PNG", "TIFF", "WEBP"))
MAIN = b"http://ns.adobe.com/xap/1.0/\0"


def segment(content: bytes) -> bytes:
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


PHOTOS = {
    "a JPEG of FF": (b"\xff\xd8\xff", b"\xff"),
    "a JPEG of empty segments": (b"\xff\xd8", b"\xff\xe0\0\2"),
    "a JPEG of comments": (JPEG[:2], b"\xff\xfe\0\x0aabcdefgh"),
    "a JPEG of scans": (JPEG[:-2], b"\xff\xda\0\x08\1\1\0\0\x3f\0"),
    "a JPEG of packets of XMP": (JPEG[:2], segment(MAIN + b"<x GPano:A='" + b" " * 40)),
    "a JPEG of XMP in parts": (JPEG[:2], segment(b"http://ns.adobe.com/xmp/extension/\0" + b"a" * 40 + b"GPano:A='")),
    "a JPEG of EXIF": (JPEG[:2], segment(b"Exif\0\0II*\0\x08\0\0\0\xff\xff")),
    "a PNG of empty chunks": (PNG[:33], b"\0\0\0\0tEXtabcd"),
    "a TIFF of directories": (TIFF[:8], b"\1\0\0\1\3\0\1\0\0\0\1\0\0\0\x08\0\0\0"),
    "a WebP of chunks": (WEBP[:12], b"EXIF\0\0\0\0"),
    "a DNG of JPEGs": (DNG, b"\xff\xd8\xff\xe0\0\2"),
    "a HEIC of boxes": (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", b"\0\0\0\x08free"),
    "an AVIF of boxes": (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", b"\0\0\0\x08free"),
}
TABLES = {
    "rows": (HEADER, b"a.jpg,52.3,4.9\n"),
    "rows of many cells": (HEADER, b"," * 64 + b"\n"),
    "one row": (HEADER, b","),
    "one cell": (HEADER, b"a"),
    "quotes": (HEADER, b'"'),
    "an open quote": (HEADER + b'"', b"a\n"),
    "blank lines": (HEADER, b"\n"),
    "slashes": (b"file,lat,lon,date\n", b"a,52,4,1/1/2020\n"),
    "names of columns": (b"file,lat,lon", b",heading"),
    "separators before any name": (b"", b";,|\t"),
    "no text": (b"\xff\xfe", b"\xd8\0"),
}
TRACKS = {
    "points": (GPX, b'<trkpt lat="52" lon="4"><time>2024-05-01T10:00:00Z</time></trkpt>'),
    "one time": (GPX + b'<trkpt lat="52" lon="4"><time>', b"2 "),
    "one attribute": (GPX + b'<trkpt lat="', b"5"),
    "attributes": (GPX + b"<trkpt", b" a='1'"),
    "depth": (GPX, b"<a>"),
    "segments": (GPX, b"<trkseg>"),
    "entities": (b"<!DOCTYPE gpx [", b'<!ENTITY a "aaaaaaaa">'),
}
LISTS = {"numbers": (b"[", b"1,"), "lists": (b"[", b"[],"), "depth": (b"", b"["), "one text": (b'["', b"a")}


def grows(read: Callable[[bytes], object], head: bytes, grain: bytes) -> float:
    def answered(data: bytes) -> None:
        with suppress(GeoPinError, HeaderCutError):
            read(data)

    return growth(answered, grain, before=head)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("read", [read_header, decode_image])
def test_photos(read: Callable[[bytes], object], name: str) -> None:
    assert grows(read, *PHOTOS[name]) < MOST


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str) -> None:
    assert grows(lambda data: read_table(data, "positions.csv", now=NOW), *TABLES[name]) < MOST


@pytest.mark.parametrize("name", TRACKS)
def test_tracks(name: str) -> None:
    assert grows(lambda data: read_track(data, "a.gpx"), *TRACKS[name]) < MOST


@pytest.mark.parametrize("name", LISTS)
def test_lists_and_documents(name: str, tmp_path: Path) -> None:
    head, grain = LISTS[name]
    assert grows(partial(read_description, name="x", now=NOW), head, grain) < MOST
    assert grows(partial(Manifest.parse, what="x"), b'{"format":' + head, grain) < MOST

    def areas(data: bytes) -> None:
        (path := tmp_path / "areas.geojson").write_bytes(data)
        read_areas(path)

    polygon = b'{"features": [{"id": "a", "geometry": {"type": "Polygon", "coordinates": '
    assert grows(areas, polygon + head, grain) < MOST
