"""How good a view is: what the measures mean, what is left out for it, and that it is kept with the vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.embedding.protocol import FLAWS, Failure, FailureReason
from geopin_assets.embedding.quality import Quality, Scene, flaw, quality
from geopin_assets.embedding.seen import Seen, flat, panorama
from geopin_assets.settings import Settings
from geopin_assets_tests.embedding.pictures import Pixels, smooth


def street(width: int = 640, height: int = 480, seed: int = 1) -> Pixels:
    """Rectangles of many sizes and colors: sharp, and full of detail."""
    random = np.random.default_rng(seed)
    wall = np.full((height, width, 3), 128, np.uint8)
    for _ in range(700):
        x, y, w, h = random.integers([0, 0, 4, 4], [width, height, width // 8, height // 8])
        wall[y : y + h, x : x + w] = random.integers(0, 240, 3)
    return wall


def known(view: Pixels) -> Quality:
    found = quality(view)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (street(), None),
        (street() // 8, FailureReason.DARK),
        (np.clip(street().astype(int) * 4 + 60, 0, 255).astype(np.uint8), FailureReason.OVEREXPOSED),
        (street() // 10 + 150, FailureReason.VEILED),
        (smooth(640, 480), FailureReason.BLURRED),
        (
            np.linspace(120, 220, 480).astype(np.uint8)[:, None, None].repeat(640, 1).repeat(3, 2),
            FailureReason.NO_DETAIL,
        ),
    ],
)
def test_a_flaw_is_called_what_it_is(view: Pixels, reason: FailureReason | None) -> None:
    assert flaw(known(view)) is reason
    assert all(0 <= value <= 1 for value in known(view)[:5])


@pytest.mark.parametrize("size", [(192, 192), (191, 500), (64, 64), (910, 512), (512, 910), (193, 4000)])
def test_what_is_smaller_than_what_is_measured_is_not_judged(size: tuple[int, int]) -> None:
    assert (quality(street(*size)) is None) is (min(size) < 192)


@given(st.integers(192, 700), st.integers(192, 700), st.integers(0, 255))
def test_any_picture_has_measures_within_bounds(width: int, height: int, color: int) -> None:
    for view in (np.full((height, width, 3), color, np.uint8), street(width, height)):
        assert all(0 <= value <= 1 for value in known(view)[:5])


def test_only_unwanted_flaws_cost_an_image_its_vector() -> None:
    dark = street() // 8
    kept = flat(dark)
    assert isinstance(kept, Seen) and kept.quality[0].light < 0.16
    assert flat(dark, frozenset({FailureReason.DARK})) == Failure(FailureReason.DARK, "640x480")
    assert isinstance(flat(dark, FLAWS - {FailureReason.DARK}), Seen)


@pytest.mark.parametrize(
    ("scene", "reason"), [(Scene(0.95, 0.0), "indoor"), (Scene(0.4, 0.6), "in_vehicle"), (Scene(0.4, 0.4), None)]
)
def test_a_network_of_scenes_is_asked_of_what_has_no_other_flaw(scene: Scene, reason: str | None) -> None:
    asked: list[int] = []

    def scene_of(view: Pixels) -> Scene:
        asked.append(len(view))
        return scene

    assert flat(street() // 8, FLAWS, scene_of) == Failure(FailureReason.DARK, "640x480") and not asked
    seen = flat(street(), FLAWS, scene_of)
    assert len(asked) == 1
    if reason:
        assert seen == Failure(FailureReason(reason), "640x480")
        seen = flat(street(), FLAWS - {FailureReason(reason)}, scene_of)
    assert isinstance(seen, Seen) and seen.quality[0][5:] == scene
    left = panorama(street(2000, 1000), b"", 512, FLAWS, scene_of)
    assert left == Failure(FailureReason(reason), "2000x1000") if reason else isinstance(left, Seen)


def test_views_that_show_only_sky_are_left_out_of_a_panorama() -> None:
    """A clear sky shows nothing at all; one with a sensor's noise has no detail."""
    sphere, noise = street(2000, 1000), np.random.default_rng(0).normal(0, 2.5, (1000, 700, 3))
    sphere[:, :700] = np.linspace(120, 220, 1000)[:, None, None] + noise
    every, some = panorama(sphere, b"", 512), panorama(sphere, b"", 512, FLAWS)
    assert isinstance(every, Seen) and isinstance(some, Seen)
    assert len(every.views) == 12 and set(every.quality) == set(every.views)
    assert some.left_out[FailureReason.NO_DETAIL] >= 2 and set(some.quality) == set(some.views)


def test_flaws_are_never_tried_again_by_themselves_and_are_those_that_can_be_named() -> None:
    assert not any(reason.is_transient for reason in FLAWS)
    assert Settings().leave_out == {reason.value for reason in FLAWS} - {"windscreen"}
    assert Settings.model_validate({"leave_out": "windscreen,dark"}).leave_out <= {reason.value for reason in FLAWS}
