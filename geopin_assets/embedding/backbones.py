"""VGG16 and the ResNets up to their last feature map, in torch alone.

Names, order and shapes of the parameters are those of `nn.Sequential(*list(torchvision_net.children())[:-2])`,
so that published checkpoints load as they are. torchvision itself is no dependency: its wheel does not import
beside a CPU build of torch. Not here: their sizes (`architectures.py`), the head (`cosplace.py`).
"""

from torch import Tensor, nn

from geopin_assets.embedding.architectures import BACKBONES


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
