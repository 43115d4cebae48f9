"""Which model the settings ask for, on which device of this machine, and the embedder of both.

Here: what GEOPIN_MODEL, GEOPIN_WEIGHTS and GEOPIN_DEVICE mean, and the stand-in embedder where there are no weights:
a 16 x 16 thumbnail, standardized and projected to 512 dimensions. It says how an image looks, not where it is: on
rendered street scenes it recalls 87 % under mild changes and 21 % under hard ones. Never for a real index.

Not here: what runs on a device, and how (`inference.py`). torch is imported only to look for devices and to load the
real model.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from geopin_assets.capture import MAX_DIM
from geopin_assets.embedding.model.checkpoints import Architecture, find_weights, weights_sha256
from geopin_assets.embedding.protocol import Embedder, Image, Model
from geopin_assets.embedding.views import PREPROCESSING
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lock import hold_for_life
from geopin_assets.settings import Precision, Settings

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

    model = Model("thumbnail-512-p2", dim=512, is_place_recognition=False, side_px=4 * SIDE_PX)
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


DIM = 512
"""Of the default model and of the sandbox's stand-in."""

_log = logging.getLogger(__name__)


def identify_model(settings: Settings) -> Model:
    """The model that `build_embedder` gives, without loading it: publishing and status need no more than that.

    Raises ConfigurationError as `build_embedder` does, except for weights of another architecture.
    """
    architecture, path = _configured(settings)
    return architecture.model(weights_sha256(path)) if path else Thumbnail.model


def build_embedder(settings: Settings) -> Embedder:
    """`settings.model` with the weights in `settings.weights`, else the stand-in (sandbox), else the published ones.

    Loaded once per process. The sandbox never asks the network. Raises ConfigurationError where weights cannot be
    had, are not what they were, or are of another architecture, and for a device that is not there: outside the
    sandbox nothing takes the place of the real model.
    """
    architecture, path = _configured(settings)
    if path is None:
        return Thumbnail()
    device = choose_device(settings.device, available_devices(), settings.data_dir / "devices")
    return _load(path, path.stat().st_mtime_ns, architecture, device, settings.precision, settings.is_compiled)


def embedding_code_version(settings: Settings) -> str:
    """What decides the vectors of an image, as far as code and settings say: `cosplace/ResNet50/512-p2`.

    For definitions, which must load where no weights are: opens no file, loads no torch, raises nothing. Which weights
    they are is in the model's id, and so in every vector's.
    """
    return Thumbnail.model.model_id if _uses_stand_in(settings) else f"{settings.model}-{PREPROCESSING}"


class LazyEmbedder:
    """An embedder that is loaded when its first image comes: a week without a change loads none."""

    def __init__(self, model: Model, load: Callable[[], Embedder]) -> None:
        self.model, self._load, self._lock = model, load, Lock()

    @cached_property
    def _loaded(self) -> Embedder:
        with self._lock:  # the first images are prepared in several threads
            return self._load()

    @property
    def batch_size(self) -> int:
        return self._loaded.batch_size

    def preprocess(self, image: Image) -> Image:
        return self._loaded.preprocess(image)

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        return self._loaded.embed(batch)


def _configured(settings: Settings) -> tuple[Architecture, Path | None]:
    """The architecture, and its checkpoint; no checkpoint for the stand-in.

    Raises ConfigurationError for one whose vectors no index takes, before its weights are fetched.
    """
    architecture = Architecture.parse(settings.model)
    if architecture.dim > MAX_DIM:
        raise ConfigurationError(
            f"GEOPIN_MODEL={settings.model}: {architecture.dim:,} dimensions; an index takes {MAX_DIM:,} at most"
        )
    if _uses_stand_in(settings):
        return architecture, None
    return architecture, find_weights(settings.weights, architecture, settings.data_dir / "weights")


def _uses_stand_in(settings: Settings) -> bool:
    return settings.is_sandbox and not settings.weights


@lru_cache(maxsize=1)
def _load(
    path: Path, modified_ns: int, architecture: Architecture, device: str, precision: Precision, is_compiled: bool
) -> Embedder:
    from geopin_assets.embedding.model.cosplace import load_network
    from geopin_assets.embedding.model.inference import TorchEmbedder

    network, model = load_network(path, architecture)
    return TorchEmbedder(network, model, device=device, precision=precision, is_compiled=is_compiled)


def available_devices() -> list[str]:
    """Names of the torch devices of this machine, the best first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*(["cuda", *cuda] if cuda else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_device(stated: str, available: Sequence[str], folder: Path) -> str:
    """The device of this process: the one stated, the first of several that no other process holds, or the best.

    `stated`: a name, several with commas between them, or empty. `folder`: where processes lay their claims, until they
    end, however they end. Where all are held, the first is shared: slower than one of its own, but better than not at
    all. Raises ConfigurationError for one that the machine does not have.
    """
    names = [name for name in map(str.strip, stated.split(",")) if name]
    if unknown := [name for name in names if name not in available]:
        raise ConfigurationError(
            f"GEOPIN_DEVICE={stated}: no {', '.join(unknown)} here; there is {', '.join(available)}"
        )
    if len(names) < 2:
        return (names or available)[0]
    for name in names:
        if hold_for_life(folder / f"{name.replace(':', '-')}.lock"):
            return name
    _log.warning("GEOPIN_DEVICE: other processes hold all of %s; sharing %s", ", ".join(names), names[0])
    return names[0]
