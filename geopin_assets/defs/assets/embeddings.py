"""index/embeddings: one Parquet file of unit vectors per cell and model, reusing what has not changed.

Not here: fetching, models and views (`embedding/`), or which links expire (`sources/links.py`). Images that
fail are rows with a reason and a next try, never an exception that loses the cell.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from geopin_assets.defs.assets.publish_guard import refusing
from geopin_assets.defs.declare import Columns, asset, settings_at_load
from geopin_assets.defs.graph import CATALOG, EMBEDDINGS
from geopin_assets.defs.resources import Embedding, Sources, Storage
from geopin_assets.defs.running.deadline import InTime
from geopin_assets.defs.running.materialize import Advance, CellDone, CellFailed, Progress, materialize_cells
from geopin_assets.embedding.model.choosing import DIM, LazyEmbedder, embedding_code_version
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Model, embedding_schema
from geopin_assets.errors import DamagedFileError, GeoPinError, TransientError
from geopin_assets.sources.links import LinkedCapture, Links
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS, content_version

if TYPE_CHECKING:
    from geopin_assets.embedding.pipeline import EmbeddingProgress
    from geopin_assets.embedding.plan import CellEmbeddings, CellStats, CellTask
    from geopin_assets.embedding.reading import Renew
    from geopin_assets.store.cell_files import CellFile

COLUMNS = Columns(
    embedding_schema(DIM),
    CAPTURE_DESCRIPTIONS
    | {
        "vector_id": "Capture id and view: the id of the vector in the published index",
        "view": "0 looks at the image center; panoramas have 12, one every 30 degrees clockwise",
        "left_out": "How many views of the image have no vector, as they show nothing: padding, black, one color",
        "blur": "0 to 1: how little another blurring changes the view; null: not known, as with the next four",
        "light": "0 to 1: the level that a tenth of the view's pixels exceed",
        "clipped": "Share of the pixels of its lower half that are white",
        "contrast": "Standard deviation of its levels, 0 to 1",
        "detail": "Share of its blocks that are not flat",
        "indoor": "How likely it shows a room; null: nobody was asked (GEOPIN_SCENES), as with the next",
        "in_vehicle": "How likely it shows the inside of a car, bus, train or airplane",
        "heading_deg": "Direction this view looks at, degrees clockwise from true north; null if unknown",
        "model_id": "Architecture, dimension, weights and preprocessing: vectors of two models never meet",
        "image_version": "Version of the image that was embedded",
        "embedding": "Unit vector",
    },
    unchanged_from={CATALOG: ("capture_id", "source", "image_version")},
)


@asset(
    EMBEDDINGS, columns=COLUMNS, decided_by=(embedding_code_version(settings_at_load()),), kinds={"pytorch", "parquet"}
)
def embeddings(
    context: dg.AssetExecutionContext, sources: Sources, storage: Storage, embedding: Embedding, progress: Progress
) -> Iterator[dg.MaterializeResult]:
    """Unit vectors of every unique image: flat captures have one view, panoramas twelve.

    Only new and changed images are fetched and embedded, and only their links are renewed where they have
    expired. Which model made the vectors is on every row and on every partition; another model's vectors are
    files of their own. A killed run is continued from its last batch.
    """
    from geopin_assets.embedding.pipeline import embed_cells
    from geopin_assets.platform.evidence import Evidence

    with refusing(context):
        Evidence(storage).check_files()
    down = storage.takedowns().ids()

    def embed(cells: InTime) -> Iterator[CellDone | CellFailed]:
        model = embedding.model()
        context.log.info(f"embedder: {model.label}")
        total = sum(storage.cells().counts(cells).values())
        with sources.links() as links, progress.task(context, total, "captures") as advance:
            fetcher, embedder = embedding.fetcher(), LazyEmbedder(model, embedding.embedder)
            renew, attempts, on_progress = _renew(links, context.log), embedding.attempts(), _shown_on(advance, cells)
            unread: dict[str, str] = {}
            unwanted, scene_of = embedding.unwanted(), embedding.scene_of()

            def finished(some: Sequence[str]) -> "Iterator[tuple[str, CellEmbeddings | GeoPinError]]":
                return embed_cells(
                    cell_tasks(storage, model, InTime(some, cells.deadline), down, fetcher.obeys, unread),
                    embedder=embedder,
                    fetcher=fetcher,
                    renew=renew,
                    on_progress=on_progress,
                    attempts=attempts,
                    decoders=embedding.decoders(),
                    unwanted=unwanted,
                    scene_of=scene_of,
                    is_over=lambda: cells.deadline.is_over,
                )

            yield from _outcomes(storage, model, cells, down, finished)
            yield from (CellFailed(cell_id, error) for cell_id, error in unread.items())

    try:
        yield from materialize_cells(context, embed)
    finally:
        with suppress(TransientError):  # who publishes has the catalog follow, too
            storage.follow_failures()


def cell_tasks(
    storage: Storage,
    model: Model,
    cell_ids: Sequence[str],
    down: Collection[str],
    obeys: Callable[[str], bool],
    unread: dict[str, str],
) -> "Iterator[CellTask]":
    """The cells to bring up to date; their captures are read as the run comes to them.

    `down`: what was taken down by now; `unread` gets the cells that cannot be read, and why.
    """
    from geopin_assets.embedding.plan import CellTask
    from geopin_assets.store.thinning import standing_in

    failures, files = storage.failures(), storage.vectors(model)
    for cell_id in cell_ids:
        failed = failures.read(cell_id)
        try:
            cell, there, captures = _wanted(storage, cell_id, failed, down)
        except GeoPinError as error:
            unread[cell_id] = f"{type(error).__name__}: {error}"
            continue
        stay = partial(standing_in, there, storage.settings().thin_m)
        yield CellTask(cell_id, captures, failed, files.cell(cell_id), partial(_gone, cell), stay, obeys)


def _wanted(
    storage: Storage, cell_id: str, failed: pl.DataFrame, down: Collection[str]
) -> "tuple[CellFile, pl.DataFrame, pl.DataFrame]":
    """A cell, its captures, and those that the index wants, as the catalog decides once it knows of the failures."""
    from geopin_assets.store.lookups import IMAGE_COLUMNS
    from geopin_assets.store.thinning import THINNING_COLUMNS, decided

    cell = _read(storage, cell_id, list(dict.fromkeys((*IMAGE_COLUMNS, *THINNING_COLUMNS))))
    there = cell.captures.filter(~pl.col("capture_id").is_in(list(down)))
    final = failed.filter(pl.col("next_try_at").is_null()).join(there, on=["capture_id", "image_version"], how="semi")
    reasons = decided(there, storage.settings().thin_m, set(final["capture_id"]))
    return cell, there, there.filter(reasons.is_null())


def _read(storage: Storage, cell_id: str, columns: Sequence[str]) -> "CellFile":
    """What was merged of a cell; a damaged file is set aside, and written anew where the catalog is."""
    cells = storage.cells()
    try:
        return cells.read(cell_id, columns)
    except DamagedFileError as error:
        cells.set_aside(cell_id)
        if storage.settings().is_worker:
            raise DamagedFileError(f"{error}; `geopin merge` where the catalog is writes it anew") from error
        storage.catalog().merge([cell_id], storage.raw())
        return cells.read(cell_id, columns)


def _gone(cell: "CellFile", captures: pl.DataFrame) -> pl.Series:
    """What is in the cell and yet not wanted may go as what is gone: it was taken down, or others stand for it."""
    return cell.gone(captures) | captures["capture_id"].is_in(cell.captures["capture_id"].implode())


def _shown_on(advance: Advance, cells: InTime) -> "Callable[[EmbeddingProgress], None]":
    """Progress in captures and images a second. What was embedded is kept, whether or not its cell gets finished."""
    started_s, shown = time.monotonic(), 0

    def show(so_far: "EmbeddingProgress") -> None:
        nonlocal shown
        rate = (so_far.embedded + so_far.failed) / max(time.monotonic() - started_s, 1e-3)
        text = f"{so_far.embedded} embedded, {rate:.1f} images/s, {so_far.untouched} unchanged, {so_far.failed} failed"
        cells.is_kept |= so_far.embedded > 0
        advance(text, so_far.done - shown)
        shown = so_far.done

    return show


def _outcomes(
    storage: Storage,
    model: Model,
    cell_ids: Sequence[str],
    down: Collection[str],
    finished: "Callable[[Sequence[str]], Iterator[tuple[str, CellEmbeddings | GeoPinError]]]",
) -> Iterator[CellDone | CellFailed]:
    """Store the failures of finished cells where they changed, and say what was done.

    Where images were given up that stood for others, those others are embedded too.
    """
    stats: dict[str, CellStats] = {}
    while cell_ids:
        again = []
        for cell_id, result in finished(cell_ids):
            try:
                if isinstance(result, GeoPinError):
                    raise result
                if result.failures_changed:
                    storage.failures().write(cell_id, result.failures)
                is_left = result.failures_changed and _is_left(storage, cell_id, result, down)
            except GeoPinError as error:
                yield CellFailed(cell_id, f"{type(error).__name__}: {error}")
                continue
            stats[cell_id] = result.stats.after(stats.get(cell_id))
            if is_left:
                again.append(cell_id)
            else:
                yield _done(cell_id, result, stats.pop(cell_id), model)
        cell_ids = again


def _is_left(storage: Storage, cell_id: str, result: "CellEmbeddings", down: Collection[str]) -> bool:
    """Whether a capture is wanted now that neither has a vector nor failed."""
    *_, wanted = _wanted(storage, cell_id, result.failures, down)
    known = pl.concat([result.images["capture_id"], result.failures["capture_id"]])
    return not wanted["capture_id"].is_in(known.implode()).all()


def _renew(links: Links, log: dg.DagsterLogManager) -> "Renew":
    """New addresses of the captures to fetch, where theirs have expired, or why there are none."""

    def renew(images: Sequence[CaptureImage]) -> dict[str, str | Failure]:
        renewal = links.renew(
            LinkedCapture(image.capture_id, image.source, image.source_capture_id, image.image_url) for image in images
        )
        if renewal.requests:
            log.info(f"{len(renewal.fresh)} image links renewed with {renewal.requests} requests")
        for source, error in renewal.errors.items():
            log.warning(f"{source}: expired image links could not be renewed, they are tried again later: {error}")
        return renewal.fresh | {key: Failure(FailureReason(loss)) for key, loss in renewal.lost.items()}

    return renew


def _done(cell_id: str, result: "CellEmbeddings", stats: "CellStats", model: Model) -> CellDone:
    shown: dict[str, object] = {
        "embedder": model.label,
        "embedded": stats.embedded,
        "reused": stats.reused,
        "failed_images": sum(stats.failed.values()),
        "waiting_for_another_try": stats.deferred,
        "removed_vectors": stats.removed_vectors,
    }
    if stats.renewed:
        shown["renewed_links"] = stats.renewed
    if stats.failed:
        shown["failed_by_reason"] = dg.MetadataValue.json(stats.failed)
    if stats.left_out:
        shown["left_out_views_by_reason"] = dg.MetadataValue.json(stats.left_out)
    if opted_out := _opted_out(result.failures):
        shown["opted_out"] = dg.MetadataValue.json(opted_out)
    if stats.bottleneck:
        shown["bottleneck"] = stats.bottleneck
        shown["stage_seconds"] = dg.MetadataValue.json({k: round(v, 3) for k, v in stats.seconds.items()})
    images = result.images.drop("left_out")  # which follows from the image
    version = content_version(images.with_columns(model_id=pl.lit(model.model_id)))
    return CellDone(cell_id, stats.vectors, version, shown)


def _opted_out(failures: pl.DataFrame) -> dict[str, int]:
    """How many images of each source their owners do not want used, whenever that was found out."""
    against = failures.filter(reason=FailureReason.OPTED_OUT.value)
    return dict(against.group_by("source").len().sort("source").iter_rows())
