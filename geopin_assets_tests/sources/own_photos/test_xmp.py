"""XMP packets of strangers' photos: how they may be written, and how long they take."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.sources.own_photos.read import read_header
from geopin_assets.xmp import EXIF, GPANO, properties
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.growth import MOST, growth
from geopin_assets_tests.sources.own_photos.photos import EXTENSION, MAIN, RDF, packet, seen

SPACE = GPANO.decode()
SPHERE = packet('GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="10"', "GPano", SPACE)
RATING = packet('xmp:Rating="5"', "xmp", "http://ns.adobe.com/xap/1.0/")


@pytest.mark.parametrize(
    "head", [b"<x GPano:A='", b"<x GPano:A", b"<x ", b'xmlns="http://ns.google.com/photos/1.0/panorama/"<']
)
@pytest.mark.parametrize(
    "grain", [b" ", b"A", b"GPano:A=", b"GPano:A='", b"GPano:A ", b"<A xml:b='c'", b"xmlns:a='", b"<"]
)
def test_reading_a_packet_takes_time_in_proportion_to_it(head: bytes, grain: bytes) -> None:
    assert growth(lambda data: properties(data, GPANO), grain, before=head) < MOST


def test_a_packet_without_an_end_costs_the_photo_nothing() -> None:
    picture, cut = encoded(smooth(64, 48)), b"http://ns.adobe.com/xap/1.0/\0<x GPano:A='" + b" " * 60_000
    header = read_header(picture[:2] + b"\xff\xe1" + struct.pack(">H", len(cut) + 2) + cut + picture[2:])
    assert header is not None and (header.width, header.height) == (64, 48) and not header.is_pano


@pytest.mark.parametrize(
    "description",
    [
        f'<d xmlns:GPano="{SPACE}" GPano:Pose="10"/>',
        f"<d xmlns:GPano = '{SPACE}' GPano:Pose = '10'/>",
        f'<d xmlns:ns0="{SPACE}" ns0:Pose="10"/>',
        f'<d GPano:Pose="11" xmlns:GPano="http://example.org/" xmlns:p="{SPACE}" p:Pose="10"/>',
        f'<d xmlns:GPano="{SPACE}"><GPano:Pose>10</GPano:Pose></d>',
        f'<d xmlns:GPano="{SPACE}"><GPano:Pose xml:lang="x-default">\n 10 \n</GPano:Pose></d>',
        f"<d xmlns:GPano='{SPACE.rstrip('/')}'><GPano:Pose rdf:datatype=\"x\">&#49;0</GPano:Pose></d>",
        f'<Pose xmlns="{SPACE}">10</Pose>',
        '<d GPano:Pose="10"/>',
        f'<d xmlns:GPano="{SPACE}" GPano:Pose="" /><d GPano:Pose="10"/>',
        f'<d xmlns:GPano="{SPACE}" GPano:Pose="10"',
    ],
)
def test_a_property_is_found_however_it_is_written(description: str) -> None:
    assert properties(RDF.format(description).encode(), GPANO).get("Pose") == "10"


@pytest.mark.parametrize(
    "description",
    [
        '<d xmlns:GPano="http://example.org/" GPano:Pose="10"/>',
        '<d Pose="10"/>',
        f'<d xmlns="{SPACE}" Pose="10"/>',  # attributes have no default namespace
        f'<d xmlns:GPano="{SPACE}" GPano:Pose=10 />',
        '<d xGPano:Pose="10"/>',
    ],
)
def test_what_is_of_another_namespace_is_none_of_it(description: str) -> None:
    assert "Pose" not in properties(RDF.format(description).encode(), GPANO)


def extended(content: bytes, *, at: int = 0, of: str = "A" * 32, length: int | None = None) -> bytes:
    """A part of a packet that was too long for a segment."""
    return EXTENSION + of.encode() + struct.pack(">II", len(content) if length is None else length, at) + content


@pytest.mark.parametrize(
    "segments",
    [
        [MAIN + SPHERE],
        [MAIN + SPHERE, MAIN + RATING],
        [MAIN + RATING, MAIN + SPHERE],
        [MAIN + RATING, MAIN + RATING, MAIN + SPHERE],
        [
            MAIN + SPHERE.replace(b"GPano:", b"ns0:").replace(b"xmlns:GPano", b"xmlns:ns0"),
            MAIN + packet('ns0:Pose="1"', "ns0"),
        ],
        [MAIN + RATING, extended(SPHERE)],
        [extended(SPHERE)],
        [extended(SPHERE[100:], at=100, length=len(SPHERE)), MAIN + RATING, extended(SPHERE[:100], length=len(SPHERE))],
        [extended(b"\xff" * 60_000, of="B" * 32), extended(SPHERE)],
        [extended(SPHERE), extended(b"<" * 100, at=2**32 - 1)],
        [MAIN + b"\xef\xbb\xbf" + SPHERE],
        [MAIN + SPHERE.decode().encode("utf-16")],
        [MAIN + SPHERE[:-23]],
    ],
)
def test_all_packets_of_a_photo_are_read(tmp_path: Path, segments: list[bytes]) -> None:
    photo = seen(tmp_path, *segments)
    assert photo.header.is_pano and photo.heading_deg == 10


def test_a_packet_within_exif_counts_too(tmp_path: Path) -> None:
    assert seen(tmp_path, root={700: SPHERE}).heading_deg == 10


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"<", b">", b'"', b"exif:A", b"=", b"xmlns:exif", b" ", b"&#x;"])).map(b"".join)
)
def test_any_bytes_are_texts_or_nothing(data: bytes) -> None:
    assert all(isinstance(value, str) and value for value in properties(data + b"exif:", EXIF).values())
