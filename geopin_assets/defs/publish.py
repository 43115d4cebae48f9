"""publish/vectorize and publish/d1: what the index must hold, minus what it holds, cell by cell.

Here: batches of cells and what they show. Not here: what is desired (`desired.py`), plans, limits, verification
and the ledger (`index/publish.py`), or any backend. A capture's row is published whether or not its image could be
embedded: a row without a vector is never found, a vector without its row would lack its license.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.defs.catalog import CATALOG_DESCRIPTIONS, CATALOG_SCHEMA, captures
from geopin_assets.defs.columns import column_schema
from geopin_assets.defs.desired import desired_vectors
from geopin_assets.defs.embeddings import embeddings
from geopin_assets.defs.partitions import cell_asset
from geopin_assets.defs.progress import Progress
from geopin_assets.defs.ranges import CellDone, CellFailed, materialize_cells
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.embedding.choose import DIM, embedder_label
from geopin_assets.errors import GeoPinError
from geopin_assets.index.announce import announce
from geopin_assets.index.protocol import vector_schema
from geopin_assets.index.publish import PublishReport, publish_rows, publish_vectors
from geopin_assets.index.tables import TABLES
from geopin_assets.sources import SOURCES

VECTOR_CELLS_PER_RUN = 200
ROW_CELLS_PER_RUN = 300
_CELLS_AT_ONCE = 20
_VECTOR_COLUMNS = {
    "vector_id": "Capture id and view",
    "embedding": "Unit vector",
    "source": "Metadata index: searches can be filtered by it",
    "cell_block": "Metadata index: block of about 20 km that holds the capture",
    "captured_year": "Metadata index: null if unknown",
}
_ROW_SCHEMA = {name: CATALOG_SCHEMA[name] for name in TABLES["captures"].columns}


@cell_asset(
    ["publish", "vectorize"],
    cells_per_run=VECTOR_CELLS_PER_RUN,
    deps=[embeddings],
    pool="cloudflare",
    kinds={"cloudflare", "lancedb"},
    metadata={"dagster/column_schema": column_schema(vector_schema(DIM), _VECTOR_COLUMNS)},
)
def vectorize(
    context: dg.AssetExecutionContext,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    progress: Progress,
) -> Iterator[dg.MaterializeResult]:
    """The vectors of every cell in the searchable index: Cloudflare Vectorize, or the embedded LanceDB.

    Only the difference to the ledger is sent; a write counts once it was read back. Each model has an
    index of its own.
    """
    embedder = embedding.embedder()
    index, ledger = search_index.vectors(embedder), search_index.ledger()

    def publish(cell_ids: Sequence[str]) -> list[PublishReport]:
        desired = desired_vectors(storage, cell_ids, embedder.model_id).select(*vector_schema(index.dim), "cell_id")
        return [publish_vectors(desired, cell_ids, index, ledger, now=datetime.now(UTC))]

    context.log.info(f"index {index.name}, {embedder_label(embedder)}")
    shown = {"index": index.name, "embedder": embedder_label(embedder)}
    yield from materialize_cells(context, _in_batches(context, progress, publish, shown))


@cell_asset(
    ["publish", "d1"],
    cells_per_run=ROW_CELLS_PER_RUN,
    deps=[captures, embeddings],
    pool="cloudflare",
    kinds={"cloudflare", "sqlite"},
    metadata={"dagster/column_schema": column_schema(_ROW_SCHEMA, CATALOG_DESCRIPTIONS)},
)
def d1(
    context: dg.AssetExecutionContext,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    progress: Progress,
) -> Iterator[dg.MaterializeResult]:
    """Metadata beside the vectors: source, position, date, heading, license, attribution, creator, page link.

    Goes to Cloudflare D1, or the embedded SQLite with the same tables and SQL.
    """
    embedder = embedding.embedder()
    store, ledger = search_index.metadata(), search_index.ledger()

    def publish(cell_ids: Sequence[str]) -> list[PublishReport]:
        rows = storage.catalog().captures(cell_ids)
        vectors = desired_vectors(storage, cell_ids, embedder.model_id)
        now = datetime.now(UTC)
        return [
            publish_rows("captures", rows, cell_ids, store, ledger, now=now),
            publish_rows("vectors", vectors, cell_ids, store, ledger, now=now),
        ]

    yield from materialize_cells(context, _in_batches(context, progress, publish, {}))
    announce(
        store,
        _sources(storage),
        index_name=search_index.vectors(embedder).name,
        model_id=embedder.model_id,
        embedder=embedder_label(embedder),
        now=datetime.now(UTC),
    )


def _in_batches(
    context: dg.AssetExecutionContext,
    progress: Progress,
    publish: Callable[[Sequence[str]], list[PublishReport]],
    shown: dict[str, str],
) -> Callable[[Sequence[str]], Iterator[CellDone | CellFailed]]:
    """Publish a few cells at a time: together they fill requests, and memory stays bounded."""

    def work(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        with progress.task(context, len(cell_ids)) as advance:
            for start in range(0, len(cell_ids), _CELLS_AT_ONCE):
                batch = cell_ids[start : start + _CELLS_AT_ONCE]
                try:
                    reports = publish(batch)
                except GeoPinError as error:
                    yield from (CellFailed(cell_id, f"{type(error).__name__}: {error}") for cell_id in batch)
                    continue
                yield from _outcomes(batch, reports, shown)
                for _ in batch:
                    advance(f"{sum(r.upserted for r in reports)} written in this batch")

    return work


def _outcomes(batch: Sequence[str], reports: Sequence[PublishReport], shown: dict[str, str]) -> Iterator[CellDone]:
    """What a batch wrote is known for the batch only, so its first cell carries those numbers."""
    for number, cell_id in enumerate(batch):
        published = [report.per_cell[cell_id] for report in reports]
        batch_totals = {
            "upserted": sum(r.upserted for r in reports),
            "deleted": sum(r.deleted for r in reports),
            "unchanged": sum(r.unchanged for r in reports),
            "store_requests": sum(r.requests for r in reports),
            "verified": sum(r.verified for r in reports),
        }
        yield CellDone(cell_id, sum(published), str(published), shown | (batch_totals if number == 0 else {}))


def _sources(storage: Storage) -> pl.DataFrame:
    """Every registered source and how many captures of it the catalog holds."""
    held = storage.catalog().licenses().group_by("source").agg(pl.col("captures").sum())
    about = pl.DataFrame([{"source": s.name, "title": s.title, "homepage": s.homepage} for s in SOURCES])
    return about.join(held, on="source", how="left").with_columns(pl.col("captures").fill_null(0))
