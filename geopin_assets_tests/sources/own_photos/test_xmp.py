"""XMP packets of strangers' photos, and how long they take."""

import struct

import pytest

from geopin_assets.sources.own_photos.read import read_header
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.growth import MOST, growth


@pytest.mark.parametrize("head", [b"<x GPano:A='", b"<x GPano:A", b"<x GPano:", b"<x "])
@pytest.mark.parametrize("grain", [b" ", b"A", b"GPano:A=", b"GPano:A='", b"GPano:A ", b"="])
def test_reading_a_photos_xmp_takes_time_in_proportion_to_it(head: bytes, grain: bytes) -> None:
    picture = encoded(smooth(64, 48))

    def read(packet: bytes) -> None:
        body = b"http://ns.adobe.com/xap/1.0/\0" + packet[:65_000]
        header = read_header(picture[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + picture[2:])
        assert header is not None

    # a packet has 64 kB at most: 16, 32 and 64 kB of it
    assert growth(read, head + grain * (16_000 // len(grain))) < MOST
