"""Stored vectors that are not sound are counted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.embedding.audit import VectorAudit, audit_vectors

DIM = 512


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def store(path: Path, vectors: np.ndarray, model_id: str = "m1") -> Path:
    embedding = pl.Series(vectors.astype(np.float16), dtype=pl.Array(pl.Float16, DIM))
    pl.DataFrame({"model_id": [model_id] * len(vectors), "embedding": embedding}).write_parquet(path)
    return path


def test_unit_vectors_are_sound_after_being_rounded_to_16_bits(tmp_path: Path) -> None:
    assert audit_vectors([store(tmp_path / "a.parquet", unit_vectors(1000))]) == VectorAudit(1000, 0, 0, {"m1": 1000})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_with_one_component_that_is_no_number_is_not_finite(tmp_path: Path, value: float) -> None:
    vectors = unit_vectors(3)
    vectors[1, 17] = value
    audit = audit_vectors([store(tmp_path / "a.parquet", vectors)])
    assert (audit.vectors, audit.not_finite, audit.not_unit) == (3, 1, 0)


@pytest.mark.parametrize("length", [0.0, 0.99, 1.01, 3.0])
def test_a_vector_of_another_length_is_not_unit(tmp_path: Path, length: float) -> None:
    vectors = unit_vectors(3)
    vectors[2] *= length
    audit = audit_vectors([store(tmp_path / "a.parquet", vectors)])
    assert (audit.vectors, audit.not_finite, audit.not_unit) == (3, 0, 1)


def test_vectors_are_counted_by_model_over_all_files(tmp_path: Path) -> None:
    paths = [
        store(tmp_path / "a.parquet", unit_vectors(2)),
        store(tmp_path / "b.parquet", unit_vectors(3), "m2"),
        store(tmp_path / "c.parquet", unit_vectors(4)),
    ]
    assert audit_vectors(paths).by_model == {"m1": 6, "m2": 3}


def test_cells_without_a_vector_and_no_cells_at_all_are_sound(tmp_path: Path) -> None:
    assert audit_vectors([]) == VectorAudit(0, 0, 0, {})
    assert audit_vectors([store(tmp_path / "a.parquet", np.empty((0, DIM)))]) == VectorAudit(0, 0, 0, {})


@given(seed=st.integers(0, 2**32 - 1), sharpness=st.floats(0.1, 8))
@settings(max_examples=30)
def test_no_shape_of_unit_vector_trips_the_tolerance(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sharpness: float
) -> None:
    """From one dominant component to all components alike."""
    vectors = np.sign(unit_vectors(20, seed)) * np.abs(unit_vectors(20, seed)) ** sharpness
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = store(tmp_path_factory.mktemp("cells") / "a.parquet", vectors)
    assert audit_vectors([path]).not_unit == 0
