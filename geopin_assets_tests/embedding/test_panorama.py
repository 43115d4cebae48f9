import numpy as np
import py360convert
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.embedding.panorama import VIEWS, is_equirectangular, perspective_views
from geopin_assets_tests.embedding.pictures import smooth


def py360_views(panorama: np.ndarray, size_px: int, fov_deg: float, pitch_deg: float) -> list[np.ndarray]:
    """The same views by py360convert.

    It sends rays through pixel corners, linspace(-tan, tan); ours go through pixel centers, so its field of view
    is narrowed to make the outermost rays of both the same.
    """
    tangent = np.tan(np.radians(fov_deg) / 2) * (size_px - 1) / size_px
    fov = 2 * np.degrees(np.arctan(tangent))
    return [
        py360convert.e2p(panorama.astype(float), (fov, fov), 30 * view, pitch_deg, (size_px, size_px), mode="bilinear")
        for view in range(VIEWS)
    ]


def test_views_agree_with_py360convert() -> None:
    panorama = smooth(1024, 512)
    want = py360_views(panorama, 128, 60.0, 7.0)
    for view, (ours, theirs) in enumerate(zip(perspective_views(panorama, size_px=128), want, strict=True)):
        assert np.abs(ours - theirs).max() <= 1, f"view {view}"


def test_a_panorama_yields_12_views_of_512_pixels() -> None:
    views = perspective_views(smooth(400, 200))
    assert [view.shape for view in views] == [(512, 512, 3)] * 12
    assert all(view.flags["C_CONTIGUOUS"] and view.dtype == np.uint8 for view in views)


@given(bearing_deg=st.floats(0, 359.9), pitch_deg=st.floats(-15, 25))
@settings(max_examples=25, deadline=None)
def test_a_marker_appears_in_the_view_that_looks_at_it(bearing_deg: float, pitch_deg: float) -> None:
    """Columns run clockwise from the image center; view i looks 30 i degrees clockwise of it."""
    width, height = 720, 360
    panorama = np.zeros((height, width, 3), np.uint8)
    column = ((bearing_deg / 360 + 0.5) * width - 0.5) % width
    row = (0.5 - pitch_deg / 180) * height - 0.5
    near_x = np.minimum(np.abs(np.arange(width) - column), width - np.abs(np.arange(width) - column))
    panorama[(near_x[None, :] < 2) & (np.abs(np.arange(height) - row)[:, None] < 2)] = 255
    views = perspective_views(panorama, size_px=128)

    view = round(bearing_deg / 30) % VIEWS
    ys, xs = np.nonzero(views[view][..., 0] > 60)
    x, y = (2 * xs.mean() + 1 - 128) / 128, (128 - 1 - 2 * ys.mean()) / 128
    tangent = np.tan(np.radians(30))
    ray = np.array([x * tangent, y * tangent, 1.0])
    pitch = np.radians(7)
    up, forward = ray[1] * np.cos(pitch) + np.sin(pitch), np.cos(pitch) - ray[1] * np.sin(pitch)
    seen_deg = np.degrees(np.arctan2(ray[0], forward)) + 30 * view
    assert (seen_deg - bearing_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.7)
    assert np.degrees(np.arctan2(up, np.hypot(ray[0], forward))) == pytest.approx(pitch_deg, abs=0.7)


def test_the_seam_is_no_border() -> None:
    """Turning a panorama by 30 degrees turns the views by one: wherever the seam is, it does not show."""
    panorama = smooth(960, 480)
    turned = np.roll(panorama, -80, axis=1)
    for view, image in enumerate(perspective_views(turned, size_px=96)):
        np.testing.assert_array_equal(image, perspective_views(panorama, size_px=96)[(view + 1) % VIEWS])


@pytest.mark.parametrize(("size", "expected"), [((4000, 2000), True), ((2001, 1000), True), ((4000, 1500), False)])
def test_only_a_full_sphere_is_equirectangular(size: tuple[int, int], expected: bool) -> None:
    assert is_equirectangular(*size) is expected
