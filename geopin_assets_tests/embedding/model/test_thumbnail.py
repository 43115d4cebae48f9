import hashlib

import numpy as np

from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets_tests.embedding.pictures import smooth


def embed(*images: np.ndarray) -> np.ndarray:
    embedder = Thumbnail()
    return embedder.embed([embedder.preprocess(image) for image in images])


def test_vectors_have_512_dimensions_and_unit_norm() -> None:
    vectors = embed(smooth(640, 480), smooth(480, 640, seed=1), smooth(33, 32, seed=2))
    assert vectors.shape == (3, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_flat_color_images_have_unit_norm_too() -> None:
    flat = [np.full((64, 64, 3), color, np.uint8) for color in ((0, 0, 0), (255, 255, 255), (10, 200, 30))]
    vectors = embed(*flat)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_vector_of_an_image_never_changes() -> None:
    """Stored vectors are compared with later ones: a change here needs another model_id."""
    ramp = np.linspace(0, 255, 64 * 48 * 3).astype(np.uint8).reshape(48, 64, 3)
    rounded = np.round(embed(ramp)[0] * 1000).astype(np.int16)
    assert rounded[:4].tolist() == [-22, -17, 6, -26]
    assert hashlib.sha256((np.abs(rounded) > 50).tobytes()).hexdigest()[:16] == "3491796fb1fb40a3"


def test_a_slightly_changed_image_is_nearer_than_another_one() -> None:
    image = smooth(640, 480)
    shifted = np.roll(image, 8, axis=1).astype(float) * 0.9 + 10
    query, same, other = embed(image, shifted.astype(np.uint8), smooth(640, 480, seed=5))
    assert query @ same > 0.9 > query @ other


def test_batches_do_not_change_a_vector() -> None:
    images = [smooth(64, 64, seed) for seed in range(5)]
    np.testing.assert_allclose(embed(*images), np.concatenate([embed(image) for image in images]), atol=1e-6)
