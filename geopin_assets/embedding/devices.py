"""Where the model runs: the devices of this machine, and which of several a process takes for itself.

Here: what GEOPIN_DEVICE means. Not here: what is run there, and how (`inference.py`).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lock import hold_for_life

_log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """Names of the torch devices of this machine, the best first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*(["cuda", *cuda] if cuda else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_device(stated: str, available: Sequence[str], folder: Path) -> str:
    """The device of this process: the one stated, one of those stated that no other process holds, or the best.

    `stated`: a name, several with commas between them, or empty. `folder`: where processes lay their claims.
    Raises ConfigurationError for one that the machine does not have.
    """
    names = [name for name in map(str.strip, stated.split(",")) if name]
    if unknown := [name for name in names if name not in available]:
        raise ConfigurationError(
            f"GEOPIN_DEVICE={stated}: no {', '.join(unknown)} here; there is {', '.join(available)}"
        )
    return claim_device(names, folder) if len(names) > 1 else (names or available)[0]


def claim_device(names: Sequence[str], folder: Path) -> str:
    """The first device that no other process holds, held by this one until it ends, however it ends.

    Where all are held, the first is shared: slower than one of its own, but better than not at all.
    """
    for name in names:
        if hold_for_life(folder / f"{name.replace(':', '-')}.lock"):
            return name
    _log.warning("GEOPIN_DEVICE: other processes hold all of %s; sharing %s", ", ".join(names), names[0])
    return names[0]
