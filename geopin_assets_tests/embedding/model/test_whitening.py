"""Fewer dimensions of the same vectors: fitted, kept with where they come from, and part of what a model is called."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopin_assets.embedding.model.checkpoints import weights_sha256
from geopin_assets.embedding.model.choosing import build_embedder, build_unwhitened, identify_model, whitening_path
from geopin_assets.embedding.model.whitening import fit, read, write
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings
from geopin_assets_tests.embedding.model.test_choosing import save
from geopin_assets_tests.embedding.pictures import smooth


def sample(count: int, dim: int, axes: int = 12, seed: int = 0, falls: float = 0.7) -> np.ndarray:
    """Unit vectors that differ along a few axes, each less than the one before it, and a little in all."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(dim, axes)))[0]
    vectors = random.normal(size=(count, axes)) * falls ** np.arange(axes) @ basis.T
    vectors += 0.3 + 0.01 * random.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("count", "dim"), [(400, 64), (100, 300)])
def test_what_is_kept_is_spread_evenly_and_of_unit_length(count: int, dim: int) -> None:
    """Whether there are more vectors or more dimensions: two ways to the same axes."""
    vectors = sample(count, dim)
    whitening = fit(vectors, 8, {"weights_sha256": "x"})
    kept = (vectors - whitening.mean) @ whitening.projection.T
    covariance = kept.T @ kept / count
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(8), atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(whitening(vectors), axis=1), 1, atol=1e-5)
    assert whitening.provenance["images"] == count and 0.9 < whitening.provenance["variance_kept"] < 1


def test_the_axes_are_those_of_an_independent_decomposition() -> None:
    vectors = sample(300, 40)
    rows = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][:6]
    found = fit(vectors, 6, {}).projection
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((found * rows).sum(1)), 1, atol=1e-3)


def test_pairs_of_one_place_are_told_from_others_as_well_with_an_eighth_of_the_numbers() -> None:
    places, again = sample(500, 256, 32, falls=0.95), sample(500, 256, 32, falls=0.95)
    again += np.random.default_rng(5).normal(0, 0.004, again.shape).astype(np.float32)
    whitening = fit(sample(800, 256, 32, seed=7, falls=0.95), 32, {})
    assert np.mean((whitening(again) @ whitening(places).T).argmax(1) == np.arange(500)) >= 0.97


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="128 at least for 64 dimensions"):
        fit(sample(100, 256), 64, {})


def test_it_is_one_file_with_where_it_comes_from(tmp_path: Path) -> None:
    whitening = fit(sample(300, 40), 8, {"weights_sha256": "ab", "sources": ["panoramax"]})
    write(tmp_path / "of" / "a.npz", whitening)
    held, sha256 = read(tmp_path / "of" / "a.npz")
    assert dict(held.provenance) == dict(whitening.provenance) and len(sha256) == 64
    np.testing.assert_array_equal(held(sample(3, 40)), whitening(sample(3, 40)))


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_what_is_none_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ConfigurationError, match="is no whitening"):
        read(tmp_path / "a.npz")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, model="cosplace/ResNet18/64/16", weights=save(tmp_path / "w.pth", dim=64), device="cpu"
    )


def test_a_whitened_model_answers_with_the_dimensions_kept_and_is_called_so(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="`geopin whiten` fits one"):
        identify_model(settings)
    plain, architecture = build_unwhitened(settings)
    assert plain.model.dim == 64
    images = [smooth(96, 64, seed) for seed in range(3)]
    raw = plain.embed(images)
    sha256 = weights_sha256(Path(settings.weights))
    whitening = fit(sample(200, 64), 16, {"weights_sha256": sha256})
    write(whitening_path(settings, architecture), whitening)
    embedder = build_embedder(settings)
    assert embedder.model == identify_model(settings) and embedder.model.dim == 16
    assert embedder.model.model_id.startswith("cosplace-resnet18-16w-")
    np.testing.assert_allclose(embedder.embed(images), whitening(raw), atol=1e-4)
    write(whitening_path(settings, architecture), replace(whitening, mean=whitening.mean + 1))
    assert identify_model(settings).model_id != embedder.model.model_id
    assert build_embedder(settings).model == identify_model(settings)


def test_a_whitening_of_other_weights_is_refused(settings: Settings) -> None:
    _, architecture = build_unwhitened(settings)
    write(whitening_path(settings, architecture), fit(sample(200, 64), 16, {"weights_sha256": "of others"}))
    with pytest.raises(ConfigurationError, match="fitted to other weights"):
        build_embedder(settings)


def test_what_is_too_wide_for_an_index_says_how_it_fits(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(ConfigurationError, match="megaloc/ViTB14/8448/512 is the same whitened"):
        identify_model(Settings(data_dir=tmp_path, model="megaloc/ViTB14/8448", weights=str(tmp_path / "w.pth")))
