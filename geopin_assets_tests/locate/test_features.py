"""Points of references that were looked at once are not looked for again, and never outlive what they are of."""

from pathlib import Path

import numpy as np
import pytest

from geopin_assets.files.sqlite import transaction
from geopin_assets.locate.features import FILE, KeptFeatures, View, of_captures
from geopin_assets.locate.verify import Features
from geopin_assets_tests.locate.test_verify import facade
from geopin_assets_tests.locate.weights import verifier as real_verifier


def some(seed: int, points: int = 1024) -> Features:
    random = np.random.default_rng(seed)
    descriptors = random.standard_normal((points, 64)).astype(np.float32)
    return Features(random.uniform(0, 640, (points, 2)), descriptors / np.linalg.norm(descriptors, axis=1)[:, None])


def test_what_is_kept_is_what_was_found_up_to_sixteen_bits(tmp_path: Path) -> None:
    kept, view = KeptFeatures(tmp_path, "m"), View("panoramax:1", 3, "v1")
    assert kept.read([view]) == {} and not list(tmp_path.iterdir())
    kept.keep({view: some(1)})
    found = kept.read([view])["panoramax:1"]
    np.testing.assert_allclose(found.points, some(1).points, atol=1e-4)
    np.testing.assert_allclose(found.descriptors, some(1).descriptors, atol=1e-3)
    assert found.points.dtype == np.float64 and found.descriptors.dtype == np.float32


def test_points_of_nothing_are_kept_too(tmp_path: Path) -> None:
    kept, view = KeptFeatures(tmp_path, "m"), View("a:1", 0, "")
    kept.keep({view: some(1, points=0)})
    assert kept.read([view])["a:1"].points.shape == (0, 2)


@pytest.mark.parametrize(
    ("model_id", "view"), [("other", View("a:1", 0, "v1")), ("m", View("a:1", 1, "v1")), ("m", View("a:1", 0, "v2"))]
)
def test_those_of_another_model_view_or_version_are_not_taken(tmp_path: Path, model_id: str, view: View) -> None:
    KeptFeatures(tmp_path, "m").keep({View("a:1", 0, "v1"): some(1)})
    assert KeptFeatures(tmp_path, model_id).read([view]) == {}


def test_what_was_not_needed_for_longest_goes_first(tmp_path: Path) -> None:
    clock = iter(range(1000))
    views = [View(f"a:{number}", 0, "") for number in range(8)]
    kept = KeptFeatures(tmp_path, "m", max_bytes=5 * 1024 * (2 * 4 + 64 * 2), now=lambda: next(clock))
    for view in views[:5]:
        kept.keep({view: some(1)})
    kept.read(views[:1])
    for view in views[5:]:
        kept.keep({view: some(1)})
    assert sorted(kept.read(views)) == ["a:0", "a:4", "a:5", "a:6", "a:7"]


def test_what_is_taken_down_is_forgotten_of_every_model(tmp_path: Path) -> None:
    for model_id in ("m", "other"):
        KeptFeatures(tmp_path, model_id).keep(
            {View("a:1", v, ""): some(v) for v in (0, 4)} | {View("a:2", 0, ""): some(9)}
        )
    assert of_captures(tmp_path, ["a:1", "a:9"]) == {"a:1": 4}
    assert of_captures(tmp_path, ["a:1"], forget=True) == {"a:1": 4}
    assert of_captures(tmp_path, ["a:1", "a:2"]) == {"a:2": 2}


def test_a_damaged_file_costs_what_it_held_and_nothing_else(tmp_path: Path) -> None:
    kept, view = KeptFeatures(tmp_path, "m"), View("a:1", 0, "")
    (tmp_path / FILE).write_bytes(b"no database at all, and long enough to be looked at" * 100)
    assert kept.read([view]) == {}
    kept.keep({view: some(1)})
    assert set(kept.read([view])) == {"a:1"}


def test_so_does_one_whose_points_are_cut_short(tmp_path: Path) -> None:
    kept, view = KeptFeatures(tmp_path, "m"), View("a:1", 0, "")
    kept.keep({view: some(1)})
    with transaction(tmp_path / FILE) as connection:
        connection.execute("update features set descriptors = substr(descriptors, 1, 77)")
    assert kept.read([view]) == {}
    kept.keep({view: some(1)})
    assert set(kept.read([view])) == {"a:1"}


def test_kept_points_count_as_found_ones_do(tmp_path: Path) -> None:
    verifier = real_verifier()
    here, along = verifier.features(facade(1)), verifier.features(facade(1, shift_px=60))
    kept, view = KeptFeatures(tmp_path, verifier.model_id), View("a:1", 0, "")
    kept.keep({view: along})
    assert abs(verifier.inliers(here, kept.read([view])["a:1"]) - verifier.inliers(here, along)) <= 3
