"""The model in a thread of its own, so that collecting the next batch and storing the last one cost no model time.

Here: one batch in the model, one being collected. Not here: batches, models.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from geopin_assets.embedding.batches import Batch
from geopin_assets.embedding.protocol import Embedder
from geopin_assets.embedding.stages import StageClock

Owner = TypeVar("Owner")
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
