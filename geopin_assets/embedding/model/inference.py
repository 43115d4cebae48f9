"""The embedder: a network on a device, in the precision that suits it, run in passes that fit its memory.

Here: resizing, batch norms folded away, precision, pixels to the device, compilation, memory that runs out. Not here:
the networks (`cosplace.py`, `megaloc.py`), which part of an image they see (`views.py`), which device (`choosing.py`).

What `auto` chooses keeps vectors within cos 0.9999 of fp32: fp16 on GPUs does, bf16 does not, and on a CPU both were
slower than fp32. The numbers: docs/decisions/2026-11-25-half-precision.md.
"""

import copy
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from geopin_assets.embedding.model.whitening import Whitening
from geopin_assets.embedding.protocol import Image, Model
from geopin_assets.embedding.views import SHAPES, frame, square
from geopin_assets.settings import Precision

PASS_SIZE = {"cpu": 1, "mps": 16, "cuda": 64}
"""Images per forward pass. On a CPU one fits the caches best (0.47 CPU seconds an image, 0.60 in passes of 8), and a
vector does not depend on its batch."""
BATCH_SIZE = {"cpu": 16, "mps": 64, "cuda": 256}
"""Images per call: several passes, so that one is sent while another computes."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB in 0..1
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "MPS backend out of memory", "STATUS_ALLOC_FAILED")
"""What the allocators of the CPU, MPS and cuDNN say; CUDA's own has a class for it."""
_DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
_TENSOR_CORES_SINCE = (7, 0)
"""CUDA compute capability; GPUs before it compute fp16 slowly or not at all."""
_log = logging.getLogger(__name__)


def dtype_on(device: torch.device, precision: Precision) -> torch.dtype:
    """What the backbone computes in on a device."""
    if precision is not Precision.AUTO:
        return _DTYPES[precision]
    is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES_SINCE
    return torch.float16 if is_fast else torch.float32


def prepared(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy to run, not to store: its parameters are not the published ones any more. Until something is put in their
    place the two share the memory of them."""
    shared = {id(each): nn.Parameter(each.detach(), requires_grad=False) for each in network.parameters()}
    network = copy.deepcopy(network, {**shared, **{id(each): each.detach() for each in network.buffers()}}).eval()
    fold_batch_norms(network)
    network.backbone.to(dtype)
    return network


def fold_batch_norms(module: nn.Module) -> None:
    """Every batch norm into the convolution before it, in place; layers are registered in the order they run in."""
    for (_, layer), (next_name, after) in pairwise(list(module.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            measured = after.running_mean, after.running_var, after.eps, after.weight, after.bias
            layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *measured)  # type: ignore[arg-type]  # which may be None
            setattr(module, next_name, nn.Identity())
    for child in module.children():
        fold_batch_norms(child)


class Whitened(nn.Module):
    """A network whose vectors are whitened behind it."""

    def __init__(self, network: nn.Module, whitening: Whitening) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.from_numpy(whitening.mean))
        self.register_buffer("projection", torch.from_numpy(whitening.projection))

    @property
    def backbone(self) -> nn.Module:
        """What may be in half precision."""
        return cast("nn.Module", self.network.backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized RGB [N, 3, h, w] to float32 [N, kept] of unit length."""
        return F.normalize((self.network(x) - self.mean) @ self.projection.T, dim=1)


class TorchEmbedder:
    """A network on a device; fulfills `Embedder`.

    The network takes normalized RGB [N, 3, h, w] to unit vectors [N, dim]; its `backbone` runs in the precision chosen.
    """

    def __init__(
        self,
        network: nn.Module,
        model: Model,
        *,
        device: str = "cpu",
        precision: Precision = Precision.AUTO,
        is_compiled: bool = False,
        pass_size: int = 0,
    ) -> None:
        self.model, self._device, self._is_compiled = model, torch.device(device), is_compiled
        self.batch_size = BATCH_SIZE[self._device.type]
        self._pass_size = pass_size or PASS_SIZE[self._device.type]
        self._mean = torch.tensor(MEAN, device=self._device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(STD, device=self._device).view(1, 3, 1, 1) * 255
        dtype = dtype_on(self._device, precision)
        self._network = self._on_device(network, dtype)
        self._without_overflow = None if dtype is torch.float32 else network
        self._run = torch.compile(self._normalized, dynamic=False) if is_compiled else self._normalized
        if is_compiled:
            torch._dynamo.config.recompile_limit = 8 * len(SHAPES)  # one graph a shape, and a few sizes of a pass

    def preprocess(self, image: Image) -> Image:
        """Crop to the frame, then shorter side 512 with antialiasing; uint8 [h, w, 3], one of `views.SHAPES`, or the
        square that the model wants.

        As a batch in channels_last an image is resized in 1.3 ms on one core and nothing is copied; with
        other strides it takes 3.5 and a team of threads (1024x768).
        """
        height, width = image.shape[:2]
        target = square(height, width, self.model.side_px) if self.model.is_square else frame(height, width)
        kept, size = image[target.rows, target.columns], (target.height, target.width)
        if kept.shape[:2] == size:
            return image if kept.shape == image.shape else kept.copy()  # a view would keep all of a large image
        whole = np.require(kept, requirements=["C", "W"]).reshape(1, *kept.shape)
        pixels = torch.from_numpy(whole.transpose(0, 3, 1, 2))  # views of torch cost five times those of numpy
        resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        return np.ascontiguousarray(resized.numpy()[0].transpose(1, 2, 0))

    @torch.inference_mode()
    def embed(self, batch: Sequence[Image]) -> NDArray[np.float32]:
        """Unit vectors of preprocessed images of one shape, float32 [N, dim], in order."""
        vectors = self._vectors(batch)
        if self._without_overflow is not None and not np.isfinite(vectors).all():
            _log.warning("half precision overflowed: continuing in fp32")
            self._network, self._without_overflow = self._on_device(self._without_overflow, torch.float32), None
            vectors = self._vectors(batch)
        return vectors

    def _on_device(self, network: nn.Module, dtype: torch.dtype) -> nn.Module:
        ready = prepared(network, dtype).to(self._device)
        return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it

    def _normalized(self, pixels: Tensor) -> Tensor:
        return self._network((pixels.float() - self._mean) / self._std)

    def _vectors(self, images: Sequence[Image]) -> NDArray[np.float32]:
        done: list[Tensor] = []
        rest = images
        while len(rest):
            now = rest[: self._pass_size]
            vectors = self._try(now)
            if vectors is not None:
                done.append(vectors)
                rest = rest[len(now) :]
        return torch.cat(done).cpu().numpy()

    def _try(self, images: Sequence[Image]) -> Tensor | None:
        """One pass; None if it did not fit in memory: passes are half as large then, until the process ends."""
        size = self._pass_size if self._is_compiled else len(images)  # padded: one graph a shape
        try:
            return self._pass(images, size)
        except (RuntimeError, MemoryError) as error:
            is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if size == 1 or not (is_memory or any(text in str(error) for text in _OUT_OF_MEMORY)):
                raise
        self._pass_size = size // 2  # what the failed pass held is free only here, outside of `except`
        _log.warning("out of memory with %d images in a pass: continuing with %d", size, self._pass_size)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _pass(self, images: Sequence[Image], size: int) -> Tensor:
        """Pixels travel as bytes and are normalized on the device; NHWC permuted is channels_last already.

        On CUDA nothing here waits, so that the next pass is stacked and sent while this one computes.
        """
        is_cuda = self._device.type == "cuda"
        pixels = torch.empty((size, *images[0].shape), dtype=torch.uint8, pin_memory=is_cuda)
        np.stack(images, out=pixels[: len(images)].numpy())
        on_device = pixels.to(self._device, non_blocking=is_cuda).permute(0, 3, 1, 2)
        return self._run(on_device)[: len(images)]
