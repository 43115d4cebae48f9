"""Rooms, and the insides of vehicles, told from streets by a network that knows scenes: only where one is configured.

The network is a ResNet18 of Places365 (Zhou et al., 2018) as its authors published it, in a folder with their list of
which of the 365 categories are indoors (`IO_places365.txt`: a category and 1 or 2 a line). Neither comes with this
project. Here: reading both, and the shares of a view. Not here: from where on a view is of no use (`quality.py`), or
the layers (`cosplace.py`).
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from geopin_assets.embedding.model.cosplace import resnet18
from geopin_assets.embedding.model.inference import MEAN, STD, fold_batch_norms
from geopin_assets.embedding.protocol import Image
from geopin_assets.embedding.quality import Scene
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.plain import read_plain

CATEGORIES = 365
LIST, WEIGHTS = "IO_places365.txt", "resnet18_places365.pth.tar"
_SHORTER_PX, _SIDE_PX = 256, 224
_VEHICLES = ("/c/car_interior", "/b/bus_interior", "/t/train_interior", "/a/airplane_cabin", "/c/cockpit")
_OF_STEM = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
"""Names of the authors' layers, and places of ours."""


class Scenes:
    """Of any view, how likely it shows a room, and how likely the inside of a vehicle. For many threads at once."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError for a folder without these two files, or with others of their names."""
        self._is_indoor, self._is_vehicle = _categories(folder / LIST)
        self._network = _network(folder / WEIGHTS)

    def __call__(self, view: Image) -> Scene:
        """Of a view or photo, uint8 [h, w, 3]; 40 ms on one core."""
        with torch.inference_mode():
            shares = torch.softmax(self._network(_input(view))[0], dim=0).numpy()
        return Scene(float(shares[self._is_indoor].sum()), float(shares[self._is_vehicle].sum()))


def _input(view: Image) -> Tensor:
    """As the authors evaluate it: squeezed into a square, of which the middle is shown."""
    small = Pillow.fromarray(view).resize((_SHORTER_PX, _SHORTER_PX), Pillow.Resampling.BILINEAR)
    first = (_SHORTER_PX - _SIDE_PX) // 2
    pixels = np.asarray(small, dtype=np.float32)[first : first + _SIDE_PX, first : first + _SIDE_PX] / 255
    normal = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))[None]


def _categories(path: Path) -> tuple[list[int], list[int]]:
    """Which categories are indoors but in no vehicle, and which are in one."""
    try:
        lines = [line.split() for line in read_plain(path).decode().splitlines() if line.strip()]
        indoor = [(number, name) for number, (name, kind) in enumerate(lines) if int(kind) == 1]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"GEOPIN_SCENES: {path} is not the list of categories: {error}") from error
    if len(lines) != CATEGORIES:
        raise ConfigurationError(f"GEOPIN_SCENES: {path} has {len(lines)} categories, not {CATEGORIES}")
    vehicles = [number for number, name in indoor if name in _VEHICLES]
    return [number for number, _ in indoor if number not in vehicles], vehicles


def _network(path: Path) -> nn.Module:
    state = _read(path)
    features = {_ours(name): tensor for name, tensor in state.items() if not name.startswith("fc.")}
    with torch.device("meta"):
        network = nn.Sequential(resnet18(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CATEGORIES))
    held = {f"0.{name}": tensor for name, tensor in features.items()}
    held |= {f"3.{name.removeprefix('fc.')}": tensor for name, tensor in state.items() if name.startswith("fc.")}
    try:
        network.load_state_dict(held, assign=True)
    except RuntimeError as error:
        first = str(error).partition("\n")[2].strip()
        raise ConfigurationError(f"GEOPIN_SCENES: {path} is no ResNet18 of Places365: {first:.200}") from None
    network.requires_grad_(False).eval()
    fold_batch_norms(network)
    return network


def _ours(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{_OF_STEM.get(first, first)}.{rest}"


def _read(path: Path) -> Mapping[str, Tensor]:
    """Tensors by the authors' names; no code in the file is run."""
    try:
        held: Any = torch.load(io.BytesIO(read_plain(path)), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever unpickling stumbles over
        raise ConfigurationError(f"GEOPIN_SCENES: {path} is not a torch checkpoint: {error!s:.200}") from error
    state = held.get("state_dict", held) if isinstance(held, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ConfigurationError(f"GEOPIN_SCENES: {path} holds no state_dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
