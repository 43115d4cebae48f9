"""What an embedder is. No torch and no model here."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Upright RGB image, uint8 [height, width, 3]."""


class Embedder(Protocol):
    """Turns images into unit vectors. Preprocessing lives with the model, so that it cannot be forgotten."""

    name: str
    dim: int
    model_id: str
    """Architecture, dimension, weights hash and preprocessing version: vectors of two ids never share an index."""
    is_place_recognition: bool
    """False for the sandbox's stand-in, whose vectors say how an image looks, not where it is."""

    def preprocess(self, image: Image) -> Image:
        """Resize and crop to what the model takes, uint8 [h, w, 3]; images of equal shape can share a batch."""
        ...

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Embed preprocessed images of one shape: float32 [N, dim], rows of unit L2 norm."""
        ...
