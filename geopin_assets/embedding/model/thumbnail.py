"""The stand-in embedder where there are no weights: a 16 x 16 thumbnail, standardized and projected to 512 dimensions.

It says how an image looks, not where it is: on rendered street scenes it recalls 87 % under mild changes and 21 % under
hard ones. Never for a real index. Not here: when it is used (`choosing.py`).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from geopin_assets.embedding.protocol import STAND_IN, Image

SIDE_PX = 16
_MIN_STD = 1.0  # gray levels; a flat channel stays zero instead of becoming amplified noise


@cache
def _projection(dim: int) -> NDArray[np.float64]:
    """Orthonormal [768, dim] from a seeded QR. RandomState's stream is frozen by numpy; signs are fixed here."""
    random = np.random.RandomState(512).standard_normal((SIDE_PX * SIDE_PX * 3, dim))
    q, r = np.linalg.qr(random)
    return q * np.sign(np.diag(r))


class Thumbnail:
    """Deterministic 512-d embedder without weights; fulfills `Embedder`."""

    model = STAND_IN
    batch_size = 32

    def preprocess(self, image: Image) -> Image:
        """Mean color of 16 x 16 areas, uint8 [16, 16, 3]."""
        return np.asarray(Pillow.fromarray(image).resize((SIDE_PX, SIDE_PX), Pillow.Resampling.BOX))

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Unit vectors, float32 [N, 512]; an image of one flat color gets a fixed one.

        Computed in 64 bits: stored with 16, a vector is then the same whatever batch it came in.
        """
        pixels = np.stack(batch).reshape(len(batch), -1, 3).astype(np.float64)
        centered = pixels - pixels.mean(axis=1, keepdims=True)
        standard = centered / np.maximum(pixels.std(axis=1, keepdims=True), _MIN_STD)
        vectors = standard.reshape(len(batch), -1) @ _projection(self.model.dim)
        vectors[~vectors.any(axis=1), 0] = 1.0
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
