"""Which model the settings ask for, on which device of this machine, and the embedder of both.

Here: what GEOPIN_MODEL, GEOPIN_WEIGHTS and GEOPIN_DEVICE mean. Not here: what runs on a device, and how
(`inference.py`). torch is imported only to look for devices and to load the real model.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.model.checkpoints import Architecture, find_weights, weights_sha256
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import Embedder, Image, Model
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lock import hold_for_life
from geopin_assets.settings import Precision, Settings

_log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """Names of the torch devices of this machine, the best first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*(["cuda", *cuda] if cuda else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_device(stated: str, available: Sequence[str], folder: Path) -> str:
    """The device of this process: the one stated, one of those stated that no other process holds, or the best.

    `stated`: a name, several with commas between them, or empty. `folder`: where processes lay their claims.
    Raises ConfigurationError for one that the machine does not have.
    """
    names = [name for name in map(str.strip, stated.split(",")) if name]
    if unknown := [name for name in names if name not in available]:
        raise ConfigurationError(
            f"GEOPIN_DEVICE={stated}: no {', '.join(unknown)} here; there is {', '.join(available)}"
        )
    return claim_device(names, folder) if len(names) > 1 else (names or available)[0]


def claim_device(names: Sequence[str], folder: Path) -> str:
    """The first device that no other process holds, held by this one until it ends, however it ends.

    Where all are held, the first is shared: slower than one of its own, but better than not at all.
    """
    for name in names:
        if hold_for_life(folder / f"{name.replace(':', '-')}.lock"):
            return name
    _log.warning("GEOPIN_DEVICE: other processes hold all of %s; sharing %s", ", ".join(names), names[0])
    return names[0]


DIM = 512
"""Of the default model and of the sandbox's stand-in."""


def identify_model(settings: Settings) -> Model:
    """The model that `build_embedder` gives, without loading it: publishing and status need no more than that.

    Raises ConfigurationError as `build_embedder` does, except for weights of another architecture.
    """
    path = _weights(settings)
    if path is None:
        return Model(Thumbnail.model_id, Thumbnail.dim, Thumbnail.is_place_recognition)
    return Architecture.parse(settings.model).model(weights_sha256(path))


def build_embedder(settings: Settings) -> Embedder:
    """`settings.model` with the weights in `settings.weights`, else the stand-in (sandbox), else the published ones.

    Loaded once per process. The sandbox never asks the network. Raises ConfigurationError where weights cannot be
    had, are not what they were, or are of another architecture, and for a device that is not there: outside the
    sandbox nothing takes the place of the real model.
    """
    path = _weights(settings)
    if path is None:
        return Thumbnail()
    architecture, devices = Architecture.parse(settings.model), settings.data_dir / "devices"
    device = choose_device(settings.device, available_devices(), devices)
    return _load(path, path.stat().st_mtime_ns, architecture, device, settings.precision, settings.is_compiled)


class LazyEmbedder:
    """An embedder that is loaded when its first image comes: a week without a change loads none."""

    def __init__(self, model: Model, load: Callable[[], Embedder]) -> None:
        self.model_id, self.dim, self.is_place_recognition = model.model_id, model.dim, model.is_place_recognition
        self._load, self._lock = load, Lock()

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


def _weights(settings: Settings) -> Path | None:
    """The checkpoint; None for the stand-in."""
    architecture = Architecture.parse(settings.model)
    if settings.is_sandbox and not settings.weights:
        return None
    return find_weights(settings.weights, architecture, settings.data_dir / "weights")


@lru_cache(maxsize=1)
def _load(
    path: Path, modified_ns: int, architecture: Architecture, device: str, precision: Precision, is_compiled: bool
) -> Embedder:
    from geopin_assets.embedding.model.cosplace import CosPlace, load_network

    network, model = load_network(path, architecture)
    return CosPlace(network, model, device=device, precision=precision, is_compiled=is_compiled)
