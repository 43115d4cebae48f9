"""Fewer dimensions of the same vectors: their principal axes, each stretched to the same spread (PCA whitening).

Fitted once, on a sample of the images that the index is of, and stored with where it came from: another whitening is
another model. On Mapillary photos MegaLoc's 8,448 dimensions lost .02 to .03 of recall at 512 (docs/embedding.md).
Here: fitting, the file, and applying it behind a network. Not here: drawing and embedding the sample (`cli/whiten.py`).
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import orjson
from numpy.typing import NDArray

from geopin_assets.errors import ConfigurationError
from geopin_assets.files.atomic import write_bytes
from geopin_assets.files.plain import read_plain

FEWEST_PER_DIM = 2
"""Vectors for each dimension that is kept: of fewer the last axes are those of the sample."""
_FLOOR = 1e-3
"""Of the first axis' spread: no axis is stretched by more than its inverse."""


@dataclass(frozen=True, slots=True)
class Whitening:
    """`projection` [kept, dim] of what is left of a vector without `mean` [dim]."""

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    provenance: Mapping[str, Any]
    """weights_sha256, images, sources, cells, share of the variance kept, at."""

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors, float32 [N, kept]."""
        kept = (vectors - self.mean) @ self.projection.T
        return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def fit(vectors: NDArray[np.float32], kept: int, provenance: Mapping[str, Any]) -> Whitening:
    """From unit vectors, float32 [N, dim]; where they are fewer than dimensions, over their products.

    Raises ValueError for too few of them.
    """
    count, dim = vectors.shape
    if count < FEWEST_PER_DIM * kept:
        raise ValueError(f"{count} images; {FEWEST_PER_DIM * kept} at least for {kept} dimensions")
    mean = vectors.mean(axis=0)
    centered = vectors - mean
    products = (centered @ centered.T if count < dim else centered.T @ centered).astype(np.float64)
    spread, axes = np.linalg.eigh(products)
    total, spread, axes = spread.sum(), spread[::-1][:kept], axes[:, ::-1][:, :kept]
    if count < dim:
        axes = centered.T.astype(np.float64) @ axes / np.sqrt(np.maximum(spread, 1e-12))
    stretch = 1 / np.maximum(np.sqrt(spread / spread[0]), _FLOOR)
    facts = {**provenance, "images": count, "variance_kept": round(float(spread.sum() / total), 4)}
    return Whitening(mean, (axes * stretch).T.astype(np.float32), facts)


def write(path: Path, whitening: Whitening) -> Path:
    """One file, whole or not at all."""
    file = io.BytesIO()
    said = np.frombuffer(orjson.dumps(dict(whitening.provenance)), np.uint8)
    np.savez(file, mean=whitening.mean, projection=whitening.projection, provenance=said)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, file.getvalue())


def read(path: Path) -> tuple[Whitening, str]:
    """With the SHA-256 of the file. Raises ConfigurationError for one that is none, or is not there."""
    try:
        data = read_plain(path)
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            provenance = orjson.loads(held["provenance"].tobytes())
            whitening = Whitening(held["mean"], held["projection"], provenance)
    except FileNotFoundError:
        raise ConfigurationError(
            f"no whitening at {path}: `geopin whiten` fits one to the captures of the catalog"
        ) from None
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise ConfigurationError(f"{path} is no whitening: {error}") from error
    return whitening, hashlib.sha256(data).hexdigest()
