"""Which embedder a profile uses. The model and torch are imported only when it is the real one."""

from functools import lru_cache
from pathlib import Path

from geopin_assets.embedding.protocol import Embedder
from geopin_assets.embedding.thumbnail import Thumbnail
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

BACKBONE, DIM = "ResNet50", 512


def build_embedder(settings: Settings) -> Embedder:
    """CosPlace from `settings.weights`, else the stand-in (sandbox), else the published checkpoint.

    The sandbox never asks the network. Raises ConfigurationError where weights cannot be had or are not
    what they were, or have another dimension: outside the sandbox nothing takes the place of the real model.
    """
    if settings.is_sandbox and not settings.weights:
        return Thumbnail()
    from geopin_assets.embedding.weights import find_weights

    path = find_weights(settings.weights, BACKBONE, DIM, settings.data_dir / "weights")
    embedder = _load(path, settings.device, path.stat().st_mtime_ns)
    if embedder.dim != DIM:
        raise ConfigurationError(f"{path.name}: vectors of {embedder.dim} dimensions; files and index take {DIM}")
    return embedder


@lru_cache(maxsize=1)
def _load(path: Path, device: str, modified_ns: int) -> Embedder:
    """The model of a checkpoint, loaded once per process: embedding, publishing and checking all ask for it."""
    from geopin_assets.embedding.cosplace import CosPlace

    return CosPlace.load(path, device=device)


def embedder_label(embedder: Embedder) -> str:
    """Text to show wherever vectors of this embedder are shown."""
    if embedder.is_place_recognition:
        return embedder.model_id
    return f"{embedder.model_id}: not a place-recognition model: sandbox stand-in"
