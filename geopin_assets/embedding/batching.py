"""Views on their way through the model: grouped into batches of one shape, and embedded in a thread of their own.

Here: grouping views of many captures of many cells, and the bound on what waits; one batch in the model while the next
is collected and the last one stored. Not here: where views come from, models, where vectors go (`pipeline.py`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import Embedder, Image
from geopin_assets.embedding.stages import StageClock

_WAITING_BATCHES, _WAITING_BYTES = 3, 192 * 2**20
_PATIENCE_BATCHES = 8
Owner = TypeVar("Owner")


@dataclass(slots=True)
class Batch(Generic[Owner]):
    """Images of one shape; image i is view `views[i]` of `owners[i]`."""

    since: int
    owners: list[Owner] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)


@dataclass
class Batches(Generic[Owner]):
    """Collects views into batches of `size`. What is not full goes too, lest odd shapes wait for ever:

    the fullest when more than three batches' worth of views or 192 MB wait, and the one that has waited while eight
    batches' worth came by (a cell is not finished before its last view is embedded).
    """

    size: int
    _waiting: dict[tuple[int, ...], Batch[Owner]] = field(default_factory=dict)
    _seen: int = 0

    def add(self, owner: Owner, views: Sequence[Image]) -> Iterator[Batch[Owner]]:
        """Take all views of one image; yields the batches that are to be embedded now."""
        for view, image in enumerate(views):
            self._seen += 1
            batch = self._waiting.setdefault(image.shape, Batch(self._seen))
            batch.owners.append(owner)
            batch.views.append(view)
            batch.images.append(image)
            if len(batch.images) >= self.size:
                yield self._waiting.pop(image.shape)
        while shape := self._overdue():
            yield self._waiting.pop(shape)

    def flush(self) -> Iterator[Batch[Owner]]:
        """Whatever waits."""
        while self._waiting:
            yield self._waiting.popitem()[1]

    def _overdue(self) -> tuple[int, ...] | None:
        waiting = {shape: len(batch.images) for shape, batch in self._waiting.items()}
        waiting_bytes = sum(count * prod(shape) for shape, count in waiting.items())
        if sum(waiting.values()) > _WAITING_BATCHES * self.size or waiting_bytes > _WAITING_BYTES:
            return max(self._waiting, key=lambda shape: waiting[shape])
        oldest = next(iter(self._waiting), None)  # insertion order is the order of `since`
        if oldest and self._seen - self._waiting[oldest].since >= _PATIENCE_BATCHES * self.size:
            return oldest
        return None


Embedded = tuple[Batch[Owner], NDArray[np.float16]]
"""A batch and its vectors, float16 [images, dim]."""


class ModelThread(Generic[Owner]):
    """Embeds one batch at a time. Leaving the context waits for the batch in the model, and forgets it."""

    def __init__(self, embedder: Embedder, clock: StageClock) -> None:
        self._embedder, self._clock = embedder, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._running: Future[Embedded[Owner]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def swap(self, batch: Batch[Owner] | None) -> Embedded[Owner] | None:
        """Hand over a batch (None: there is none) and get the one before it, embedded; waits for that.

        Raises what the embedder raised over the batch before.
        """
        before, self._running = self._running, self._thread.submit(self._embed, batch) if batch else None
        return before.result() if before else None

    def _embed(self, batch: Batch[Owner]) -> Embedded[Owner]:
        with self._clock.stage("embed"):
            return batch, self._embedder.embed(batch.images).astype(np.float16)
