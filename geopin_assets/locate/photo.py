"""A photo as the model sees it: decoded as untrusted bytes in a process of its own, and cut into views.

Here: from a file, bytes or pixels to unit vectors. Not here: how that is done (`embedding/`), or searching.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.content import emptiness
from geopin_assets.embedding.decoders import Decoders, Limits
from geopin_assets.embedding.decoding import PANORAMA_AT_LEAST
from geopin_assets.embedding.protocol import Embedder, Failure, Image
from geopin_assets.embedding.seen import Seen, panorama
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.plain import read_plain
from geopin_assets.sphere import Part, by_gpano, is_two_to_one
from geopin_assets.xmp import GPANO, properties

MAX_BYTES = 32 * 2**20
"""As of captures; of a file that is larger nothing is read."""
LIMITS = Limits(cpu_s=10, wall_s=20)
"""Somebody waits for the answer."""
Photo = Path | bytes | Image
"""A file, its bytes, or pixels: uint8 [height, width, 3], upright RGB."""


def read_photo(photo: Photo) -> Image:
    """The pixels of a photo, decoded as captures are: a panorama is larger, and laid into its sphere, which is 2:1.

    Raises ConfigurationError for what is no image that can be read, and for one that shows nothing.
    """
    if isinstance(photo, np.ndarray):
        return photo
    name = "the photo"
    if isinstance(photo, Path):
        name, photo = str(photo), _read(photo)
    if len(photo) > MAX_BYTES:
        raise ConfigurationError(f"{name}: a photo has at most {MAX_BYTES // 2**20} MB")
    image = _decoded(photo)
    if isinstance(image, Failure):
        raise ConfigurationError(f"{name}: {image.reason}: {image.detail}")
    if reason := emptiness(image):
        raise ConfigurationError(f"{name}: {reason}: nothing to see")
    return image


def _read(file: Path) -> bytes:
    """Of a file no more than shows that it is too large; what is no file is never opened."""
    try:
        return read_plain(file, MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"no photo at {file}") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error


def _decoded(data: bytes) -> Image | Failure:
    with Decoders(LIMITS) as decoders, decoders.lent() as decoder:
        image = decoder.decode(data)
        if isinstance(image, Failure):
            return image
        height, width = image.shape[:2]
        part = by_gpano(width, height, properties(data, GPANO))
        if part.is_all_around if part else is_two_to_one(width, height):
            image = decoder.decode(data, at_least=PANORAMA_AT_LEAST)
            if part and not isinstance(image, Failure):
                return _laid(image, part)
        return image if isinstance(image, Failure) else image.copy()


def _laid(image: Image, part: Part) -> Image:
    """Its last rows repeated above and below, until it is a whole sphere."""
    whole = round(image.shape[0] / part.height)
    above = min(round(part.top * whole), whole - image.shape[0])
    return np.pad(image, ((above, whole - image.shape[0] - above), (0, 0), (0, 0)), mode="edge")


def frames_of(image: Image, side_px: int) -> list[Image]:
    """What a model sees: the whole photo and, of one that may be a panorama, its views too."""
    height, width = image.shape[:2]
    seen = panorama(image, b"", side_px) if is_two_to_one(width, height) else None
    views = seen.views.values() if isinstance(seen, Seen) else ()
    return [image, *(view for view in views if view is not image)]  # one that is not cut is taken as it is


def views_of(frames: Sequence[Image], embedder: Embedder) -> NDArray[np.float32]:
    """Their unit vectors, float32 [V, dim]."""
    return embedder.embed([embedder.preprocess(frame) for frame in frames])
