"""XMP as programs write it, in files of any format, and in hostile ones."""

import io

import pytest
from PIL import Image

from geopin_assets.xmp import GPANO, properties
from geopin_assets_tests.growth import MOST, growth

NAMESPACE = GPANO.decode()
START, END = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='r'>", "</rdf:RDF></x:xmpmeta>"


def packet(body: str) -> bytes:
    return f"<?xpacket begin='' id='W5M0'?>{START}{body}{END}<?xpacket end='w'?>".encode()


ATTRIBUTES = f"<rdf:Description xmlns:GPano='{NAMESPACE}' GPano:ProjectionType='equirectangular' GPano:A=\"1\"/>"
ELEMENTS = (
    f'<rdf:Description xmlns:GPano = "{NAMESPACE}">\n <GPano:ProjectionType>equirectangular</GPano:ProjectionType>'
    "<GPano:A rdf:datatype='int'> 1 </GPano:A></rdf:Description>"
)
OTHER_PREFIX = ATTRIBUTES.replace("GPano", "ns1")
DEFAULTED = f"<x xmlns:GPano='{NAMESPACE}'/>" + ATTRIBUTES


@pytest.mark.parametrize("body", [ATTRIBUTES, ELEMENTS, OTHER_PREFIX, DEFAULTED], ids=["=", "<>", "ns1", "twice"])
def test_properties_are_attributes_or_elements_whatever_the_prefix(body: str) -> None:
    assert properties(packet(body), GPANO) == {"ProjectionType": "equirectangular", "A": "1"}


def test_all_packets_are_read_and_the_first_that_says_something_wins() -> None:
    def said(text: str) -> bytes:
        return packet(f"<rdf:Description xmlns:p='{NAMESPACE}' {text}/>")

    data = said("p:A='' p:B='2'") + b"\0" * 1_000 + packet("<rdf:Description/>") + said("p:A='1' p:B='3' p:C='4'")
    assert properties(data, GPANO) == {"A": "1", "B": "2", "C": "4"}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_found_in_files_of_every_format(format: str) -> None:
    data, xmp = io.BytesIO(), packet(ATTRIBUTES)
    info = Image.new("RGB", (64, 32)).info
    if format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.new("RGB", (64, 32)).save(data, format, pnginfo=info)
    elif format == "TIFF":
        Image.new("RGB", (64, 32)).save(data, format, tiffinfo={700: xmp})
    else:
        Image.new("RGB", (64, 32)).save(data, format, xmp=xmp)
    assert properties(data.getvalue(), GPANO)["ProjectionType"] == "equirectangular"


def test_another_namespace_with_the_same_prefix_is_not_read() -> None:
    assert properties(packet("<rdf:Description xmlns:GPano='other' GPano:ProjectionType='x'/>"), GPANO) == {}


@pytest.mark.parametrize("grain", [b" ", b"xmlns:a=", b"p:A=", b"p:A='", b"<p:A ", b"p:A ", b"'", GPANO])
def test_the_time_grows_with_the_length(grain: bytes) -> None:
    head = packet(f"<rdf:Description xmlns:p='{NAMESPACE}'")
    assert growth(lambda data: properties(data, GPANO), grain, before=head) < MOST
