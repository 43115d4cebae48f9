"""What the parts of this room are to each other: pixels, the image of a capture, a fetcher, a model, an embedder.

Not here: any of those that does something, nor why an image could not be had (`failures.py`). No torch.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.failures import Failure
from geopin_assets.embedding.memory import TaskMemory

Image = NDArray[np.uint8]
"""Upright RGB image, uint8 [height, width, 3]."""


@dataclass(frozen=True, slots=True)
class CaptureImage:
    """The image of a capture of a cell, in the version it has now."""

    cell_id: str
    capture_id: str
    source: str
    source_capture_id: str
    image_url: str
    """As the catalog knows it; it may have expired."""
    image_version: str
    is_pano: bool
    center_deg: float | None
    """Bearing of the image center, degrees clockwise from true north; None if unknown."""


FetchImage = Callable[[str], Awaitable[bytes | Failure]]


class Fetcher(Protocol):
    """Where image bytes come from; `fetching.ImageFetcher` for real."""

    def lanes(self, host: str) -> int:
        """Requests that may run at once against a host (a scheme for local files)."""

    def session(self, memory: TaskMemory) -> AbstractAsyncContextManager[FetchImage]:
        """Yields `fetch(url)`, which returns a Failure and does not raise for a bad image.

        The bytes it returns are taken from the memory, and given back by the caller.
        """


@dataclass(frozen=True, slots=True)
class Model:
    """Which model made, or will make, vectors: known without loading it."""

    model_id: str
    """Architecture, dimension, weights hash and preprocessing version: vectors of two ids never share an index."""
    dim: int
    is_place_recognition: bool
    """False for the sandbox's stand-in, whose vectors say how an image looks, not where it is."""

    @property
    def label(self) -> str:
        """Text to show wherever its vectors are shown."""
        if self.is_place_recognition:
            return self.model_id
        return f"{self.model_id}: not a place-recognition model: sandbox stand-in"


class Embedder(Protocol):
    """Turns images into unit vectors. Preprocessing lives with the model, so that it cannot be forgotten."""

    model: Model

    @property
    def batch_size(self) -> int:
        """Images per `embed` call that suit the device; any other number works too."""

    def preprocess(self, image: Image) -> Image:
        """Resize and crop to what the model takes, uint8 [h, w, 3]; images of equal shape can share a batch."""

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Embed preprocessed images of one shape: float32 [N, dim], rows of unit L2 norm, in order.

        May be called from another thread than the one that loaded the model, by one at a time.
        """
