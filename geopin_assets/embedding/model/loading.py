"""A checkpoint and the network that it is of, strictly: every tensor by name and shape.

Here: which architecture a file holds, and saying so where another was asked for. Not here: the networks (`cosplace.py`,
`megaloc.py`), where weights come from (`checkpoints.py`), or how a network is run (`inference.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from geopin_assets.embedding.model.checkpoints import BACKBONES, PUBLISHED, Architecture, read_weights
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.embedding.model.megaloc import DIM, MegaLocNetwork, named_as_here
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError

MEGALOC = "ViTB14"


def load_network(path: Path, architecture: Architecture) -> tuple[nn.Module, Model]:
    """The network of a checkpoint, a bare state_dict as published, without whitening.

    Raises ConfigurationError for a file that is none, that holds another architecture, or that has changed.
    """
    published, sha256 = read_weights(path)
    state = named_as_here(published)
    held = architecture_of(state)
    if held != (architecture.backbone, architecture.dim):
        methods = [method for method, of in PUBLISHED.items() if held[0] in of]
        method = architecture.method if architecture.method in methods else methods[0]
        right = "/".join([method, *map(str, held)])
        raise ConfigurationError(
            f"GEOPIN_WEIGHTS: {path} holds {held[0]} with {held[1]} dimensions, and GEOPIN_MODEL asks for "
            f"{architecture}: set GEOPIN_MODEL={right}, or GEOPIN_WEIGHTS to another file"
        )
    network = _empty(*held)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False), replace(architecture, whitened=0).model(sha256)


def architecture_of(state: Mapping[str, Tensor]) -> tuple[str, int]:
    """(backbone, dim) of a checkpoint. Raises ConfigurationError when it is of none that is known."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    dim = shapes.get("aggregation.3.weight", (0,))[0]
    for backbone, dims in [(MEGALOC, DIM), *((backbone, dim) for backbone in BACKBONES)]:
        expected = _empty(backbone, dims or 1).state_dict()
        if {name: tuple(tensor.shape) for name, tensor in expected.items()} == shapes:
            return backbone, dims
    raise ConfigurationError(
        f"GEOPIN_WEIGHTS: not a CosPlace checkpoint, nor MegaLoc's: {len(shapes)} tensors, {dim} dimensions"
    )


def _empty(backbone: str, dim: int) -> nn.Module:
    """Without memory for its tensors."""
    with torch.device("meta"):
        return MegaLocNetwork() if backbone == MEGALOC else CosPlaceNetwork(backbone, dim)
