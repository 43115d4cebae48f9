"""Which part of an image the model sees: every size gives one of few shapes, and little is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.embedding.framing import LYING, SHAPES, SHORTER_SIDE_PX, UPRIGHT, frame

sides = st.integers(1, 20_000)


def length(part: slice) -> int:
    return part.stop - part.start


def test_there_are_eleven_shapes_between_3_to_4_and_16_to_9() -> None:
    assert len(SHAPES) == 11 and all(min(shape) == SHORTER_SIDE_PX for shape in SHAPES)
    assert max(width / height for height, width in SHAPES) == pytest.approx(16 / 9, abs=1e-3)
    assert min(width / height for height, width in SHAPES) == pytest.approx(3 / 4, abs=1e-3)


@given(sides, sides)
def test_every_image_gives_one_of_the_shapes_from_its_center(height: int, width: int) -> None:
    found = frame(height, width)
    assert (found.height, found.width) in SHAPES
    assert (found.height > found.width) <= (height > width)
    for part, side in ((found.rows, height), (found.columns, width)):
        assert 0 <= part.start < part.stop <= side
        assert abs(part.start - (side - part.stop)) <= 1


@given(st.integers(32, 5_000), st.floats(3 / 4, 16 / 9))
def test_within_the_aspects_of_cameras_at_most_11_percent_of_one_side_are_lost(height: int, aspect: float) -> None:
    width = round(height * aspect)
    found = frame(height, width)
    kept = sorted((length(found.rows) / height, length(found.columns) / width))
    assert kept[0] >= 0.885 - 1 / min(height, width) and kept[1] == 1


@given(st.integers(200, 5_000), sides)
def test_pixels_stay_square_within_a_percent(shorter: int, longer: int) -> None:
    for height, width in ((shorter, longer + shorter), (longer + shorter, shorter)):
        found = frame(height, width)
        stretch = (length(found.columns) / found.width) / (length(found.rows) / found.height)
        assert stretch == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (1024, 682, (512, 768)),
        (1024, 683, (512, 768)),
        (1024, 684, (512, 768)),
        (2048, 1152, (512, 910)),
        (1366, 768, (512, 910)),
        (1280, 800, (512, 819)),
        (2592, 1936, (512, 683)),
        (1280, 1024, (512, 640)),
        (960, 1280, (683, 512)),
        (1080, 1920, (683, 512)),
        (360, 360, (512, 512)),
    ],
)
def test_the_formats_of_cameras_keep_their_shape(width: int, height: int, shape: tuple[int, int]) -> None:
    found = frame(height, width)
    assert (found.height, found.width) == shape
    lost = 1 - length(found.rows) * length(found.columns) / (height * width)
    assert lost < 0.01 or (width, height) == (1080, 1920)


@given(sides)
def test_what_is_longer_than_any_camera_takes_loses_its_ends_only(shorter: int) -> None:
    lying, upright = frame(shorter, 2 * shorter), frame(2 * shorter, shorter)
    assert length(lying.rows) == length(upright.columns) == shorter
    assert length(lying.columns) == round(shorter * LYING[-1]) and length(upright.rows) == round(shorter * UPRIGHT[-1])
