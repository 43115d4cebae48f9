"""CosPlace (Berton et al., CVPR 2022) in torch alone: VGG16 and the ResNets up to their last feature map, and the head.

Architecture and parameter names are those of github.com/gmberton/CosPlace (MIT), so published checkpoints load
strictly; EigenPlaces shares them. Names, order and shapes of a backbone's parameters are those of
`nn.Sequential(*list(torchvision_net.children())[:-2])`; torchvision itself is no dependency: its wheel does not import
beside a CPU build of torch. Not here: what is published and where weights come from (`checkpoints.py`), how a network
is run, and on what (`inference.py`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopin_assets.embedding.model.checkpoints import BACKBONES


class _Block(nn.Module):
    """Convolutions beside a shortcut: [N, inputs, h, w] to [N, expansion * planes, h / stride, w / stride].

    3x3 twice (ResNet18), or 1x1, 3x3, 1x1 (ResNet50 and deeper, "v1.5": the stride is on the 3x3).
    """

    def __init__(self, inputs: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.is_bottleneck, outputs = expansion > 1, planes * expansion
        if self.is_bottleneck:
            self.conv1, self.bn1 = _conv_bn(inputs, planes, 1)
            self.conv2, self.bn2 = _conv_bn(planes, planes, 3, stride)
            self.conv3, self.bn3 = _conv_bn(planes, outputs, 1)
        else:
            self.conv1, self.bn1 = _conv_bn(inputs, planes, 3, stride)
            self.conv2, self.bn2 = _conv_bn(planes, planes, 3)
        self.relu = nn.ReLU(inplace=True)
        is_same_shape = stride == 1 and inputs == outputs
        self.downsample = None if is_same_shape else nn.Sequential(*_conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.is_bottleneck:
            y = self.bn3(self.conv3(self.relu(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs)


def _resnet(expansion: int, depths: tuple[int, ...]) -> nn.Sequential:
    stages, inputs = [], 64
    for stage, depth in enumerate(depths):
        planes, blocks = 64 * 2**stage, []
        for index in range(depth):
            blocks.append(_Block(inputs, planes, 2 if stage and not index else 1, expansion))
            inputs = planes * expansion
        stages.append(nn.Sequential(*blocks))
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *stages)


def resnet18() -> nn.Sequential:
    """Up to its last feature map."""
    return _resnet(1, BACKBONES["ResNet18"].depths)


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


class L2Norm(nn.Module):
    """Unit length along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] to the same shape."""
        return F.normalize(x, p=2.0, dim=1)


class GeM(nn.Module):
    """Generalized mean over the whole map, with a learned exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([3.0]))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, 1, 1]."""
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1.0 / self.p)


class CosPlaceNetwork(nn.Module):
    """Backbone, then channel norm, GeM, linear, norm. Any input size; output rows have unit length."""

    def __init__(self, backbone: str, dim: int) -> None:
        super().__init__()
        depths, channels = BACKBONES[backbone]
        expansion = 1 if backbone == "ResNet18" else 4
        self.backbone = _vgg(depths) if backbone == "VGG16" else _resnet(expansion, depths)
        self.aggregation = nn.Sequential(L2Norm(), GeM(), nn.Flatten(), nn.Linear(channels, dim), L2Norm())

    def forward(self, x: Tensor) -> Tensor:
        """Normalized RGB [N, 3, h, w] to float32 [N, dim]. The backbone may be in half precision, the head never is."""
        features = self.backbone(x.to(next(self.backbone.parameters()).dtype))
        return self.aggregation(features.float())
