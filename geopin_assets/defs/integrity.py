"""quality/integrity: is what is published sound, complete, unique and attributed? One report, four checks.

Not here: how anything is counted (`store/catalog.py`, `embedding/audit.py`, `index/sync.py`), or coverage.
Checks sit on this small unpartitioned asset: on the partitioned ones they would run once per range
and be skipped exactly when a step fails.
"""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from geopin_assets.defs.catalog import captures
from geopin_assets.defs.columns import frame_table
from geopin_assets.defs.desired import all_desired
from geopin_assets.defs.embeddings import embeddings
from geopin_assets.defs.partitions import OWNERS
from geopin_assets.defs.publish import d1, vectorize
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.serving import live_models
from geopin_assets.embedding.audit import VectorAudit, audit_vectors
from geopin_assets.embedding.protocol import Model
from geopin_assets.index.sync import SyncReport, sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget, Wait
from geopin_assets.licenses import OPEN_LICENSES

_CHECKS = {
    "no_duplicates": "Every (source, image id) is one row of the catalog. If not: the merge is broken, do not publish.",
    "license_and_attribution": "Every capture has an open license, an attribution text and a page link. "
    "If not: see `attribution_summary` in the catalog and fix the source's parser.",
    "vectors_unit_norm": "Every stored vector is finite and of length 1. If not: re-embed the cells it names.",
    "index_in_sync": "The index holds exactly the catalog's captures and their vectors, by count, by ledger "
    "and by a sample read back. If not: materialize publish/vectorize and publish/d1 for the affected cells.",
}


@dg.asset(
    key=["quality", "integrity"],
    deps=[captures, embeddings, vectorize, d1],
    group_name="quality",
    kinds={"python"},
    owners=OWNERS,
    check_specs=[
        dg.AssetCheckSpec(name, asset=["quality", "integrity"], description=text) for name, text in _CHECKS.items()
    ],
)
def integrity(storage: Storage, embedding: Embedding, search_index: SearchIndex) -> dg.MaterializeResult:
    """Duplicates, licenses, vectors and the published index, compared with the catalog."""
    catalog = storage.catalog()
    licenses = catalog.licenses()
    model = embedding.model()
    audit = audit_vectors(storage.vectors(model).paths())
    stores = _stores(storage, model, search_index)
    return dg.MaterializeResult(
        metadata={
            "captures": int(licenses["captures"].sum()),
            "vectors": audit.vectors,
            "embedder": model.label,
            "vectors_by_model": dg.MetadataValue.json(audit.by_model),
            "licenses": frame_table(licenses),
        },
        check_results=[
            _duplicates(catalog.duplicates()),
            _licenses(licenses),
            _vectors(audit),
            _in_sync(stores),
        ],
    )


def _stores(storage: Storage, model: Model, search_index: SearchIndex) -> dict[str, SyncReport]:
    """Each part of the index and of the metadata, compared with what it should hold."""
    ledger, desired = search_index.ledger(), all_desired(storage, model)
    captures = storage.catalog().sightings().select("capture_id", "cell_id")
    views = desired if len(live_models(search_index, model)) == 1 else None
    version, reports = search_index.target(model), {}
    for number, (part, wanted) in enumerate(search_index.vectors(version).split(desired)):
        reports[_label(version.name, number)] = sync_report(wanted["vector_id"], ledger, VectorTarget(part, Wait()))
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


def _duplicates(count: int) -> dg.AssetCheckResult:
    return _result("no_duplicates", count == 0, f"{count} duplicate rows", duplicates=count)


def _licenses(licenses: pl.DataFrame) -> dg.AssetCheckResult:
    closed = int(licenses.filter(~pl.col("license").is_in(list(OPEN_LICENSES)))["captures"].sum())
    bare = int(licenses["unattributed"].sum())
    text = f"{closed} captures without an open license, {bare} without attribution or page link"
    return _result("license_and_attribution", closed + bare == 0, text, not_open=closed, unattributed=bare)


def _vectors(audit: VectorAudit) -> dg.AssetCheckResult:
    text = f"{audit.not_finite} of {audit.vectors} vectors not finite, {audit.not_unit} not of unit length"
    bad = audit.not_finite + audit.not_unit
    return _result("vectors_unit_norm", bad == 0, text, not_finite=audit.not_finite, not_unit=audit.not_unit)


def _in_sync(stores: dict[str, SyncReport]) -> dg.AssetCheckResult:
    text = "; ".join(f"{name}: {_difference(report)}" for name, report in stores.items())
    passed = all(report.is_in_sync for report in stores.values())
    return _result("index_in_sync", passed, text, **{f"{n} published": r.in_store for n, r in stores.items()})


def _difference(report: SyncReport) -> str:
    if report.is_in_sync:
        return f"{report.in_store} in sync, {report.sampled} read back"
    return (
        f"{report.desired} wanted, {report.in_store} held, {report.missing} missing, {report.surplus} surplus,"
        f" {report.unfinished} unfinished, {len(report.mismatched)} of {report.sampled} read back wrong"
        f"{_named('lost', report.lost)}{_named('not ours', report.strange)}{_named('wrong', report.mismatched)}"
    )


def _named(what: str, ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"; {what}: {', '.join(ids[:3])}{more}" if ids else ""


def _result(name: str, passed: bool, text: str, **numbers: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=text, metadata=numbers
    )
