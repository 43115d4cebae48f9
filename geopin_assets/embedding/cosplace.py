"""CosPlace (Berton et al., CVPR 2022): the head, the network, its preprocessing, and the embedder made of them.

Architecture, parameter names and preprocessing are those of github.com/gmberton/CosPlace (MIT), so published
checkpoints load strictly; EigenPlaces shares them. Not here: backbones (`backbones.py`), where weights come
from (`weights.py`), panoramas (`panorama.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from geopin_assets.embedding.backbones import BACKBONES
from geopin_assets.embedding.protocol import Image
from geopin_assets.embedding.weights import read_weights
from geopin_assets.errors import ConfigurationError

SHORTER_SIDE_PX = 512
MAX_ASPECT = 16 / 9
"""Longer over shorter side; the model wants almost square images, and wider ones are cropped at both ends."""
PREPROCESSING = "p1"
"""Part of `model_id`: change it with anything that changes what the network sees."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB in 0..1
_CHUNK = {"cpu": 8, "mps": 16, "cuda": 32}  # images per forward pass; on a CPU larger ones only take memory


class L2Norm(nn.Module):
    """Unit length along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] to the same shape."""
        return F.normalize(x, p=2.0, dim=1)


class GeM(nn.Module):
    """Generalized mean over the whole map, with a learned exponent."""

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * p)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, 1, 1]."""
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1.0 / self.p)


class CosPlaceNetwork(nn.Module):
    """Backbone, then channel norm, GeM, linear, norm. Any input size; output rows have unit length."""

    def __init__(self, backbone: str, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.backbone = BACKBONES[backbone].build()
        self.aggregation = nn.Sequential(
            L2Norm(), GeM(), nn.Flatten(), nn.Linear(BACKBONES[backbone].channels, dim), L2Norm()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalized RGB [N, 3, h, w] to float32 [N, dim]. On CUDA the backbone runs in bfloat16, the head never."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
            features = self.backbone(x)
        return self.aggregation(features.float())


class CosPlace:
    """A CosPlace network with its weights on a device; fulfills `Embedder`."""

    name = "cosplace"
    is_place_recognition = True

    def __init__(self, network: CosPlaceNetwork, *, backbone: str, weights_sha256: str, device: str = "") -> None:
        """`device`: a torch device; empty picks cuda, then mps, then cpu."""
        self._device = torch.device(device or _best_device())
        network = network.eval().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it
        self._mean = torch.tensor(_MEAN, device=self._device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(_STD, device=self._device).view(1, 3, 1, 1) * 255
        self.dim = network.dim
        self.model_id = f"cosplace-{backbone.lower()}-{self.dim}-{weights_sha256[:8]}-{PREPROCESSING}"

    @classmethod
    def load(cls, path: Path, *, device: str = "") -> "CosPlace":
        """From a checkpoint, a bare state_dict as published; backbone and dimension are read off it.

        Raises ConfigurationError for a file that is none, or whose recorded hash differs.
        """
        state, sha256 = read_weights(path)
        backbone, dim = architecture_of(state)
        network = CosPlaceNetwork(backbone, dim)
        network.load_state_dict(dict(state))
        return cls(network, backbone=backbone, weights_sha256=sha256, device=device)

    def preprocess(self, image: Image) -> Image:
        """Crop to at most 16:9 around the center, then shorter side 512 with antialiasing; uint8 [h, w, 3].

        As a batch in channels_last an image is resized in 1.3 ms on one core and nothing is copied; with
        other strides it takes 3.5 and a team of threads (1024x768).
        """
        image = _crop(image)
        height, width = image.shape[:2]
        size = [side * SHORTER_SIDE_PX // min(height, width) for side in (height, width)]
        if [height, width] == size:
            return image
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
        resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        return resized.permute(0, 2, 3, 1)[0].contiguous().numpy()

    @torch.inference_mode()
    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Unit vectors, float32 [N, dim], of preprocessed images of one shape."""
        chunk = _CHUNK.get(self._device.type, 16)
        passes = [self._forward(batch[start : start + chunk]) for start in range(0, len(batch), chunk)]
        return torch.cat(passes).cpu().numpy()

    def _forward(self, images: Sequence[Image]) -> Tensor:
        """Pixels travel as bytes and are normalized on the device; NHWC permuted is channels_last already.

        On CUDA nothing here waits, so that the next pass is stacked and sent while this one computes.
        """
        is_cuda = self._device.type == "cuda"
        pixels = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=is_cuda)
        np.stack(images, out=pixels.numpy())
        pixels = pixels.to(self._device, non_blocking=is_cuda).permute(0, 3, 1, 2)
        return self._network((pixels.float() - self._mean) / self._std)


def architecture_of(state: Mapping[str, Tensor]) -> tuple[str, int]:
    """(backbone, dim) of a checkpoint. Raises ConfigurationError when it is not CosPlace's architecture."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    dim = shapes.get("aggregation.3.weight", (0,))[0]
    for backbone in BACKBONES:
        with torch.device("meta"):
            expected = CosPlaceNetwork(backbone, dim or 1).state_dict()
        if {name: tuple(tensor.shape) for name, tensor in expected.items()} == shapes:
            return backbone, dim
    raise ConfigurationError(f"GEOPIN_WEIGHTS: not a CosPlace checkpoint: {len(shapes)} tensors, {dim} dimensions")


def _crop(image: Image) -> Image:
    height, width = image.shape[:2]
    longest = int(min(height, width) * MAX_ASPECT)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return image[top : top + longest, left : left + longest]


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
