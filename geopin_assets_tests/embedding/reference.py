"""What CosPlace's papers and checkpoints say, computed in float64 by NumPy from a state_dict and nothing else.

Here: every layer of a ResNet or VGG16 and of the head, written plainly, found by the names of the tensors. It shares
no line with the network under test, nor torch's kernels. Not here: any assertion.
"""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]
VGG16_POOLED_BEFORE = (5, 10, 17, 24)
"""Indices of the convolutions that come after a pooling."""


def vectors(state: State, pixels: Array) -> Array:
    """Normalized RGB [N, 3, h, w] to unit vectors [N, dim]."""
    features = resnet(state, pixels) if "backbone.1.weight" in state else vgg16(state, pixels)
    return head(state, features)


def head(state: State, features: Array) -> Array:
    """Channel norm per pixel, generalized mean over the map, linear, norm."""
    p = float(state["aggregation.1.p"][0])
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    pooled = (np.maximum(x, 1e-6) ** p).mean(axis=(2, 3)) ** (1 / p)
    projected = pooled @ state["aggregation.3.weight"].T + state["aggregation.3.bias"]
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def resnet(state: State, x: Array) -> Array:
    """7x7 stem, then four stages of residual blocks; a block with a third convolution is a bottleneck."""
    x = relu(batch_norm(state, "backbone.1", convolution(state["backbone.0.weight"], x, stride=2, padding=3)))
    x = max_pool(x, 3, stride=2, padding=1)
    for stage in range(4, 8):
        blocks = {name.split(".")[2] for name in state if name.startswith(f"backbone.{stage}.")}
        for index in range(len(blocks)):
            x = residual(state, f"backbone.{stage}.{index}", x, stride=2 if stage > 4 and index == 0 else 1)
    return x


def residual(state: State, name: str, x: Array, stride: int) -> Array:
    """The stride is on the first 3x3 convolution, and on the shortcut."""
    y, last = x, 3 if f"{name}.conv3.weight" in state else 2
    strided = 2 if last == 3 else 1
    for i in range(1, last + 1):
        weight = state[f"{name}.conv{i}.weight"]
        y = convolution(weight, y, stride if i == strided else 1, padding=weight.shape[-1] // 2)
        y = batch_norm(state, f"{name}.bn{i}", y)
        y = relu(y) if i < last else y
    if f"{name}.downsample.0.weight" in state:
        shortcut = convolution(state[f"{name}.downsample.0.weight"], x, stride)
        x = batch_norm(state, f"{name}.downsample.1", shortcut)
    return relu(y + x)


def vgg16(state: State, x: Array) -> Array:
    """3x3 convolutions with bias; no activation after the last."""
    numbers = sorted({int(name.split(".")[1]) for name in state if name.startswith("backbone.")})
    for number in numbers:
        x = max_pool(x, 2, stride=2) if number in VGG16_POOLED_BEFORE else x
        x = convolution(state[f"backbone.{number}.weight"], x, padding=1)
        x = x + state[f"backbone.{number}.bias"][:, None, None]
        x = x if number == numbers[-1] else relu(x)
    return x


def convolution(weight: Array, x: Array, stride: int = 1, padding: int = 0) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.moveaxis(np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])), 3, 1)


def batch_norm(state: State, name: str, x: Array) -> Array:
    weight, bias, mean, variance = (
        state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def max_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
    return sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride].max(axis=(4, 5))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)
