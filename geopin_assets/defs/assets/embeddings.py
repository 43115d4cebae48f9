"""index/embeddings: one Parquet file of unit vectors per cell and model, reusing what has not changed.

Not here: fetching, models and views (`embedding/`), or which links expire (`sources/links.py`). Images that
fail are rows with a reason and a next try, never an exception that loses the cell.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from geopin_assets.cells import pages
from geopin_assets.defs.assets.publish_guard import refusing
from geopin_assets.defs.declare import Columns, asset, settings_at_load
from geopin_assets.defs.graph import CATALOG, EMBEDDINGS
from geopin_assets.defs.resources import Embedding, Sources, Storage
from geopin_assets.defs.running.deadline import InTime
from geopin_assets.defs.running.materialize import Advance, CellDone, CellFailed, Progress, materialize_cells
from geopin_assets.embedding.model.choosing import DIM, LazyEmbedder, embedding_code_version
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason, Model, embedding_schema
from geopin_assets.errors import GeoPinError
from geopin_assets.sources.links import LinkedCapture, Links
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS, content_version

if TYPE_CHECKING:
    from geopin_assets.embedding.pipeline import EmbeddingProgress
    from geopin_assets.embedding.plan import CellEmbeddings, CellTask
    from geopin_assets.embedding.reading import Renew
    from geopin_assets.embedding.vectors import VectorFiles
    from geopin_assets.platform.evidence import Evidence
    from geopin_assets.store.catalog import Catalog

CAPTURES_AT_ONCE = 20_000
"""Captures whose rows are read together: one query for many small cells, one cell at a time where they are large."""
COLUMNS = Columns(
    embedding_schema(DIM),
    CAPTURE_DESCRIPTIONS
    | {
        "vector_id": "Capture id and view: the id of the vector in the published index",
        "view": "0 looks at the image center; panoramas have 12, one every 30 degrees clockwise",
        "left_out": "How many views of the image have no vector, as they show nothing: padding, black, one color",
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

    evidence = Evidence(storage)
    with refusing(context):
        evidence.check()

    def embed(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        catalog, model = storage.catalog(), embedding.model()
        context.log.info(f"embedder: {model.label}")
        counts = catalog.counts_by_cell(cell_ids)
        total = sum(counts.values())
        with sources.links() as links, progress.task(context, total, "captures") as advance:
            fetcher = embedding.fetcher()
            finished = embed_cells(
                cell_tasks(catalog, storage.vectors(model), cell_ids, counts, evidence, fetcher.obeys),
                embedder=LazyEmbedder(model, embedding.embedder),
                fetcher=fetcher,
                renew=_renew(links, context.log),
                on_progress=_shown_on(advance, cell_ids),
                attempts=embedding.attempts(),
                is_over=lambda: cell_ids.deadline.is_over,
            )
            for cell_id, result in finished:
                yield _outcome(catalog, model, cell_id, result)

    yield from materialize_cells(context, embed)


def cell_tasks(
    catalog: "Catalog",
    files: "VectorFiles",
    cell_ids: Sequence[str],
    counts: Mapping[str, int],
    evidence: "Evidence",
    obeys: Callable[[str], bool],
) -> "Iterator[CellTask]":
    """The cells to bring up to date; their captures are read as the run comes to them."""
    from geopin_assets.embedding.plan import CellTask

    for some in pages(cell_ids, counts, CAPTURES_AT_ONCE):
        images, failures = catalog.images(some), catalog.failures(some)
        for cell_id in some:
            here = pl.col("cell_id") == cell_id
            captures, failed = images.filter(here), failures.filter(here).drop("cell_id")
            yield CellTask(cell_id, captures, failed, files.cell(cell_id), evidence.gone, obeys)


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


def _outcome(
    catalog: "Catalog", model: Model, cell_id: str, result: "CellEmbeddings | GeoPinError"
) -> CellDone | CellFailed:
    """Store the failures of a finished cell where they changed, and say what was done."""
    try:
        if isinstance(result, GeoPinError):
            raise result
        if result.failures_changed:
            catalog.replace_failures(cell_id, result.failures)
    except GeoPinError as error:
        return CellFailed(cell_id, f"{type(error).__name__}: {error}")
    return _done(cell_id, result, model)


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


def _done(cell_id: str, result: "CellEmbeddings", model: Model) -> CellDone:
    stats = result.stats
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
