"""publish/d1 and publish/vectorize: what the index must hold, minus what it holds, cell by cell.

Here: batches of cells and what they show. Not here: what goes where, and in which order (`platform/publishing.py`), or
any backend.
"""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import polars as pl
from pydantic import Field

from geopin_assets.cells import pages
from geopin_assets.defs.assets.publish_guard import refuse_losses, refusing
from geopin_assets.defs.declare import Columns, asset
from geopin_assets.defs.graph import CATALOG, D1, EMBEDDINGS, VECTORIZE
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.running.materialize import CellDone, CellFailed, Progress, materialize_cells
from geopin_assets.embedding.model.choosing import DIM
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import GeoPinError
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE, VECTOR_CAPTURES_AT_ONCE
from geopin_assets.index.cost import DOLLARS_PER_MILLION_ROWS
from geopin_assets.index.protocol import vector_schema
from geopin_assets.index.publish import LEAVING, MassRemovalError, PublishReport
from geopin_assets.index.tables import DESCRIPTIONS, TABLES
from geopin_assets.index.versions import IndexVersion
from geopin_assets.platform.index_state import announce_versions, switch_when_complete
from geopin_assets.platform.publishing import Publisher
from geopin_assets.store.schema import CATALOG_DESCRIPTIONS, CATALOG_SCHEMA

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
    {name: CATALOG_SCHEMA.get(name, pl.String()) for name in TABLES["captures"].columns},
    CATALOG_DESCRIPTIONS | {name: DESCRIPTIONS[f"captures.{name}"] for name in ("thumbnail_url", "covered_by")},
    unchanged_from={CATALOG: CATALOG_SCHEMA},
)


class Publishing(dg.Config):
    """What a person may ask of one run."""

    max_removals: int | None = Field(
        default=None,
        ge=0,
        description="So many vectors, and rows of each table, may be deleted, where GEOPIN_MAX_REMOVAL_SHARE refused"
        " it and it is right",
    )


@asset(D1, columns=_ROWS, decided_by=TABLES["vectors"].columns, kinds={"cloudflare", "sqlite"})
def d1(
    context: dg.AssetExecutionContext,
    config: Publishing,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    progress: Progress,
) -> Iterator[dg.MaterializeResult]:
    """Metadata beside the vectors: source, position, date, heading, license, attribution, creator, page link.

    Goes to Cloudflare D1, or the embedded SQLite with the same tables and SQL.
    """
    refuse_losses(context, storage)
    stores = search_index.metadata()
    with refusing(context):
        publisher = Publisher.begin(storage, search_index, embedding.model(), max_removals=config.max_removals)
        publisher.evidence.foresee(context.partition_keys, search_index.ledger())
    bookmarks = {str(number): store.bookmark() for number, store in enumerate(stores.parts)}
    restorable = {number: bookmark for number, bookmark in bookmarks.items() if bookmark}

    def shown() -> dict[str, object]:
        """Where `wrangler d1 time-travel restore` would go back to, before this run."""
        return {"bookmark": dg.MetadataValue.json(restorable)} if restorable else {}

    work = _in_batches(context, storage, progress, ROW_CAPTURES_AT_ONCE, publisher.rows, shown)
    yield from materialize_cells(context, work)
    announce_versions(storage, search_index, publisher.model)


@asset(VECTORIZE, columns=_VECTORS, kinds={"cloudflare", "lancedb"})
def vectorize(
    context: dg.AssetExecutionContext,
    config: Publishing,
    storage: Storage,
    embedding: Embedding,
    search_index: SearchIndex,
    progress: Progress,
) -> Iterator[dg.MaterializeResult]:
    """The vectors of every cell in the searchable index: Cloudflare Vectorize, or the embedded LanceDB.

    Only the difference to the ledger is sent; a write counts once it was read back. Each model has an index of its
    own. A new one is built beside the one that searches use, and takes its place when it is complete and verified; one
    of another model only if it also places captures no worse, or `geopin index switch` says so.
    """
    from geopin_assets.locate.switching import may_replace

    refuse_losses(context, storage)
    model = embedding.model()
    with refusing(context):
        publisher = Publisher.begin(storage, search_index, model, max_removals=config.max_removals)
    version = search_index.publishing(model)

    def publish(cell_ids: Sequence[str]) -> list[PublishReport]:
        nonlocal version
        try:
            return publisher.vectors(cell_ids, version)
        except MassRemovalError as error:
            version = search_index.rebuild(model)
            context.log.warning(f"{error}: {version.name} is built instead; `geopin index build` publishes all of it")
            return publisher.vectors(cell_ids, version)

    context.log.info(f"index {version.name} ({version.state}), {model.label}")
    yield from materialize_cells(
        context,
        _in_batches(context, storage, progress, VECTOR_CAPTURES_AT_ONCE, publish, lambda: _shown(version, model)),
    )
    switched = switch_when_complete(storage, search_index, model, may_replace)
    _tell_switch(context, storage, search_index, model)
    if switched:
        context.log.info(f"searches now use {switched.name}; the one before is kept, see `geopin index list`")
    announce_versions(storage, search_index, model)


def _tell_switch(context: dg.AssetExecutionContext, storage: Storage, search_index: SearchIndex, model: Model) -> None:
    """On the asset and in the log: why searches do not go to the index of another model."""
    from geopin_assets.locate.verdict import read_verdict

    verdict = read_verdict(storage.quality())
    building = search_index.versions().building(model.model_id)
    if verdict and building and verdict.version == building.name:
        context.log.warning(verdict.in_words())
        context.log_event(dg.AssetObservation(VECTORIZE, metadata={"switch": verdict.in_words()}))


def _shown(version: IndexVersion, model: Model) -> dict[str, object]:
    return {"index": version.name, "index_state": version.state.value, "embedder": model.label}


def _in_batches(
    context: dg.AssetExecutionContext,
    storage: Storage,
    progress: Progress,
    captures_at_once: int,
    publish: Callable[[Sequence[str]], list[PublishReport]],
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


def _outcomes(batch: Sequence[str], reports: Sequence[PublishReport], shown: dict[str, object]) -> Iterator[CellDone]:
    """What a batch wrote is known for the batch only, so its first cell carries those numbers."""
    for number, cell_id in enumerate(batch):
        published = [report.per_cell[cell_id] for report in reports if cell_id in report.per_cell]
        version = str([index for index in [shown.get("index")] if index] + published)
        yield CellDone(cell_id, sum(published), version, shown | (_batch_totals(reports) if number == 0 else {}))


def _batch_totals(reports: Sequence[PublishReport]) -> dict[str, object]:
    rows, late = sum(r.rows_written for r in reports), [r for r in reports if [*r.per_cell] == [LEAVING]]
    totals: dict[str, object] = {
        "upserted": sum(r.upserted for r in reports),
        "deleted": sum(r.deleted for r in reports if r not in late),
        "rows_deleted": sum(r.deleted for r in late),
        "unchanged": sum(r.unchanged for r in reports),
        "store_requests": sum(r.requests for r in reports),
        "verified": sum(r.verified for r in reports),
    }
    if rows:
        totals |= {"rows_written": rows, "cost_usd": rows * DOLLARS_PER_MILLION_ROWS / 1e6}
    if mutations := [r.mutation for r in reports if r.mutation]:
        totals |= {"mutation": mutations[-1], "lag_s": round(max(r.lag_s for r in reports), 3)}
    return totals
