"""Points of two pictures of one place match and fit; those of two places do not."""

from pathlib import Path

import numpy as np
import pytest

from geopin_assets.embedding.protocol import Image
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.opening import find_verifier
from geopin_assets.locate.verify import Features, Verifier, mutual
from geopin_assets.settings import Settings
from geopin_assets_tests.locate.weights import verifier as real_verifier


def facade(seed: int, shift_px: int = 0) -> Image:
    """A wall of rectangles of many sizes and colors, seen from a little farther along."""
    random = np.random.default_rng(seed)
    wall = np.full((480, 900, 3), 128, np.uint8)
    for _ in range(400):
        x, y, w, h = random.integers([0, 0, 6, 6], [880, 460, 90, 90])
        wall[y : y + h, x : x + w] = random.integers(0, 255, 3)
    return wall[:, shift_px : shift_px + 640]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return real_verifier()


def test_points_of_one_wall_match_and_those_of_two_do_not(verifier: Verifier) -> None:
    here, along, other = (verifier.features(each) for each in (facade(1), facade(1, shift_px=60), facade(2)))
    assert verifier.inliers(here, along) >= 100
    assert verifier.inliers(here, other) <= 30


def test_a_picture_without_anything_in_it_has_no_points(verifier: Verifier) -> None:
    black = verifier.features(np.zeros((480, 640, 3), np.uint8))
    assert verifier.inliers(black, verifier.features(facade(1))) == 0
    assert verifier.inliers(black, black) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (31, 33), (2000, 100)])
def test_pictures_of_odd_shapes_are_counted_too(verifier: Verifier, shape: tuple[int, int]) -> None:
    odd = verifier.features(np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8))
    assert verifier.inliers(odd, verifier.features(facade(1))) <= 30


def test_points_on_one_spot_fit_nothing_and_raise_nothing(verifier: Verifier) -> None:
    """Degenerate matches, at which robust estimators have been seen to stop the process."""
    same = np.tile(np.eye(1, 64, dtype=np.float32), (20, 1)) + np.eye(20, 64, dtype=np.float32) * 2
    same /= np.linalg.norm(same, axis=1, keepdims=True)
    spot = Features(np.full((20, 2), 7.0), same)
    line = Features(np.stack([np.arange(20.0), np.zeros(20)], axis=1), same)
    for one, other in ((spot, spot), (spot, line), (line, line)):
        assert 0 <= verifier.inliers(one, other) <= 20


def test_only_pairs_that_are_each_others_nearest_match() -> None:
    one = np.eye(3, 64, dtype=np.float32)
    other = np.concatenate([one[[2, 0]], np.zeros((1, 64), np.float32)])
    mine, theirs = mutual(one, other)
    assert dict(zip(mine.tolist(), theirs.tolist(), strict=True)) == {0: 1, 2: 0}
    assert not len(mutual(one, np.zeros((0, 64), np.float32))[0])


def test_in_the_sandbox_no_weights_are_fetched(tmp_path: Path) -> None:
    pytest.importorskip("kornia")
    assert find_verifier(Settings(data_dir=tmp_path)) is None
    with pytest.raises(ConfigurationError, match="no such file"):
        find_verifier(Settings(data_dir=tmp_path, verify_weights=str(tmp_path / "none.pt")))


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("kornia")
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ConfigurationError, match="not XFeat's weights"):
        Verifier(tmp_path / "other.pt").features(facade(1))
