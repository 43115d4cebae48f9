"""Views on their way through the model: grouped into batches of one shape, and embedded in a thread of their own.

Here: grouping views of many captures of many cells, and the bound on what waits; one batch in the model while the next
is collected and the last one stored. Not here: where views come from, models, where vectors go (`pipeline.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import CaptureImage, Embedder, Image
from geopin_assets.embedding.stages import StageClock

_WAITING_BATCHES, _WAITING_BYTES = 3, 192 * 2**20
_PATIENCE_BATCHES = 8


@dataclass(slots=True)
class Batch:
    """Views of one shape; `pixels[i]` is view `views[i]` of `images[i]`."""

    since: int
    images: list[CaptureImage] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    pixels: list[Image] = field(default_factory=list)


@dataclass
class Batches:
    """Collects views into batches of `size`. What is not full goes too, lest odd shapes wait for ever:

    the fullest when more than three batches' worth of views or 192 MB wait, and the one that has waited while eight
    batches' worth came by (a cell is not finished before its last view is embedded).
    """

    size: Callable[[], int]
    """Asked when the first image comes: only then is the model needed, and its size known."""
    _waiting: dict[tuple[int, ...], Batch] = field(default_factory=dict)
    _seen: int = 0

    def add(self, image: CaptureImage, views: Mapping[int, Image]) -> Iterator[Batch]:
        """Take views of one image, by number; yields the batches that are to be embedded now."""
        for view, pixels in views.items():
            self._seen += 1
            batch = self._waiting.setdefault(pixels.shape, Batch(self._seen))
            batch.images.append(image)
            batch.views.append(view)
            batch.pixels.append(pixels)
            if len(batch.pixels) >= self.size():
                yield self._waiting.pop(pixels.shape)
        while shape := self._overdue():
            yield self._waiting.pop(shape)

    def flush(self) -> Iterator[Batch]:
        """Whatever waits."""
        while self._waiting:
            yield self._waiting.popitem()[1]

    def _overdue(self) -> tuple[int, ...] | None:
        waiting = {shape: len(batch.pixels) for shape, batch in self._waiting.items()}
        waiting_bytes = sum(count * prod(shape) for shape, count in waiting.items())
        if sum(waiting.values()) > _WAITING_BATCHES * self.size() or waiting_bytes > _WAITING_BYTES:
            return max(self._waiting, key=lambda shape: waiting[shape])
        oldest = next(iter(self._waiting), None)  # insertion order is the order of `since`
        if oldest and self._seen - self._waiting[oldest].since >= _PATIENCE_BATCHES * self.size():
            return oldest
        return None


Embedded = tuple[Batch, NDArray[np.float16]]
"""A batch and its vectors, float16 [images, dim]."""


class ModelThread:
    """Embeds one batch at a time, in the one `thread`."""

    def __init__(self, thread: Executor, embedder: Embedder, clock: StageClock) -> None:
        self._thread, self._embedder, self._clock = thread, embedder, clock
        self._running: Future[Embedded] | None = None

    def swap(self, batch: Batch | None) -> Embedded | None:
        """Hand over a batch (None: there is none) and get the one before it, embedded; waits for that.

        Raises what the embedder raised over the batch before.
        """
        before, self._running = self._running, self._thread.submit(self._embed, batch) if batch else None
        return before.result() if before else None

    def _embed(self, batch: Batch) -> Embedded:
        with self._clock.stage("embed"):
            return batch, self._embedder.embed(batch.pixels).astype(np.float16)
