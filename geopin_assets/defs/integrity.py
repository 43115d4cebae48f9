"""quality/integrity: is what is published sound, complete, unique, attributed and paid for? One report.

Not here: how anything is counted (`store/catalog.py`, `embedding/audit.py`, `index/sync.py`, `spending.py`), or what
the checks say of it (`integrity_checks.py`). Checks sit on this small unpartitioned asset: on the partitioned ones they
would run once per range and be skipped exactly when a step fails.
"""

from datetime import UTC, datetime

import dagster as dg

from geopin_assets.defs.automation import REPORT
from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import frame_table
from geopin_assets.defs.desired import all_desired
from geopin_assets.defs.embeddings import embeddings
from geopin_assets.defs.integrity_checks import (
    CHECKS,
    budget_check,
    duplicates_check,
    images_check,
    licenses_check,
    sync_check,
    vectors_check,
)
from geopin_assets.defs.partitions import OWNERS
from geopin_assets.defs.publish import d1, vectorize
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.serving import live_models
from geopin_assets.defs.spending import daily_budgets, publishing_month
from geopin_assets.embedding.audit import audit_vectors
from geopin_assets.embedding.protocol import Model
from geopin_assets.index.sync import SyncReport, sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget
from geopin_assets.quality.image_failures import MAX_SHARE

_KEY = ["quality", "integrity"]


@dg.asset(
    key=_KEY,
    deps=[captures, embeddings, vectorize, d1],
    group_name="quality",
    kinds={"python"},
    owners=OWNERS,
    check_specs=[dg.AssetCheckSpec(name, asset=_KEY, description=text) for name, text in CHECKS.items()],
    **REPORT,
)
def integrity(
    context: dg.AssetExecutionContext, storage: Storage, embedding: Embedding, search_index: SearchIndex
) -> dg.MaterializeResult:
    """Duplicates, licenses, images without a vector, budgets, and the published index compared with the catalog."""
    catalog, settings, now = storage.catalog(), storage.settings(), datetime.now(UTC)
    licenses, failures = catalog.licenses(), catalog.image_failures()
    held = int(licenses["captures"].sum())
    model = embedding.model()
    audit = audit_vectors(storage.vectors(model).paths())
    stores = _stores(storage, model, search_index)
    month = publishing_month(storage, context.instance, vectors=audit.vectors, captures=held, dim=model.dim, now=now)
    return dg.MaterializeResult(
        metadata={
            "captures": held,
            "vectors": audit.vectors,
            "captures_without_vector": int(failures["captures"].sum()),
            "embedder": model.label,
            "vectors_by_model": dg.MetadataValue.json(audit.by_model),
            "licenses": frame_table(licenses),
            "images_not_embedded": frame_table(failures),
        },
        check_results=[
            duplicates_check(catalog.duplicates()),
            licenses_check(licenses),
            vectors_check(audit),
            sync_check(stores),
            images_check(failures, held, settings.number("GEOPIN_MAX_EMBEDDING_FAILURES", MAX_SHARE, low=0, high=1)),
            budget_check(daily_budgets(settings, now=now), month),
        ],
    )


def _stores(storage: Storage, model: Model, search_index: SearchIndex) -> dict[str, SyncReport]:
    """Each part of the index and of the metadata, compared with what it should hold."""
    ledger, desired = search_index.ledger(), all_desired(storage, model)
    captures = storage.catalog().sightings().select("capture_id", "cell_id")
    views = desired if len(live_models(search_index, model)) == 1 else None
    version, reports = search_index.target(model), {}
    for number, (part, wanted) in enumerate(search_index.vectors(version).split(desired)):
        reports[_label(version.name, number)] = sync_report(wanted["vector_id"], ledger, VectorTarget(part))
    for number, (store, wanted) in enumerate(search_index.metadata().split(captures)):
        target = RowTarget(store, TABLES["captures"])
        reports[_label("capture rows", number)] = sync_report(wanted["capture_id"], ledger, target)
    if views is not None:  # rows of several models are one union, which only publishing knows
        for number, (store, wanted) in enumerate(search_index.metadata().split(views)):
            target = RowTarget(store, TABLES["vectors"])
            reports[_label("vector rows", number)] = sync_report(wanted["vector_id"], ledger, target)
    return reports


def _label(name: str, part: int) -> str:
    return f"{name}, part {part + 1}" if part else name
