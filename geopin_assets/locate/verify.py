"""Points of two images that match and fit one movement of a camera: evidence that they show the same place.

XFeat (Potje et al., CVPR 2024; kornia's implementation), mutual nearest neighbors, and a robust fundamental matrix
(PoseLib). Measured (docs/locating.md): the count tells right from wrong better than any likeness of whole images. Here:
features and counts. Not here: where images come from (`references.py`), or what a count is worth (`confidence.py`).

kornia and poselib are the extra `verify`: without it, answers say that they were not verified. Torch is used here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from geopin_assets.embedding.model.checkpoints import read_weights, weights_sha256
from geopin_assets.embedding.protocol import Image
from geopin_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

LONGER_SIDE_PX = 640
POINTS = 1_024
MIN_LIKENESS = 0.82
"""Of two descriptors that may be the same point; the authors' value."""
MAX_OFF_PX = 1.5
"""From the epipolar line, of a point that fits."""
FEWEST = 8
"""Matches that a fundamental matrix takes."""
ADDRESS = "https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt"
MAX_BYTES = 16 * 2**20
SETTING = "GEOPIN_VERIFY_WEIGHTS"


class Features(NamedTuple):
    """Of one image: where points are, float64 [N, 2] pixels (x, y), and unit descriptors, float32 [N, 64]."""

    points: NDArray[np.float64]
    descriptors: NDArray[np.float32]


def is_installed() -> bool:
    """Whether the extra is."""
    return all(find_spec(name) for name in ("kornia", "poselib"))


@dataclass(frozen=True)
class Verifier:
    """XFeat with the weights at `weights`; they are loaded once."""

    weights: Path

    @property
    def model_id(self) -> str:
        """Of these weights, and of what is shown to them: points of another are not comparable."""
        return f"xfeat-{weights_sha256(self.weights, SETTING)[:8]}-{LONGER_SIDE_PX}-{POINTS}"

    def prepare(self) -> None:
        """Load the weights now, before the first photo."""
        _ = self._network

    def features(self, image: Image) -> Features:
        """Of an image, uint8 [h, w, 3], shrunk to LONGER_SIDE_PX."""
        import torch

        scale = min(1.0, LONGER_SIDE_PX / max(image.shape[:2]))
        height, width = (max(32, round(side * scale)) for side in image.shape[:2])
        small = np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))
        pixels = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 255
        with _one_thread():
            found = self._network.detectAndCompute(pixels, top_k=POINTS)[0]
        return Features(found["keypoints"].double().numpy(), found["descriptors"].numpy())

    def inliers(self, one: Features, other: Features) -> int:
        """Matching points that fit one movement; 0 where too few match, or none fits."""
        import poselib

        mine, theirs = mutual(one.descriptors, other.descriptors)
        if len(mine) < FEWEST:
            return 0
        options = {"max_epipolar_error": MAX_OFF_PX, "max_iterations": 1_000, "seed": 0}
        matrix, info = poselib.estimate_fundamental(one.points[mine], other.points[theirs], options, {})
        return int(info["num_inliers"]) if np.isfinite(matrix).all() else 0

    @cached_property
    def _network(self) -> Any:
        import torch
        from kornia.feature.xfeat import XFeat

        from geopin_assets.embedding.model.inference import fold_batch_norms

        state, _ = read_weights(self.weights, SETTING)
        network = XFeat(top_k=POINTS)
        try:
            network.net.load_state_dict(dict[str, "Tensor"](state))
        except RuntimeError as error:
            raise ConfigurationError(f"{self.weights} are not XFeat's weights: {error}") from error
        network.eval()
        fold_batch_norms(network.net)  # the same points in three quarters of the time, with colors side by side
        network.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # kornia's stub
        return network


@contextmanager
def _one_thread() -> Iterator[None]:
    """A team of threads takes several times the CPU for so small a network."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def mutual(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of unit descriptors that are each other's nearest, at least MIN_LIKENESS alike: their numbers.

    By torch in one thread: numpy's team of threads takes four times the CPU.
    """
    import torch

    if not (len(one) and len(other)):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    with _one_thread():
        alike = torch.from_numpy(one) @ torch.from_numpy(other).T
        likeness, nearest = alike.max(dim=1)
        numbers = torch.arange(len(one))
        is_pair = (alike.argmax(dim=0)[nearest] == numbers) & (likeness >= MIN_LIKENESS)
        return numbers[is_pair].numpy(), nearest[is_pair].numpy()
