"""Processes that decode images, kept from run to run: starting one takes longer than most of what tests decode."""

import os
from pathlib import Path

from geopin_assets.embedding.decoders import Decoders

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class KeptDecoders(Decoders):
    """Stay for the next run, as they do for the next image of one; what they take is counted while they live."""

    def __exit__(self, *_: object) -> None:
        """Not yet."""

    def cpu_s(self) -> float:
        """Of all of them so far; nought where the system does not tell."""
        processes = [decoder._process for decoder in self._all if decoder._process]
        files = [Path(f"/proc/{process.pid}/stat") for process in processes]
        return sum(sum(map(int, file.read_text().split()[13:15])) for file in files if file.exists()) / _TICKS_PER_S

    def close(self) -> None:
        super().__exit__()
