"""A photo as the model sees it: decoded as untrusted bytes in a process of its own, and cut into views.

Here: from a file, bytes or pixels to unit vectors. Not here: how that is done (`embedding/`), or searching.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.decoders import decode_apart
from geopin_assets.embedding.protocol import Embedder, Failure, Image
from geopin_assets.embedding.views import is_equirectangular, perspective_views
from geopin_assets.errors import ConfigurationError

Photo = Path | bytes | Image
"""A file, its bytes, or pixels: uint8 [height, width, 3], upright RGB."""


def read_photo(photo: Photo) -> Image:
    """The pixels of a photo. Raises ConfigurationError for what is no image that can be read."""
    if isinstance(photo, np.ndarray):
        return photo
    name = "the photo"
    if isinstance(photo, Path):
        name = str(photo)
        if not photo.is_file():
            raise ConfigurationError(f"no photo at {photo}")
        photo = photo.read_bytes()
    image = decode_apart(photo)
    if isinstance(image, Failure):
        raise ConfigurationError(f"{name}: {image.reason}: {image.detail}")
    return image


def frames_of(image: Image, side_px: int) -> list[Image]:
    """What a model sees: the whole photo and, of one that may be a panorama, its twelve views too."""
    height, width = image.shape[:2]
    return [image, *(perspective_views(image, size_px=side_px) if is_equirectangular(width, height) else [])]


def views_of(frames: Sequence[Image], embedder: Embedder) -> NDArray[np.float32]:
    """Their unit vectors, float32 [V, dim]."""
    return embedder.embed([embedder.preprocess(frame) for frame in frames])
