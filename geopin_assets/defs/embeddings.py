"""index/embeddings: one Parquet file of unit vectors per cell, reusing what has not changed.

Not here: fetching, models and views (`embedding/`), or which links expire (`sources/links.py`). Images that
fail are rows with a reason and a next try, never an exception that loses the cell.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import polars as pl

from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import column_schema
from geopin_assets.defs.partitions import cell_asset
from geopin_assets.defs.progress import Progress
from geopin_assets.defs.ranges import CellDone, CellFailed, materialize_cells
from geopin_assets.defs.resources import Embedding, Sources, Storage
from geopin_assets.embedding.choose import embedder_label
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.pipeline import EMBEDDING_SCHEMA, CellEmbeddings, Renew, embed_cell
from geopin_assets.embedding.protocol import Embedder
from geopin_assets.embedding.reader import Fetcher
from geopin_assets.errors import GeoPinError
from geopin_assets.sources.links import LinkedCapture, Links
from geopin_assets.store.parquet import content_version, read_frame, write_frame
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS

CELLS_PER_RUN = 100
_DESCRIPTIONS = CAPTURE_DESCRIPTIONS | {
    "vector_id": "Capture id and view: the id of the vector in the published index",
    "view": "0 looks at the image center; panoramas have 12, one every 30 degrees clockwise",
    "heading_deg": "Direction this view looks at, degrees clockwise from true north; null if unknown",
    "model_id": "Architecture, dimension, weights and preprocessing: vectors of two models never meet",
    "image_version": "Version of the image that was embedded",
    "embedding": "Unit vector",
}


@cell_asset(
    ["index", "embeddings"],
    cells_per_run=CELLS_PER_RUN,
    deps=[captures],
    pool="gpu",
    kinds={"pytorch", "parquet"},
    metadata={"dagster/column_schema": column_schema(EMBEDDING_SCHEMA, _DESCRIPTIONS)},
)
def embeddings(
    context: dg.AssetExecutionContext, sources: Sources, storage: Storage, embedding: Embedding, progress: Progress
) -> Iterator[dg.MaterializeResult]:
    """Unit vectors of every unique image: flat captures have one view, panoramas twelve.

    Only new and changed images are fetched and embedded, and only their links are renewed where they have
    expired. Which model made the vectors is on every row and on every partition.
    """

    def embed(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        catalog = storage.catalog()
        wanted, failures = catalog.captures(cell_ids), catalog.failures(cell_ids)
        embedder, fetcher = embedding.embedder(), embedding.fetcher()
        context.log.info(f"embedder: {embedder_label(embedder)}")
        embedded = reused = 0
        with sources.links() as links, progress.task(context, len(cell_ids)) as advance:
            renew = partial(_renew, links, context.log)
            for cell_id in cell_ids:
                here = pl.col("cell_id") == cell_id
                try:
                    result = _embed_cell(
                        storage, cell_id, wanted.filter(here), failures.filter(here), embedder, fetcher, renew
                    )
                except GeoPinError as error:
                    yield CellFailed(cell_id, f"{type(error).__name__}: {error}")
                    continue
                yield _done(cell_id, result, embedder_label(embedder))
                embedded, reused = embedded + result.stats.embedded, reused + result.stats.reused
                advance(f"{embedded} captures embedded, {reused} reused")

    yield from materialize_cells(context, embed)


def _embed_cell(
    storage: Storage,
    cell_id: str,
    captures: pl.DataFrame,
    failures: pl.DataFrame,
    embedder: Embedder,
    fetcher: Fetcher,
    renew: Renew,
) -> CellEmbeddings:
    """Bring one cell's file and failures up to date; what did not change is not written."""
    path = storage.embeddings_path(cell_id)
    previous = read_frame(path, EMBEDDING_SCHEMA)
    result = embed_cell(
        captures,
        previous,
        failures.drop("cell_id"),
        embedder=embedder,
        fetcher=fetcher,
        now=datetime.now(UTC),
        renew=renew,
        checkpoint=partial(write_frame, path),
    )
    if not result.vectors.equals(previous):
        write_frame(path, result.vectors)
    if not result.failures.equals(failures.select(result.failures.columns)):
        storage.catalog().replace_failures(cell_id, result.failures)
    return result


def _renew(links: Links, log: dg.DagsterLogManager, todo: pl.DataFrame) -> dict[str, str | Failure]:
    """New addresses of the captures to fetch, where theirs have expired, or why there are none."""
    wanted = todo.select("capture_id", "source", "source_capture_id", "image_url")
    renewal = links.renew(LinkedCapture(*row) for row in wanted.iter_rows())
    if renewal.requests:
        log.info(f"{len(renewal.fresh)} image links renewed with {renewal.requests} requests")
    for source, error in renewal.errors.items():
        log.warning(f"{source}: expired image links could not be renewed, they are tried again later: {error}")
    return renewal.fresh | {key: Failure(FailureReason(loss)) for key, loss in renewal.lost.items()}


def _done(cell_id: str, result: CellEmbeddings, label: str) -> CellDone:
    stats = result.stats
    shown: dict[str, object] = {
        "embedder": label,
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
    if stats.bottleneck:
        shown["bottleneck"] = stats.bottleneck
        shown["stage_seconds"] = dg.MetadataValue.json({k: round(v, 3) for k, v in stats.seconds.items()})
    return CellDone(cell_id, stats.vectors, content_version(result.vectors.drop("embedding")), shown)
