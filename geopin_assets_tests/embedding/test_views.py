"""What a model sees of an image: every size gives one of few shapes, and a panorama's views look where they should."""

from collections.abc import Callable
from unittest import mock

import numpy as np
import py360convert
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.embedding.views import (
    LYING,
    SHAPES,
    SHORTER_SIDE_PX,
    UPRIGHT,
    VIEWS,
    frame,
    is_equirectangular,
    perspective_views,
)
from geopin_assets_tests.depth import examples
from geopin_assets_tests.embedding.pictures import Pixels, smooth
from geopin_assets_tests.embedding.pinhole import angle_deg, direction, rays

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


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def py360_views(panorama: Pixels, size_px: int, fov_deg: float, pitch_deg: float) -> list[np.ndarray]:
    """The same views by py360convert, unrounded.

    It sends rays through pixel corners, linspace(-tan, tan); ours go through pixel centers, so its field of view
    is narrowed to make the outermost rays of both the same. With OpenCV it rounds positions to 1/32 pixel, which is 7
    gray levels on noise.
    """
    tangent = np.tan(np.radians(fov_deg) / 2) * (size_px - 1) / size_px
    fov, exact = 2 * np.degrees(np.arctan(tangent)), panorama.astype(np.float32)
    with mock.patch.object(py360convert.utils, "cv2", None):
        return [
            py360convert.e2p(exact, (fov, fov), 30 * view, pitch_deg, (size_px, size_px), mode="bilinear")
            for view in range(VIEWS)
        ]


@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize(
    ("width", "height", "size_px", "fov_deg", "pitch_deg"),
    [
        (1024, 512, 128, 60.0, 7.0),
        (4000, 2000, 160, 60.0, 7.0),
        (2048, 1024, 200, 55.4, -10.0),
        (1001, 500, 97, 90.0, 0.0),
        (720, 360, 64, 75.0, 25.0),
    ],
)
def test_views_agree_with_py360convert(
    make: Callable[[int, int], Pixels], width: int, height: int, size_px: int, fov_deg: float, pitch_deg: float
) -> None:
    """To the rounding, .5, and what float32 makes of steps of 255 from pixel to pixel: .12 at most."""
    panorama = make(width, height)
    ours = perspective_views(panorama, fov_deg=fov_deg, pitch_deg=pitch_deg, size_px=size_px)
    theirs = py360_views(panorama, size_px, fov_deg, pitch_deg)
    differences = [np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)]
    assert max(differences) <= 0.7, differences


def test_a_panorama_yields_12_views_of_512_pixels() -> None:
    views = perspective_views(smooth(400, 200))
    assert [view.shape for view in views] == [(512, 512, 3)] * 12
    assert all(view.flags["C_CONTIGUOUS"] and view.dtype == np.uint8 for view in views)


@given(bearing_deg=st.floats(0, 359.9), elevation_deg=st.floats(-15, 25))
@settings(max_examples=examples(10, 300), deadline=None)
def test_a_marker_appears_in_the_view_that_looks_at_it(bearing_deg: float, elevation_deg: float) -> None:
    """Columns run clockwise from the image center; view i looks 30 i degrees clockwise of it."""
    width, height = 720, 360
    panorama = np.zeros((height, width, 3), np.uint8)
    column = ((bearing_deg / 360 + 0.5) * width - 0.5) % width
    row = (0.5 - elevation_deg / 180) * height - 0.5
    near_x = np.minimum(np.abs(np.arange(width) - column), width - np.abs(np.arange(width) - column))
    panorama[(near_x[None, :] < 2) & (np.abs(np.arange(height) - row)[:, None] < 2)] = 255

    view = round(bearing_deg / 30) % VIEWS
    is_marked = perspective_views(panorama, size_px=128)[view][..., 0] > 60
    seen = rays(30 * view, size_px=128)[is_marked].mean(axis=0)
    assert angle_deg(seen, direction(bearing_deg, elevation_deg)) < 0.7


def test_the_seam_is_no_border() -> None:
    """Turning a panorama by 30 degrees turns the views by one: wherever the seam is, it does not show."""
    panorama = smooth(960, 480)
    views = perspective_views(panorama, size_px=96)
    for view, image in enumerate(perspective_views(np.roll(panorama, -80, axis=1), size_px=96)):
        np.testing.assert_allclose(image.astype(int), views[(view + 1) % VIEWS].astype(int), atol=1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4000, 2000), True), ((2001, 1000), True), ((4000, 1500), True), ((4000, 3000), False), ((4000, 300), False)],
)
def test_views_are_cut_of_what_goes_all_around(size: tuple[int, int], expected: bool) -> None:
    assert is_equirectangular(*size) is expected


def test_the_panorama_is_left_as_it_is() -> None:
    panorama = smooth(400, 200)
    panorama.flags.writeable = False
    before = panorama.copy()
    perspective_views(panorama, size_px=32)
    np.testing.assert_array_equal(panorama, before)
