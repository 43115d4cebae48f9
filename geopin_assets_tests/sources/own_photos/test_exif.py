"""Whatever a photo says of itself: values, a counted rejection, or nothing."""

from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.ExifTags import GPS, Base
from PIL.TiffImagePlugin import IFDRational

from geopin_assets.sources.own_photos.exif import Said
from geopin_assets.sources.own_photos.read import HeaderCutError, read_header
from geopin_assets_tests.sources.own_photos.photos import MAIN, looked_at, packet
from geopin_assets_tests.sources.recordings.own_photos import GPANO

WHOLE = st.integers(0, 2**32 - 1)
WORDS = st.text(max_size=20) | st.sampled_from(
    ["2024:06:01 10:00:00", "+02:00", "N", "52,22.2N", "9/0", "1e999", "-1", "T"]
)
VALUES = st.recursive(
    st.none() | WORDS | st.floats() | st.integers() | st.binary(max_size=9) | st.builds(IFDRational, WHOLE, WHOLE),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["DateTimeOriginal", "GPSLatitude", "GPSLongitude", "GPSTimeStamp", "GPSImgDirection", "GPSTrack"]
)
DESCRIBED = st.sampled_from(
    [
        "[]",
        "{}",
        '{"MAPLatitude": 52, "MAPLongitude": []}',
        '{"MAPCompassHeading": {"TrueHeading": "x"}}',
        '{"a":' * 999,
    ]
)


@given(
    st.dictionaries(st.sampled_from(list(Base)), VALUES),
    st.lists(st.dictionaries(st.sampled_from(list(GPS)), VALUES), min_size=3, max_size=3),
    st.dictionaries(NAMES.map("exif:{}".format) | st.just("GPano:PoseHeadingDegrees"), WORDS),
)
def test_any_tags_are_understood_as_values_or_nothing(
    tags: dict[int, Any], receivers: list[dict[int, Any]], xmp: dict[str, str]
) -> None:
    said = Said(tags, tuple(receivers), xmp)
    fix, direction = said.fix, said.direction
    assert fix is None or (-180 <= fix.lon <= 180 and -90 <= fix.lat <= 90 and said.has_position)
    assert direction is None or 0 <= direction.deg < 360
    assert said.error_m is None or said.error_m > 0
    assert all(clock.tzinfo == UTC for clock in said.clocks)
    assert said.camera is None or said.camera.isprintable()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of one that says a lot."""
    folder = tmp_path_factory.mktemp("photo")
    gps = {7: (8.0, 0.0, 0.0), 29: "2024:06:01", 9: "A", 15: 45.0, 31: 4.5}
    tags = {0x9004: "2024:06:01 10:00:00", 0x9012: "+02:00"}
    looked_at(
        folder, MAIN + GPANO, MAIN + packet('exif:GPSTrack="1"'), gps=gps, tags=tags, root={270: '{"MAPLatitude": 1}'}
    )
    return (folder / "1.jpg").read_bytes()


@given(st.data())
def test_any_damage_of_a_header_costs_only_what_it_held(photo: bytes, data: st.DataObject) -> None:
    damaged = bytearray(photo)
    for at in data.draw(st.lists(st.integers(2, len(photo) - 1), max_size=12)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        header = read_header(bytes(damaged[: data.draw(st.integers(100, len(photo)))]))
    except HeaderCutError:
        return
    assert header is None or header.position is None or header.has_position


def test_a_description_that_is_deep_or_no_object_costs_nothing(tmp_path: Path) -> None:
    for text in (
        "[1]",
        "null",
        '{"MAPLatitude":' * 500,
        "{" * 5_000,
        '{"MAPLatitude": true, "MAPLongitude": {}}',
        "\udcff",
    ):
        assert read_header_of(tmp_path, text) == (4.895, 52.37)


def read_header_of(folder: Path, description: str) -> tuple[float, float] | None:
    looked_at(folder, root={270: description.encode("utf-8", "replace")})
    header = read_header((folder / "1.jpg").read_bytes())
    assert header is not None and header.position is not None
    return round(header.position[0], 6), round(header.position[1], 6)
