"""Which model the settings ask for, on which device of this machine, and the embedder of both.

Here: what GEOPIN_MODEL, GEOPIN_WEIGHTS and GEOPIN_DEVICE mean. Not here: what runs on a device, and how
(`inference.py`), or the stand-in where there are no weights (`thumbnail.py`). torch is imported only to look for
devices and to load the real model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from geopin_assets.capture import MAX_DIM
from geopin_assets.embedding.model.checkpoints import Architecture, find_weights, weights_sha256
from geopin_assets.embedding.protocol import PREPROCESSING, STAND_IN, Embedder, Image, Model
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lock import hold_for_life
from geopin_assets.settings import Precision, Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIM = 512
"""Of the default model and of the sandbox's stand-in."""

_log = logging.getLogger(__name__)


def identify_model(settings: Settings) -> Model:
    """The model that `build_embedder` gives, without loading it: publishing and status need no more than that.

    Raises ConfigurationError as `build_embedder` does, except for weights of another architecture.
    """
    architecture, path = _configured(settings)
    if path is None:
        return STAND_IN
    return architecture.model(_sha256(weights_sha256(path), _whitening(settings, architecture)))


def dimensions(settings: Settings) -> int:
    """Of its vectors. For plans, which are made before the weights are there."""
    return STAND_IN.dim if _uses_stand_in(settings) else Architecture.parse(settings.model).dim


def build_embedder(settings: Settings) -> Embedder:
    """`settings.model` with the weights in `settings.weights`, else the stand-in (sandbox), else the published ones.

    Loaded once per process. The sandbox never asks the network. Raises ConfigurationError where weights cannot be
    had, are not what they were, or are of another architecture, and for a device that is not there: outside the
    sandbox nothing takes the place of the real model.
    """
    architecture, path = _configured(settings)
    if path is None:
        from geopin_assets.embedding.model.thumbnail import Thumbnail

        return Thumbnail()
    return _loaded(settings, architecture, path)


def build_unwhitened(settings: Settings) -> tuple[Embedder, Architecture]:
    """The model without its whitening, whatever its dimensions: to fit one to its vectors (`geopin whiten`).

    Raises ConfigurationError as `build_embedder` does, and for a model that none is asked of.
    """
    architecture = Architecture.parse(settings.model)
    if _uses_stand_in(settings) or not architecture.whitened:
        raise ConfigurationError(
            f"GEOPIN_MODEL={settings.model}: nothing to whiten; name a model and the dimensions to keep, "
            "e.g. megaloc/ViTB14/8448/512, and in the sandbox its weights too"
        )
    path = find_weights(settings.weights, architecture, settings.data_dir / "weights")
    return _loaded(settings, replace(architecture, whitened=0), path), architecture


def whitening_path(settings: Settings, architecture: Architecture) -> Path:
    """Where the whitening of a model is, or will be."""
    name = f"{str(architecture).replace('/', '-').lower()}.npz"
    return Path(settings.whitening) if settings.whitening else settings.data_dir / "weights" / name


def _loaded(settings: Settings, architecture: Architecture, path: Path) -> Embedder:
    device = choose_device(settings.device, available_devices(), settings.data_dir / "devices")
    whitening = _whitening(settings, architecture)
    changed = tuple(file.stat().st_mtime_ns for file in (path, whitening) if file)
    return _load(path, changed, architecture, whitening, device, settings.precision, settings.is_compiled)


def _whitening(settings: Settings, architecture: Architecture) -> Path | None:
    return whitening_path(settings, architecture) if architecture.whitened else None


def _sha256(weights: str, whitening: Path | None) -> str:
    """Of the weights, and of what is applied behind them. Raises ConfigurationError for one fitted to other weights."""
    if whitening is None:
        return weights
    from geopin_assets.embedding.model.whitening import read

    held, sha256 = read(whitening)
    if held.provenance.get("weights_sha256") != weights:
        raise ConfigurationError(f"{whitening} was fitted to other weights: `geopin whiten` fits one to these")
    return hashlib.sha256(f"{weights}{sha256}".encode()).hexdigest()


def embedding_code_version(settings: Settings) -> str:
    """What decides the vectors of an image, as far as code and settings say: `cosplace/ResNet50/512-p2`.

    For definitions, which must load where no weights are: opens no file, loads no torch, raises nothing. Which weights
    they are is in the model's id, and so in every vector's.
    """
    return STAND_IN.model_id if _uses_stand_in(settings) else f"{settings.model}-{PREPROCESSING}"


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
    if architecture.vector_dim > MAX_DIM:
        raise ConfigurationError(
            f"GEOPIN_MODEL={settings.model}: {architecture.vector_dim:,} dimensions; an index takes {MAX_DIM:,},"
            f" and {settings.model}/512 is the same whitened to 512"
        )
    if _uses_stand_in(settings):
        return architecture, None
    return architecture, find_weights(settings.weights, architecture, settings.data_dir / "weights")


def _uses_stand_in(settings: Settings) -> bool:
    return settings.is_sandbox and not settings.weights


@lru_cache(maxsize=1)
def _load(
    path: Path,
    changed: tuple[int, ...],
    architecture: Architecture,
    whitening: Path | None,
    device: str,
    precision: Precision,
    is_compiled: bool,
) -> Embedder:
    from geopin_assets.embedding.model.inference import TorchEmbedder, Whitened
    from geopin_assets.embedding.model.loading import load_network
    from geopin_assets.embedding.model.whitening import read

    network, model = load_network(path, architecture)
    if whitening:
        model = architecture.model(_sha256(weights_sha256(path), whitening))
        network = Whitened(network, read(whitening)[0])
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
