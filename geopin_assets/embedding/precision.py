"""A network made ready to run: batch norms folded away, its backbone in the precision that suits the device.

Here: what changes the arithmetic. Not here: devices and memory (`inference.py`), the network (`cosplace.py`).

Measured with ResNet50-512 at 512 x 512 on one core with AVX-512, in CPU seconds per image: 0.375 as published, 0.341
with batch norms folded (0.314 compiled too). That CPU has instructions for both half precisions, but no AMX, and they
take 0.51 (fp16) and 0.54 (bf16). GPUs compute both equally fast.
Worst 1 - cos to fp32 over 16 photos of streets: fp16 5e-6 to 3e-5, bf16 2e-4 to 8e-4 (random weights, batch norms
fitted to the photos); with trained weights, EfficientNet-Lite0's, 3e-5 and 2e-3. So half precision is fp16, on GPUs,
and what is chosen here keeps vectors within cos 0.9999 of fp32 (ResNet152, three times as deep, reached 0.9989 with
fitted random weights); bf16 has to be asked for.
"""

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geopin_assets.settings import Precision

_DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
_TENSOR_CORES_SINCE = (7, 0)
"""CUDA compute capability; GPUs before it compute fp16 slowly or not at all."""


def dtype_on(device: torch.device, precision: Precision) -> torch.dtype:
    """What the backbone computes in on a device."""
    if precision is not Precision.AUTO:
        return _DTYPES[precision]
    is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES_SINCE
    return torch.float16 if is_fast else torch.float32


def prepared(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy to run, not to store: its parameters are not the published ones any more."""
    network = copy.deepcopy(network).eval()
    fold_batch_norms(network)
    network.backbone.to(dtype)
    return network


def fold_batch_norms(module: nn.Module) -> None:
    """Every batch norm into the convolution before it, in place; layers are registered in the order they run in."""
    for (name, layer), (next_name, after) in pairwise(list(module.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(layer, after))
            setattr(module, next_name, nn.Identity())
    for child in module.children():
        fold_batch_norms(child)
