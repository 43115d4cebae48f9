"""Published checkpoints: what there is, as facts, and the local copy, fetched once, that stays what it was.

No hash of the checkpoints is published: the SHA-256 of the first download is recorded beside the file and checked at
every load. Not here: the layers, what the tensors mean (`cosplace.py`). Importing this imports no torch.

CosPlace and EigenPlaces (Berton et al., CVPR 2022 and ICCV 2023) are two ways of training one architecture, with the
same names of parameters; MegaLoc is another. Under which license they come: docs/embedding.md.
"""

import hashlib
import io
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

from geopin_assets.embedding.protocol import PREPROCESSING, Model
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.atomic import replacing, write_text
from geopin_assets.files.plain import open_plain, read_plain

if TYPE_CHECKING:
    from torch import Tensor

SETTING = "GEOPIN_WEIGHTS"
MAX_BYTES = 1024 * 2**20
"""The largest checkpoint, MegaLoc's, has 915 MB."""
_READ_TIMEOUT_S, _DEADLINE_S = 30.0, 1800.0


class Backbone(NamedTuple):
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

_DIMS = (32, 64, 128, 256, 512, 1024, 2048)
PUBLISHED: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "cosplace": {"VGG16": _DIMS[1:5], "ResNet18": _DIMS[:5], "ResNet50": _DIMS, "ResNet101": _DIMS, "ResNet152": _DIMS},
    "eigenplaces": {"VGG16": (512,), "ResNet18": (256, 512), "ResNet50": _DIMS[2:], "ResNet101": _DIMS[2:]},
    "megaloc": {"ViTB14": (8_448,)},
}
"""Descriptor sizes with a published checkpoint, per method and backbone."""

_RELEASES = {
    "cosplace": "https://github.com/gmberton/CosPlace/releases/download/v1.0",
    "eigenplaces": "https://github.com/gmberton/EigenPlaces/releases/download/v1.0",
    "megaloc": "https://github.com/gmberton/MegaLoc/releases/download/v1.0",
}
_FEWEST_DIMS = 16
_MEGALOC_PX = 322
"""Its images are squeezed into a square of that side, as in its evaluation."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A published model by its facts; written `cosplace/ResNet50/512`."""

    method: str
    backbone: str
    dim: int
    whitened: int = 0
    """Dimensions that a whitening leaves; 0: none is applied. Written as a fourth part, `megaloc/ViTB14/8448/512`."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """The model of this name. Raises ConfigurationError that lists what is published."""
        method, backbone, dim, whitened, *more = [*name.split("/"), *[""] * 4]
        is_whitened = whitened.isascii() and whitened.isdigit() and whitened == str(int(whitened))
        dims = PUBLISHED.get(method, {}).get(backbone, ())
        is_known = dim in map(str, dims) and name.count("/") == (3 if is_whitened else 2) and not any(more)
        if not is_known or (is_whitened and not _FEWEST_DIMS <= int(whitened) < int(dim)):
            published = (f"{m}/{b}/{'|'.join(map(str, dims))}" for m, of in PUBLISHED.items() for b, dims in of.items())
            raise ConfigurationError(
                f"GEOPIN_MODEL={name!r} is not published. There are: {', '.join(published)}; "
                "/N behind one means whitened to N dimensions"
            )
        return cls(method, backbone, int(dim), int(whitened or 0))

    def __str__(self) -> str:
        return "/".join(map(str, (self.method, self.backbone, self.dim, *([self.whitened] * bool(self.whitened)))))

    @property
    def vector_dim(self) -> int:
        """Of its vectors, as they are stored."""
        return self.whitened or self.dim

    def model(self, sha256: str) -> Model:
        """This architecture with these weights: `cosplace-resnet50-512-1a2b3c4d-p2`, or `-512w-` if whitened."""
        size = f"{self.whitened}w" if self.whitened else f"{self.dim}"
        model_id = f"{self.method}-{self.backbone.lower()}-{size}-{sha256[:8]}-{PREPROCESSING}"
        square = {"side_px": _MEGALOC_PX, "is_square": True} if self.method == "megaloc" else {}
        return Model(model_id, self.vector_dim, is_place_recognition=True, **square)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        """Where its checkpoint is published."""
        if self.method == "megaloc":
            return f"{_RELEASES[self.method]}/megaloc.torch"
        return f"{_RELEASES[self.method]}/{self.backbone}_{self.dim}_{self.method}.pth"


def find_weights(path: str, architecture: Architecture, cache_dir: Path) -> Path:
    """The checkpoint at `path` if one is named, else the cached one, else the published one, fetched now.

    Raises ConfigurationError saying how to set GEOPIN_WEIGHTS when it cannot be had.
    """
    if path:
        if not Path(path).is_file():
            raise ConfigurationError(f"GEOPIN_WEIGHTS={path}: no such file")
        return Path(path)
    cached = cache_dir / architecture.address.rsplit("/", 1)[1]
    if not cached.is_file():
        download(architecture.address, cached)
    return cached


def download(address: str, path: Path, *, schemes: Collection[str] = ("https",), max_bytes: int = MAX_BYTES) -> None:
    """Fetch a checkpoint to `path` and record its hash beside it; `path` appears only when all is there.

    Redirects are followed (release files live behind one) within `schemes`. Raises ConfigurationError.
    """
    opener = urllib.request.build_opener(_Redirects(schemes))
    try:
        with replacing(path) as partial:
            with partial.open("wb") as file, opener.open(address, timeout=_READ_TIMEOUT_S) as response:
                sha256 = _copy(response, file, max_bytes)
            write_text(hash_path(path), f"{sha256}  {path.name}\n")
    except (OSError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise ConfigurationError(
            f"the weights could not be fetched from {address} ({error}): "
            "download them elsewhere and set GEOPIN_WEIGHTS to the file's path"
        ) from error


def weights_sha256(path: Path, setting: str = SETTING) -> str:
    """SHA-256 hex of a checkpoint, computed once per process and state of the file (0.3 s for 100 MB).

    `setting`: what names it, for errors. Raises ConfigurationError when it is not what was recorded at its first
    download.
    """
    try:
        about = path.stat()
        sha256 = _sha256(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error}") from error
    _check(path, sha256)
    return sha256


def read_weights(path: Path, setting: str = SETTING) -> "tuple[Mapping[str, Tensor], str]":
    """(state_dict on the CPU, SHA-256 hex) of a checkpoint; tensors only, no code in it is run.

    `setting`: what names it, for errors. Raises ConfigurationError when it is not what was recorded at its first
    download, or no state_dict.
    """
    import torch

    try:
        data = read_plain(path)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    _check(path, sha256)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever unpickling stumbles over
        raise ConfigurationError(f"{setting}: {path} is not a torch checkpoint: {error}") from error
    if not (isinstance(state, dict) and all(isinstance(tensor, torch.Tensor) for tensor in state.values())):
        raise ConfigurationError(f"{setting}: {path} is not a bare state_dict, as published")
    return state, sha256


def hash_path(path: Path) -> Path:
    """Where the SHA-256 of a checkpoint is recorded, in the format of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


@lru_cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, sha256: str) -> None:
    recorded = hash_path(path)
    if recorded.exists() and recorded.read_text().split()[:1] != [sha256]:
        raise ConfigurationError(f"{path} has changed since it was downloaded ({recorded.name}): delete both")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within some schemes only."""

    def __init__(self, schemes: Collection[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in self._schemes:
            raise urllib.error.HTTPError(newurl, code, f"redirect to {urlsplit(newurl).scheme}: refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _copy(response: HTTPResponse, target: IO[bytes], max_bytes: int) -> str:
    """Copy with limits on size and time; returns the SHA-256. Raises OSError past a limit or when cut short."""
    digest, size, started = hashlib.sha256(), 0, time.monotonic()
    while chunk := response.read(1 << 20):
        size += len(chunk)
        if size > max_bytes or time.monotonic() - started > _DEADLINE_S:
            raise OSError(f"more than {max_bytes} bytes or {_DEADLINE_S:g} s")
        digest.update(chunk)
        target.write(chunk)
    if response.length:  # what is missing to the announced length
        raise OSError(f"cut short after {size} bytes")
    return digest.hexdigest()
