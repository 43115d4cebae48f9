"""Networks with random weights for the embedding tests."""

import torch

from geopin_assets.embedding.model.cosplace import CosPlaceNetwork


def shape_of(backbone: str, dim: int = 512) -> CosPlaceNetwork:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return CosPlaceNetwork(backbone, dim)


def random_network(backbone: str = "ResNet18", dim: int = 64) -> CosPlaceNetwork:
    """Random in everything, batch-norm statistics and the pooling exponent included, so that a missing one shows."""
    torch.manual_seed(7)
    network = CosPlaceNetwork(backbone, dim)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
        network.aggregation[1].p.fill_(2.7)
    return network.eval()


def shallow_network() -> CosPlaceNetwork:
    """The beginning of ResNet18, one of its blocks, and the head: all of its kinds of layers, compiled in a tenth."""
    network = random_network()
    network.backbone = torch.nn.Sequential(*network.backbone[:4], network.backbone[4][0])
    network.aggregation[3] = torch.nn.Linear(64, network.aggregation[3].out_features)
    return network.eval()


def fitted_network(pixels: torch.Tensor, backbone: str = "ResNet18", dim: int = 64) -> CosPlaceNetwork:
    """Random, with batch-norm statistics of these images, as training leaves them: activations fill their range.

    Vectors of different images are then far apart, and errors of low precision 20 to 700 times as large as in
    `random_network`, whose vectors are all but the same.
    """
    network = random_network(backbone, dim)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a mean over what is seen
            module.reset_running_stats()
            torch.nn.init.uniform_(module.weight, 0.1, 0.5)
            torch.nn.init.normal_(module.bias, 0, 0.15)
    with torch.no_grad():
        network.train().backbone(pixels)
    return network.eval()
