"""quality/integrity: is what is published sound, complete, unique, attributed and paid for? The report and its checks.

Checks sit on this small unpartitioned asset: on the partitioned ones they would run once per range and be skipped
exactly when a step fails. Not here: how anything is counted (`store/counts.py`, `embedding/`, `index/`), or when
money and requests are too much (`quality/budgets.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import dagster as dg
import polars as pl

from geopin_assets.defs.declare import asset_key, frame_table, report, verdict, version_of_module
from geopin_assets.defs.graph import group
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.embedding.protocol import FLAWS, Model
from geopin_assets.errors import DamagedFileError
from geopin_assets.files.object_store import NoSuchObjectError
from geopin_assets.files.parquet import frame_bytes, read_frame
from geopin_assets.http_client import DailyUse
from geopin_assets.index.cost import forecast_publish
from geopin_assets.index.sync import SyncReport, Wanted, sampled_sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.platform.index_state import live_models, stale_publications, wanted_ids
from geopin_assets.quality.limits import (
    DailyBudget,
    PublishingMonth,
    budgets_notable,
    count_failures,
    failures_described,
)
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, quotas_of

CHECKS = {
    "no_duplicates": "Every (source, image id) is one row of the catalog. If not: the merge is broken, do not publish.",
    "license_and_attribution": "Every capture has an open license, an attribution text and a page link. "
    "If not: see `attribution_summary` in the catalog and fix the source's parser.",
    "vectors_unit_norm": "Every stored vector is finite and of length 1. If not: re-embed the cells it names.",
    "index_in_sync": "The index holds exactly the catalog's captures and their vectors, by count, by ledger "
    "and by a sample read back. If not: `geopin reconcile` makes it so; `--dry-run` says what differs.",
    "embedding_failures": "Few captures are without a vector because their image could not be fetched or used. If it "
    "warns: see `images_not_embedded`. Reasons of a host (timeout, refused, host_down) mostly pass: failed images are "
    "tried again when index/embeddings runs for their cells. Given up are those that cannot succeed; many not_found or "
    "not_an_image of one source mean that its image links have changed; opted_out: their owners say so in headers. "
    "Flaws (GEOPIN_LEAVE_OUT) do not count: `quality/images` has them.",
    "budget": "Requests that sources allow a day, and what publishing cost in 30 days. If a source's budget is spent: "
    "nothing is lost, its cells fail and are tried again after 00:00 UTC; day after day means that refreshing needs "
    "more days than it has, so ask the provider for more and raise `GEOPIN_<SOURCE>_<KIND>_PER_DAY`. If the month "
    "costs too much: see `rows_written` of the publish assets for the runs that wrote most, or raise the budget.",
}
DAYS = 7
"""Days of requests looked at: a crawl that runs out every day shows as such."""
_MONTH = timedelta(days=30)
_PAGE = 1000


@report("quality/integrity", checks=CHECKS, decided_by=[version_of_module(__file__)], kinds={"python"})
def integrity(
    context: dg.AssetExecutionContext, storage: Storage, embedding: Embedding, search_index: SearchIndex
) -> dg.MaterializeResult:
    """Duplicates, licenses, images without a vector, budgets, and the published index compared with the catalog."""
    storage.follow_failures()
    from geopin_assets.store.thinning import not_indexed_counts

    catalog, settings, now = storage.catalog(), storage.settings(), datetime.now(UTC)
    licenses, failures = catalog.licenses(), catalog.image_failures()
    held, without = int(licenses["captures"].sum()), not_indexed_counts(catalog)
    model = embedding.model()
    audits = _audits(storage, model, now)
    vectors = int(audits["vectors"].sum())
    stores = _stores(storage, model, search_index, dict(audits.select("cell_id", "vectors").iter_rows()), now)
    month = publishing_month(storage, context.instance, vectors=vectors, captures=held, dim=model.dim, now=now)
    return dg.MaterializeResult(
        metadata={
            "captures": held,
            "vectors": vectors,
            "captures_without_vector": int(failures["captures"].sum()),
            "captures_not_indexed": dg.MetadataValue.json(without),
            "embedder": model.label,
            "vectors_by_model": dg.MetadataValue.json({model.model_id: vectors} if vectors else {}),
            "licenses": frame_table(licenses),
            "images_not_embedded": frame_table(failures),
        },
        check_results=[
            duplicates_check(catalog.duplicates()),
            licenses_check(licenses),
            vectors_check(audits),
            sync_check(stores, stale_publications(search_index)),
            images_check(
                failures.filter(~pl.col("reason").is_in(list(FLAWS))),
                held - sum(without.values()),
                settings.max_embedding_failures,
            ),
            budget_check(daily_budgets(settings, now=now), month),
        ],
    )


def _audits(storage: Storage, model: Model, now: datetime) -> pl.DataFrame:
    """What is known of each cell's vectors; kept for the next report, which looks at what changed since."""
    from geopin_assets.embedding.stored_vectors import AUDITS, audit_files

    reports, key = storage.quality(), "vector_audits.parquet"
    try:
        with reports.as_file(key) as path:
            known = read_frame(path).cast(AUDITS)
    except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
        known = AUDITS.to_frame()
    audits = audit_files(storage.vectors(model), known, seed=now.toordinal())
    reports.put(key, frame_bytes(audits))
    return audits


def _stores(
    storage: Storage, model: Model, search_index: SearchIndex, vectors: Mapping[str, int], now: datetime
) -> dict[str, SyncReport]:
    """Each part of the index and of the metadata, compared with what it should hold."""
    ledger, seed, version, reports = search_index.ledger(), now.toordinal(), search_index.publishing(model), {}
    databases = search_index.metadata()

    @lru_cache(maxsize=1)  # vectors and their rows mostly ask for the same cells
    def views(cell_ids: Sequence[str]) -> pl.DataFrame:
        return wanted_ids(storage, cell_ids, model)

    def captures(cell_ids: Sequence[str]) -> pl.DataFrame:
        return storage.catalog().places(cell_ids).select("cell_id", id="capture_id")

    for number, (part, counts) in enumerate(search_index.vectors(version).split_counts(vectors)):
        report = sampled_sync_report(Wanted(counts, views), ledger, VectorTarget(part), seed=seed)
        reports[_label(version.name, number)] = report
    for number, (store, counts) in enumerate(databases.split_counts(storage.catalog().cell_counts())):
        target = RowTarget(store, TABLES["captures"])
        reports[_label("capture rows", number)] = sampled_sync_report(
            Wanted(counts, captures), ledger, target, seed=seed
        )
    if len(live_models(search_index, model)) == 1:  # rows of several models are one union, which only publishing knows
        for number, (store, counts) in enumerate(databases.split_counts(vectors)):
            target = RowTarget(store, TABLES["vectors"])
            reports[_label("vector rows", number)] = sampled_sync_report(
                Wanted(counts, views), ledger, target, seed=seed
            )
    return reports


def _label(name: str, part: int) -> str:
    return f"{name}, part {part + 1}" if part else name


def duplicates_check(count: int) -> dg.AssetCheckResult:
    """Passes when every image is one row."""
    return verdict("no_duplicates", count == 0, f"{count} duplicate rows", is_error=True, duplicates=count)


def licenses_check(licenses: pl.DataFrame) -> dg.AssetCheckResult:
    """Passes when every capture may be shown, and says how."""
    closed = int(licenses.filter(~pl.col("license").is_in(list(OPEN_LICENSES)))["captures"].sum())
    bare = int(licenses["unattributed"].sum())
    text = f"{closed} captures without an open license, {bare} without attribution or page link"
    return verdict(
        "license_and_attribution", closed + bare == 0, text, is_error=True, not_open=closed, unattributed=bare
    )


def vectors_check(audits: pl.DataFrame) -> dg.AssetCheckResult:
    """Passes when every vector can be searched by angle."""
    wrong = audits.filter(pl.any_horizontal(pl.col("not_finite", "not_unit", "damaged") > 0))
    vectors, finite, unit, damaged = audits.select("vectors", "not_finite", "not_unit", "damaged").sum().row(0)
    text = f"{finite} of {vectors} vectors not finite, {unit} not of unit length"
    text += f", {damaged} files damaged" if damaged else ""
    text += _named("in the cells", wrong["cell_id"].sort().to_list())
    return verdict("vectors_unit_norm", wrong.is_empty(), text, is_error=True, not_finite=finite, not_unit=unit)


def sync_check(stores: Mapping[str, SyncReport], stale: Sequence[str] = ()) -> dg.AssetCheckResult:
    """Passes when every part of the index holds what it should and nothing else, and every database says which."""
    text = "; ".join(f"{name}: {_difference(report)}" for name, report in stores.items())
    text += _named("publication is not what it should be in", stale)
    passed = all(report.is_in_sync for report in stores.values()) and not stale
    held = {f"{name} published": report.in_store for name, report in stores.items()}
    return verdict("index_in_sync", passed, text, is_error=True, **held)


def images_check(failures: pl.DataFrame, captures: int, most: float) -> dg.AssetCheckResult:
    """Passes when at most a share `most` of the captures is without a vector."""
    counted = count_failures(failures, captures)
    return verdict(
        "embedding_failures",
        counted.share <= most,
        failures_described(failures, counted),
        waiting=counted.waiting,
        given_up=counted.final,
        share=counted.share,
        allowed=most,
    )


def budget_check(budgets: Sequence[DailyBudget], month: PublishingMonth | None) -> dg.AssetCheckResult:
    """Passes when no daily budget ran out lately and a month of publishing costs no more than it may."""
    spent = budgets_notable(budgets)
    said = spent or [f"{len(budgets)} daily budgets of sources, none nearly spent in the last days"]
    said.append(month.text if month else "publishing is embedded and costs nothing")
    numbers: dict[str, Any] = {"budgets_spent": len(spent)}
    if month:
        numbers |= {"rows_written": month.rows_written, "requests": month.requests, "cost_usd": month.cost_usd}
    return verdict("budget", not spent and (month is None or month.is_within), "; ".join(said), **numbers)


def _difference(report: SyncReport) -> str:
    if report.is_in_sync:
        return f"{report.in_store} in sync, {report.sampled} read back"
    return (
        f"{report.desired} wanted, {report.in_store} held, {report.missing} missing, {report.surplus} surplus,"
        f" {report.unfinished} unfinished, {len(report.mismatched)} of {report.sampled} read back wrong"
        f"{_named('lost', report.lost)}{_named('not ours', report.strange)}{_named('doubled', report.doubled)}"
        f"{_named('wrong', report.mismatched)}{_named('in the cells', report.cells)}"
    )


def _named(what: str, ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"; {what}: {', '.join(ids[:3])}{more}" if ids else ""


def daily_budgets(settings: Settings, *, now: datetime) -> list[DailyBudget]:
    """Every daily budget of the sources that are switched on, with the requests of the last days."""
    used: dict[tuple[str, str], dict[date, int]] = {}
    stops: dict[tuple[str, str], tuple[datetime, str]] = {}
    if settings.postgres_url or settings.daily_use_path.exists():
        account = DailyUse(settings.use_place, clock=now.timestamp)
        for name, kind, day, requests in account.used_since((now - timedelta(days=DAYS - 1)).date()):
            used.setdefault((name, kind), {})[day] = requests
        stops = {(name, kind): (until, reason) for name, kind, until, reason in account.stops()}
    return [
        DailyBudget(
            source=source.name,
            kind=kind,
            per_day=quota.per_day,
            used=used.get((source.name, kind), {}),
            stopped_until=stops.get((source.name, kind), (None, ""))[0],
            stopped_because=stops.get((source.name, kind), (None, ""))[1],
        )
        for source in SOURCES
        if source.disabled_reason(settings) is None
        for kind, quota in quotas_of(source, settings).items()
        if quota.per_day is not None
    ]


def publishing_month(
    storage: Storage, instance: dg.DagsterInstance, *, vectors: int, captures: int, dim: int, now: datetime
) -> PublishingMonth | None:
    """What publishing to Cloudflare took in 30 days; None for the embedded index, which costs nothing."""
    settings = storage.settings()
    if not settings.publishes_to_cloudflare:
        return None
    written = [
        _numbers(event) for node in group("publish") for event in _since(instance, asset_key(node.key), now - _MONTH)
    ]
    return PublishingMonth(
        rows_written=sum(numbers["rows_written"] for numbers in written),
        requests=sum(numbers["store_requests"] for numbers in written),
        storage_usd=forecast_publish(vectors, captures, dim).monthly_usd,
        limit_usd=settings.monthly_budget_usd,
    )


def _since(instance: dg.DagsterInstance, key: dg.AssetKey, moment: datetime) -> Iterator[dg.AssetMaterialization]:
    """Newest first; ids are in order of time, and a time has no index."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            if record.timestamp < moment.timestamp():
                return
            if record.asset_materialization:
                yield record.asset_materialization
        if not page.has_more:
            return
        cursor = page.cursor


def _numbers(event: dg.AssetMaterialization) -> dict[str, int]:
    """Only the first cell of a batch carries what the batch took."""
    found = {name: event.metadata.get(name) for name in ("rows_written", "store_requests")}
    return {name: value.value or 0 if isinstance(value, dg.IntMetadataValue) else 0 for name, value in found.items()}
