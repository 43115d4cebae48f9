"""Captures of many cells to vectors: reuse what is unchanged, read, embed, store, and account for every capture.

    plan a cell ─► read ahead (fetch, decode, preprocess) ─► batches of one shape ─► model ─► a part of the cell's file
                                  └─ failures ─────────────────────────────────────────────► rows of the cell

Cells overlap: while the last images of one are on their way, the next is planned, and a batch may hold views of
several. A cell is finished, and its file replaced, when its last image is embedded or has failed.

Here: the run over the cells, and preparing one image. Not here: what one cell needs, and its account (`plan.py`),
files (`vectors.py`), fetching (`fetching.py`), overlap and bounds on memory (`reading.py`), batches (`batching.py`),
the model (`model/`), Dagster. Importing this imports no torch.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.batching import Batches, Embedded, ModelThread
from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.decoding import needed_px
from geopin_assets.embedding.plan import CellEmbeddings, CellTask, OpenCell
from geopin_assets.embedding.protocol import CaptureImage, Embedder, Failure, FailureReason
from geopin_assets.embedding.quality import SceneOf
from geopin_assets.embedding.reading import IN_FLIGHT, Fetcher, ReadAhead, Renew
from geopin_assets.embedding.repeats import MANY, Repeats, digest
from geopin_assets.embedding.seen import Flaws, Seen, flat, panorama
from geopin_assets.embedding.stages import StageClock, ThreadMemory
from geopin_assets.embedding.vectors import vector_rows
from geopin_assets.errors import GeoPinError

READ_AHEAD = 256
"""The next cell is planned when fewer images than this are on their way."""

_PANORAMA_BYTES = 150 * 2**20
"""Pixels of a decoded panorama, and what cutting it takes (90 MB)."""
_panoramas = ThreadMemory(2**30)
"""Six at once: with 16 threads they alone would take 2.4 GB."""

Finished = tuple[str, CellEmbeddings | GeoPinError]


@dataclass(slots=True)
class EmbeddingProgress:
    """Captures of a run so far."""

    embedded: int = 0
    failed: int = 0
    untouched: int = 0
    """Reused, or not due for another try."""

    @property
    def done(self) -> int:
        return self.embedded + self.failed + self.untouched


def embed_cells(
    tasks: Iterable[CellTask],
    *,
    embedder: Embedder,
    fetcher: Fetcher,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    renew: Renew | None = None,
    on_progress: Callable[[EmbeddingProgress], None] = lambda _: None,
    batch_size: int | None = None,
    attempts: Attempts | None = None,
    many: int = MANY,
    decoders: Decoders | None = None,
    unwanted: Flaws = frozenset(),
    scene_of: SceneOf | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Generator[Finished]:
    """Bring the vectors of cells up to date with their captures; yields each cell as it is finished.

    `tasks` is read as the run proceeds. `renew` is asked for links just before they are fetched. `on_progress`
    gets the same object after every change. A bad image is a failure row; a cell that cannot be read or stored is
    an error, and the others go on; what the embedder raises is raised. Every batch is stored at once, as a part of
    its cell, and a run that follows a killed one continues from there; `attempts` finds the image that killed it. The
    same bytes at so `many` captures of a source are no picture; what has an `unwanted` flaw has no vector, rooms among
    them where `scene_of` tells them.
    Close the generator to leave early; when `is_over`, it leaves by itself, with what it has embedded stored.
    """
    clock = StageClock()
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="model"))
        batches = Batches(lambda: batch_size or embedder.batch_size)
        repeats = Repeats(many, attempts)
        run = _Run(embedder, ModelThread(thread, embedder, clock), batches, repeats, clock, now, on_progress, unwanted)
        prepare = _Prepare(embedder, stack.enter_context(decoders or Decoders()), clock, unwanted, scene_of)
        tried = stack.enter_context(attempts.of_run(IN_FLIGHT)) if attempts else None
        reader = stack.enter_context(ReadAhead(fetcher, prepare, clock, renew and run.noting(renew), tried))
        for task in tasks:
            reader.submit(run.open(task))
            while reader.pending >= READ_AHEAD and not is_over():
                run.take(*reader.next())
                yield from run.finished()
            yield from run.finished()
            if is_over():
                break
        while reader.pending and not is_over():
            run.take(*reader.next())
            yield from run.finished()
        run.flush()
        yield from run.finished()


@dataclass
class _Run:
    """The open cells of a run, and what becomes of them."""

    embedder: Embedder
    model: ModelThread
    batches: Batches
    repeats: Repeats
    clock: StageClock
    now: Callable[[], datetime]
    on_progress: Callable[[EmbeddingProgress], None]
    unwanted: Flaws
    _progress: EmbeddingProgress = field(default_factory=EmbeddingProgress)
    _open: dict[str, OpenCell] = field(default_factory=dict)
    _finished: deque[Finished] = field(default_factory=deque)

    def finished(self) -> Iterator[Finished]:
        """Cells that were finished and not yielded yet."""
        while self._finished:
            yield self._finished.popleft()

    def open(self, task: CellTask) -> list[CaptureImage]:
        """Plan a cell; returns the images to read. One that needs none is finished at once."""
        try:
            with self.clock.stage("plan"):
                cell = OpenCell.of(task, self.now(), self.unwanted)
        except GeoPinError as error:
            self._finished.append((task.cell_id, error))
            return []
        self._open[task.cell_id] = cell
        self._progress.untouched += len(task.captures) - cell.left
        self._after_change(cell)
        return cell.to_read()

    def noting(self, renew: Renew) -> Renew:
        """`renew`, and the cells it brought new addresses for are told."""

        def renew_and_note(images: Sequence[CaptureImage]) -> Mapping[str, str | Failure]:
            links = renew(images)
            for image in images:
                if cell := self._open.get(image.cell_id):
                    cell.renewed += isinstance(links.get(image.capture_id), str)
            return links

        return renew_and_note

    def take(self, image: CaptureImage, read: "_Prepared | Failure") -> None:
        """One image was read, or failed. Of a cell that could not be stored it is let go."""
        cell = self._open.get(image.cell_id)
        if cell is None:
            return
        if isinstance(read, Failure):
            cell.fail(image, read)
            self._progress.failed += 1
            self._after_change(cell)
            return
        seen, digest = read
        cell.expect(image, seen)
        if repeated := list(self.repeats.of(image, digest)):
            self._withdraw(repeated)
            return
        for batch in self.batches.add(image, seen.views):
            self._store(self.model.swap(batch))

    def _withdraw(self, images: Sequence[CaptureImage]) -> None:
        """These are no pictures after all. Those of finished cells stay until they are fetched again."""
        for image in images:
            if cell := self._open.get(image.cell_id):
                self._progress.embedded -= cell.withdraw(image, Failure(FailureReason.REPEATED))
                self._progress.failed += 1
                self._after_change(cell)

    def flush(self) -> None:
        """Embed and store whatever waits."""
        for batch in self.batches.flush():
            self._store(self.model.swap(batch))
        self._store(self.model.swap(None))

    def _store(self, done: Embedded | None) -> None:
        """Keep the vectors of one batch, cell by cell."""
        if done is None:
            return
        batch, vectors = done
        by_cell: dict[str, list[int]] = {}
        for row, image in enumerate(batch.images):
            by_cell.setdefault(image.cell_id, []).append(row)
        for cell_id, rows in by_cell.items():
            cell, images = self._open.get(cell_id), [batch.images[row] for row in rows]
            if cell is None:
                continue
            views = [batch.views[row] for row in rows]
            try:
                with self.clock.stage("write"):
                    left_out = [cell.left_out(image) for image in images]
                    found = [cell.quality(image, view) for image, view in zip(images, views, strict=True)]
                    new = vector_rows(images, views, vectors[rows], self.embedder.model.model_id, left_out, found)
                    cell.task.vectors.append(new)
            except GeoPinError as error:
                self._close(cell, error)
                continue
            self._progress.embedded += sum(cell.note_view(image) for image in images)
            self._after_change(cell)

    def _after_change(self, cell: OpenCell) -> None:
        self.on_progress(self._progress)
        if cell.left:
            return
        try:
            with self.clock.stage("write"):
                done: CellEmbeddings | GeoPinError = cell.finish(self.now(), self.clock.lap())
        except GeoPinError as error:
            done = error
        self._close(cell, done)

    def _close(self, cell: OpenCell, done: CellEmbeddings | GeoPinError) -> None:
        del self._open[cell.task.cell_id]
        self._finished.append((cell.task.cell_id, done))


_Prepared = tuple[Seen, str]
"""What the model gets of an image, and a digest of its bytes."""


@dataclass(frozen=True, slots=True)
class _Prepare:
    """Decodes one image, cuts it into its views and preprocesses them; runs in threads."""

    embedder: Embedder
    decoders: Decoders
    clock: StageClock
    unwanted: Flaws
    scene_of: SceneOf | None

    def __call__(self, image: CaptureImage, data: bytes) -> _Prepared | Failure:
        side_px = self.embedder.model.side_px
        room = _panoramas.taken(_PANORAMA_BYTES) if image.is_pano else nullcontext()
        with room, self.decoders.lent() as decoder:
            with self.clock.stage("decode"):
                pixels = decoder.decode(data, at_least=needed_px(side_px, image.is_pano))
            if isinstance(pixels, Failure):
                return pixels
            with self.clock.stage("preprocess"):
                judged = self.unwanted, self.scene_of
                seen = panorama(pixels, data, side_px, *judged) if image.is_pano else flat(pixels, *judged)
                if isinstance(seen, Failure):
                    return seen
                prepared = {number: self.embedder.preprocess(view) for number, view in seen.views.items()}
                own = {n: view.copy() if np.may_share_memory(view, pixels) else view for n, view in prepared.items()}
                return replace(seen, views=own), digest(data)
