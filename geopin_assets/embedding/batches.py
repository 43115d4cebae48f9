"""Views of many captures into batches of one shape, and the vectors that come back.

Here: grouping, the bound on views that wait, numbering. Not here: where views come from, how vectors are stored.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.stages import StageClock

_WAITING_BATCHES = 3


@dataclass
class Batches:
    """Embeds views in batches of one shape. After `flush`, row i of `vectors()` is view `views[i]` of `keys[i]`."""

    embedder: Embedder
    clock: StageClock
    size: int
    keys: list[str] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    _waiting: defaultdict[tuple[int, ...], list[tuple[str, int, Image]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _vectors: list[NDArray[np.float16]] = field(default_factory=list)

    def add(self, key: str, images: list[Image]) -> None:
        """Queue all views of one capture; embeds every batch that is full, and the fullest when too many wait.

        Odd shapes would otherwise wait to the end: sources with free formats have hundreds of them.
        """
        for view, image in enumerate(images):
            group = self._waiting[image.shape]
            group.append((key, view, image))
            if len(group) >= self.size:
                self._embed(image.shape)
        while sum(map(len, self._waiting.values())) > _WAITING_BATCHES * self.size:
            self._embed(max(self._waiting, key=lambda shape: len(self._waiting[shape])))

    def flush(self) -> None:
        """Embed whatever waits."""
        for shape in list(self._waiting):
            self._embed(shape)

    def vectors(self) -> NDArray[np.float16]:
        """Unit vectors so far, float16 [rows, dim]."""
        return np.concatenate([np.empty((0, self.embedder.dim), np.float16), *self._vectors])

    def _embed(self, shape: tuple[int, ...]) -> None:
        group = self._waiting.pop(shape)
        with self.clock.stage("embed"):
            vectors = self.embedder.embed([image for _, _, image in group])
        self._vectors.append(vectors.astype(np.float16))
        self.keys += [key for key, _, _ in group]
        self.views += [view for _, view, _ in group]
