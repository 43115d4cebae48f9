"""XMP packets of strangers' photos, and how long they take."""

import struct

import pytest

from geopin_assets.sources.own_photos.read import _gpano, read_header
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.growth import MOST, growth


@pytest.mark.parametrize("head", [b"<x GPano:A='", b"<x GPano:A", b"<x "])
@pytest.mark.parametrize("grain", [b" ", b"A", b"GPano:A=", b"GPano:A='", b"GPano:A "])
def test_reading_a_packet_takes_time_in_proportion_to_it(head: bytes, grain: bytes) -> None:
    assert growth(_gpano, grain, before=head) < MOST


def test_a_packet_without_an_end_costs_the_photo_nothing() -> None:
    picture, packet = encoded(smooth(64, 48)), b"http://ns.adobe.com/xap/1.0/\0<x GPano:A='" + b" " * 60_000
    header = read_header(picture[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + picture[2:])
    assert header is not None and (header.width, header.height) == (64, 48) and not header.is_pano
