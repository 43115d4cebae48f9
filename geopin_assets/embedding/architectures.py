"""What is published: backbones, methods, descriptor sizes and addresses, as facts. No torch here.

Not here: the layers (`backbones.py`, `cosplace.py`), or fetching a checkpoint (`weights.py`).

CosPlace and EigenPlaces (Berton et al., CVPR 2022 and ICCV 2023) are two ways of training one architecture: the same
backbones under the same head, with the same names of parameters. Code and checkpoints come under MIT; SF-XL, which
they were trained on, is for research purposes (its authors say so of the data set, nothing of the weights).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from geopin_assets.embedding.framing import PREPROCESSING
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Backbone:
    """One architecture, up to its last feature map."""

    depths: tuple[int, ...]
    """Residual blocks per stage of a ResNet, convolutions per stage of VGG16."""
    channels: int
    """Of the last feature map."""


BACKBONES = {
    "VGG16": Backbone((2, 2, 3, 3, 3), 512),
    "ResNet18": Backbone((2, 2, 2, 2), 512),
    "ResNet50": Backbone((3, 4, 6, 3), 2048),
    "ResNet101": Backbone((3, 4, 23, 3), 2048),
    "ResNet152": Backbone((3, 8, 36, 3), 2048),
}

PUBLISHED: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "cosplace": {
        "VGG16": (64, 128, 256, 512),
        "ResNet18": (32, 64, 128, 256, 512),
        "ResNet50": (32, 64, 128, 256, 512, 1024, 2048),
        "ResNet101": (32, 64, 128, 256, 512, 1024, 2048),
        "ResNet152": (32, 64, 128, 256, 512, 1024, 2048),
    },
    "eigenplaces": {
        "VGG16": (512,),
        "ResNet18": (256, 512),
        "ResNet50": (128, 256, 512, 1024, 2048),
        "ResNet101": (128, 256, 512, 1024, 2048),
    },
}
"""Descriptor sizes with a published checkpoint, per method and backbone."""

_ADDRESSES = {
    "cosplace": "https://github.com/gmberton/CosPlace/releases/download/v1.0/{backbone}_{dim}_cosplace.pth",
    "eigenplaces": "https://github.com/gmberton/EigenPlaces/releases/download/v1.0/{backbone}_{dim}_eigenplaces.pth",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A published model by its three facts; written `cosplace/ResNet50/512`."""

    method: str
    backbone: str
    dim: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """The model of this name. Raises ConfigurationError that lists what is published."""
        method, _, rest = name.partition("/")
        backbone, _, dim = rest.partition("/")
        dims = PUBLISHED.get(method, {}).get(backbone, ())
        if dim not in map(str, dims):
            raise ConfigurationError(f"GEOPIN_MODEL={name!r} is not published. There are: {_published()}")
        return cls(method, backbone, int(dim))

    def __str__(self) -> str:
        return f"{self.method}/{self.backbone}/{self.dim}"

    def model(self, weights_sha256: str) -> Model:
        """This architecture with these weights: `cosplace-resnet50-512-1a2b3c4d-p2`."""
        model_id = f"{self.method}-{self.backbone.lower()}-{self.dim}-{weights_sha256[:8]}-{PREPROCESSING}"
        return Model(model_id, self.dim, is_place_recognition=True)

    @property
    def address(self) -> str:
        """Where its checkpoint is published."""
        return _ADDRESSES[self.method].format(backbone=self.backbone, dim=self.dim)


def _published() -> str:
    """Every model, the sizes of one backbone together: `cosplace/VGG16/64|128|256|512, …`."""
    return ", ".join(
        f"{method}/{backbone}/{'|'.join(map(str, dims))}"
        for method, backbones in PUBLISHED.items()
        for backbone, dims in backbones.items()
    )
