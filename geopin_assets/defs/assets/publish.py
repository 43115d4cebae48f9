"""publish/vectorize and publish/d1: what the index must hold, minus what it holds, cell by cell.

Here: batches of cells and what they show. Not here: what is desired (`platform/index_state.py`), plans, limits,
verification and the ledger (`index/publish.py`), or any backend. A capture's row is published whether or not its image
could be embedded: a row without a vector is never found, a vector without its row would lack its license.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from geopin_assets.defs.assets.publish_guard import refuse_losses
from geopin_assets.defs.declare import Columns, asset
from geopin_assets.defs.graph import CATALOG, D1, EMBEDDINGS, VECTORIZE
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.running.materialize import CellDone, CellFailed, Progress, materialize_cells, pages
from geopin_assets.embedding.model.choosing import DIM
from geopin_assets.errors import GeoPinError
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE, VECTOR_CAPTURES_AT_ONCE
from geopin_assets.index.protocol import vector_schema
from geopin_assets.index.tables import TABLES
from geopin_assets.sources import SOURCES
from geopin_assets.store.schema import CATALOG_DESCRIPTIONS, CATALOG_SCHEMA

if TYPE_CHECKING:
    from geopin_assets.embedding.protocol import Model
    from geopin_assets.index.batching import Frames
    from geopin_assets.index.cost import RunBudget
    from geopin_assets.index.publish import PublishReport
    from geopin_assets.index.versions import IndexVersion

_VECTORS = Columns(
    vector_schema(DIM),
    {
        "vector_id": "Capture id and view",
        "embedding": "Unit vector",
        "source": "Metadata index: searches can be filtered by it",
        "cell_block": "Metadata index: block of about 20 km that holds the capture",
        "captured_year": "Metadata index: null if unknown",
    },
    unchanged_from={EMBEDDINGS: ("vector_id", "embedding", "source")},
)
_ROWS = Columns(
    {name: CATALOG_SCHEMA[name] for name in TABLES["captures"].columns},
    CATALOG_DESCRIPTIONS,
    unchanged_from={CATALOG: CATALOG_SCHEMA},
)


@asset(VECTORIZE, columns=_VECTORS, kinds={"cloudflare", "lancedb"})
def vectorize(
    context: dg.AssetExecutionContext,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    progress: Progress,
) -> Iterator[dg.MaterializeResult]:
    """The vectors of every cell in the searchable index: Cloudflare Vectorize, or the embedded LanceDB.

    Only the difference to the ledger is sent; a write counts once it was read back. Each model has an index of its
    own. A new one is built beside the one that searches use, and takes its place when it is complete and verified.
    """
    from geopin_assets.index.publish import MassRemovalError
    from geopin_assets.platform.index_state import desired_vectors, switch_when_complete

    refuse_losses(context, storage)
    model, budget = embedding.model(), search_index.budget()
    version = search_index.publishing(model)

    def publish(cell_ids: Sequence[str]) -> "list[PublishReport]":
        nonlocal version
        desired = desired_vectors(storage, cell_ids, model)
        try:
            return _publish_vectors(desired, cell_ids, search_index, version, budget)
        except MassRemovalError as error:
            version = search_index.rebuild(model)
            context.log.warning(f"{error}: {version.name} is built instead; `geopin index build` publishes all of it")
            return _publish_vectors(desired, cell_ids, search_index, version, budget)

    context.log.info(f"index {version.name} ({version.state}), {model.label}")
    yield from materialize_cells(
        context,
        _in_batches(context, storage, progress, VECTOR_CAPTURES_AT_ONCE, publish, lambda: _shown(version, model)),
    )
    switched = switch_when_complete(storage, search_index, model)
    if switched:
        context.log.info(f"searches now use {switched.name}; the one before is kept, see `geopin index list`")
        _announce(storage, search_index, model)


def _publish_vectors(
    desired: "Frames", cell_ids: Sequence[str], search_index: SearchIndex, version: "IndexVersion", budget: "RunBudget"
) -> "list[PublishReport]":
    from geopin_assets.index.publish import publish_vectors

    ledger, now, most = search_index.ledger(), datetime.now(UTC), search_index.max_deletions()
    return [
        publish_vectors(rows, cell_ids, part, ledger, now=now, budget=budget, max_deletions=most)
        for part, rows in search_index.vectors(version).split_frames(desired)
    ]


def _shown(version: "IndexVersion", model: "Model") -> dict[str, object]:
    return {"index": version.name, "index_state": version.state.value, "embedder": model.label}


@asset(D1, columns=_ROWS, decided_by=TABLES["vectors"].columns, kinds={"cloudflare", "sqlite"})
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
    from geopin_assets.index.publish import publish_each
    from geopin_assets.index.targets import RowTarget
    from geopin_assets.platform.index_state import desired_views, live_models

    refuse_losses(context, storage)
    model, ledger, budget = embedding.model(), search_index.ledger(), search_index.budget()
    stores, models = search_index.metadata(), live_models(search_index, model)
    bookmarks = {str(number): store.bookmark() for number, store in enumerate(stores.parts)}
    restorable = {number: bookmark for number, bookmark in bookmarks.items() if bookmark}

    def shown() -> dict[str, object]:
        """Where `wrangler d1 time-travel restore` would go back to, before this run."""
        return {"bookmark": dg.MetadataValue.json(restorable)} if restorable else {}

    def publish(cell_ids: Sequence[str]) -> "list[PublishReport]":
        tables = {
            "captures": storage.catalog().captures(cell_ids),
            "vectors": desired_views(storage, cell_ids, models),
        }
        parts = (
            (RowTarget(store, TABLES[table]), rows)
            for table, desired in tables.items()
            for store, rows in stores.split(desired)
        )
        return publish_each(parts, cell_ids, ledger, now=datetime.now(UTC), budget=budget)

    yield from materialize_cells(context, _in_batches(context, storage, progress, ROW_CAPTURES_AT_ONCE, publish, shown))
    _announce(storage, search_index, model)


def _announce(storage: Storage, search_index: SearchIndex, model: "Model") -> None:
    """Tell searchers which index to use and what is in it."""
    from geopin_assets.index.versions import announce
    from geopin_assets.platform.index_state import published_count

    announce(
        search_index.metadata().parts[0],
        _sources(storage),
        {version: published_count(search_index, version) for version in search_index.versions().all()},
        captures=len(storage.catalog().ids()),
        embedder=model.label,
        now=datetime.now(UTC),
    )


def _in_batches(
    context: dg.AssetExecutionContext,
    storage: Storage,
    progress: Progress,
    captures_at_once: int,
    publish: "Callable[[Sequence[str]], list[PublishReport]]",
    shown: Callable[[], dict[str, object]],
) -> Callable[[Sequence[str]], Iterator[CellDone | CellFailed]]:
    """Publish a few cells at a time: together they fill requests, and memory stays bounded."""

    def work(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        with progress.task(context, len(cell_ids)) as advance:
            for batch in pages(cell_ids, storage.catalog().counts_by_cell(cell_ids), captures_at_once):
                try:
                    reports = publish(batch)
                except GeoPinError as error:
                    yield from (CellFailed(cell_id, f"{type(error).__name__}: {error}") for cell_id in batch)
                    continue
                yield from _outcomes(batch, reports, shown())
                for _ in batch:
                    advance(f"{sum(r.upserted for r in reports)} written in this batch")

    return work


def _outcomes(batch: Sequence[str], reports: "Sequence[PublishReport]", shown: dict[str, object]) -> Iterator[CellDone]:
    """What a batch wrote is known for the batch only, so its first cell carries those numbers."""
    for number, cell_id in enumerate(batch):
        published = [report.per_cell[cell_id] for report in reports]
        version = str([index for index in [shown.get("index")] if index] + published)
        yield CellDone(cell_id, sum(published), version, shown | (_batch_totals(reports) if number == 0 else {}))


def _batch_totals(reports: "Sequence[PublishReport]") -> dict[str, object]:
    from geopin_assets.index.cost import DOLLARS_PER_MILLION_ROWS

    rows = sum(r.rows_written for r in reports)
    totals: dict[str, object] = {
        "upserted": sum(r.upserted for r in reports),
        "deleted": sum(r.deleted for r in reports),
        "unchanged": sum(r.unchanged for r in reports),
        "store_requests": sum(r.requests for r in reports),
        "verified": sum(r.verified for r in reports),
    }
    if rows:
        totals |= {"rows_written": rows, "cost_usd": rows * DOLLARS_PER_MILLION_ROWS / 1e6}
    if mutations := [r.mutation for r in reports if r.mutation]:
        totals |= {"mutation": mutations[-1], "lag_s": round(max(r.lag_s for r in reports), 3)}
    return totals


def _sources(storage: Storage) -> pl.DataFrame:
    """Every registered source and how many captures of it the catalog holds."""
    held = storage.catalog().licenses().group_by("source").agg(pl.col("captures").sum())
    about = pl.DataFrame([{"source": s.name, "title": s.title, "homepage": s.homepage} for s in SOURCES])
    return about.join(held, on="source", how="left").with_columns(pl.col("captures").fill_null(0))
