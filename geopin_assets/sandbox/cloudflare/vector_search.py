"""Nearest vectors: scores as Vectorize gives them, exact or approximate.

Here: arithmetic over one index. Not here: filters (`vector_filter.py`) or what is sent of a match (`vectorize.py`).
Without `returnValues` the real scores are approximations of unknown kind; here they come from values of 8 bits,
which at 512 dimensions moves a cosine by some 0.001 and swaps close neighbors.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def scores(vectors: Matrix, query: Matrix, metric: str, *, is_exact: bool) -> NDArray[np.float32]:
    """A score per row: cosine (1 = same direction), Euclidean distance, or negative dot product."""
    rows = vectors if is_exact else _coarse(vectors)
    if metric == "euclidean":
        return np.linalg.norm(rows - query, axis=1).astype(np.float32)
    products = rows @ query
    if metric == "dot-product":
        return -products
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def best(found: NDArray[np.float32], metric: str, top_k: int) -> list[int]:
    """Rows by score, the nearest first."""
    order = np.argsort(-found if metric == "cosine" else found, kind="stable")
    return [int(row) for row in order[:top_k]]


def _coarse(vectors: Matrix) -> Matrix:
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-30)
    return (np.round(vectors / largest * 127) / 127 * largest).astype(np.float32)
