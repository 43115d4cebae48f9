"""CosPlace (Berton et al., CVPR 2022) in torch alone: VGG16 and the ResNets, the head, and the embedder made of them.

Architecture, parameter names and preprocessing are those of github.com/gmberton/CosPlace (MIT), so published
checkpoints load strictly; EigenPlaces shares them. Names, order and shapes of a backbone's parameters are those of
`nn.Sequential(*list(torchvision_net.children())[:-2])`; torchvision itself is no dependency: its wheel does not import
beside a CPU build of torch. Not here: what is published and where weights come from (`checkpoints.py`), how a network
is run (`inference.py`), which part of an image it sees (`views.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from geopin_assets.embedding.model.checkpoints import BACKBONES, Architecture, read_weights
from geopin_assets.embedding.model.inference import BATCH_SIZE, Inference
from geopin_assets.embedding.protocol import Image, Model
from geopin_assets.embedding.views import frame
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Precision


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet18)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, planes, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (ResNet50 and deeper), "v1.5": the stride is on the 3x3."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, planes * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, 4 planes, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def _resnet(block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...]) -> nn.Sequential:
    stages, inputs = [], 64
    for stage, depth in enumerate(depths):
        planes, blocks = 64 * 2**stage, []
        for index in range(depth):
            blocks.append(block(inputs, planes, stride=2 if stage and not index else 1))
            inputs = planes * block.expansion
        stages.append(nn.Sequential(*blocks))
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *stages)


def _vgg(depths: tuple[int, ...]) -> nn.Sequential:
    """Without its last ReLU and pooling: the last map has negative values, which the head clamps."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, depth in enumerate(depths):
        planes = min(64 * 2**stage, 512)
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, planes, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = planes
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers[:-2])


def build_backbone(name: str) -> nn.Sequential:
    """The layers of one of `BACKBONES`, with random weights."""
    depths = BACKBONES[name].depths
    if name == "VGG16":
        return _vgg(depths)
    return _resnet(BasicBlock if name == "ResNet18" else Bottleneck, depths)


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
        self.backbone = build_backbone(backbone)
        self.aggregation = nn.Sequential(
            L2Norm(), GeM(), nn.Flatten(), nn.Linear(BACKBONES[backbone].channels, dim), L2Norm()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalized RGB [N, 3, h, w] to float32 [N, dim]. The backbone may be in half precision, the head never is."""
        features = self.backbone(x.to(next(self.backbone.parameters()).dtype))
        return self.aggregation(features.float())


class CosPlace:
    """A network of CosPlace or EigenPlaces with its weights on a device; fulfills `Embedder`."""

    def __init__(
        self,
        network: nn.Module,
        model: Model,
        *,
        device: str = "cpu",
        precision: Precision = Precision.AUTO,
        is_compiled: bool = False,
    ) -> None:
        self.model_id, self.dim, self.is_place_recognition = model.model_id, model.dim, model.is_place_recognition
        self.batch_size = BATCH_SIZE[torch.device(device).type]
        self._inference = Inference(network, device, precision=precision, is_compiled=is_compiled)

    def preprocess(self, image: Image) -> Image:
        """Crop to the frame, then shorter side 512 with antialiasing; uint8 [h, w, 3], one of `framing.SHAPES`.

        As a batch in channels_last an image is resized in 1.3 ms on one core and nothing is copied; with
        other strides it takes 3.5 and a team of threads (1024x768).
        """
        target = frame(*image.shape[:2])
        kept, size = image[target.rows, target.columns], [target.height, target.width]
        if list(kept.shape[:2]) == size:
            return image if kept.shape == image.shape else kept.copy()  # a view would keep all of a large image
        pixels = torch.from_numpy(np.require(kept, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
        resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        return resized.permute(0, 2, 3, 1)[0].contiguous().numpy()

    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Unit vectors, float32 [N, dim], of preprocessed images of one shape."""
        return self._inference(batch)


def load_network(path: Path, architecture: Architecture) -> tuple[CosPlaceNetwork, Model]:
    """The network of a checkpoint, a bare state_dict as published.

    Raises ConfigurationError for a file that is none, that holds another architecture, or that has changed.
    """
    state, sha256 = read_weights(path)
    held = architecture_of(state)
    if held != (architecture.backbone, architecture.dim):
        right = "/".join([architecture.method, *map(str, held)])
        raise ConfigurationError(
            f"GEOPIN_WEIGHTS: {path} holds {held[0]} with {held[1]} dimensions, and GEOPIN_MODEL asks for "
            f"{architecture}: set GEOPIN_MODEL={right}, or GEOPIN_WEIGHTS to another file"
        )
    network = CosPlaceNetwork(*held)
    network.load_state_dict(dict(state))
    return network, architecture.model(sha256)


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
