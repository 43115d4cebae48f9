"""What the checks of quality/integrity say: from counts to verdicts. Not here: counting, or the report itself."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from geopin_assets.embedding.audit import VectorAudit
from geopin_assets.index.sync import SyncReport
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.quality.budgets import DailyBudget, PublishingMonth, notable
from geopin_assets.quality.image_failures import count_failures, described

CHECKS = {
    "no_duplicates": "Every (source, image id) is one row of the catalog. If not: the merge is broken, do not publish.",
    "license_and_attribution": "Every capture has an open license, an attribution text and a page link. "
    "If not: see `attribution_summary` in the catalog and fix the source's parser.",
    "vectors_unit_norm": "Every stored vector is finite and of length 1. If not: re-embed the cells it names.",
    "index_in_sync": "The index holds exactly the catalog's captures and their vectors, by count, by ledger "
    "and by a sample read back. If not: materialize publish/vectorize and publish/d1 for the affected cells.",
    "embedding_failures": "Few captures are without a vector because their image could not be fetched or used. If it "
    "warns: see `images_not_embedded`. Reasons of a host (timeout, refused, host_down) mostly pass: failed images are "
    "tried again when index/embeddings runs for their cells. Given up are those that cannot succeed; many not_found or "
    "not_an_image of one source mean that its image links have changed.",
    "budget": "Requests that sources allow a day, and what publishing cost in 30 days. If a source's budget is spent: "
    "nothing is lost, its cells fail and are tried again after 00:00 UTC; day after day means that refreshing needs "
    "more days than it has, so ask the provider for more and raise GEOPIN_<SOURCE>_<KIND>_PER_DAY. If the month costs "
    "too much: see `rows_written` of the publish assets for the runs that wrote most, or raise the budget.",
}


def duplicates_check(count: int) -> dg.AssetCheckResult:
    """Passes when every image is one row."""
    return _error("no_duplicates", count == 0, f"{count} duplicate rows", duplicates=count)


def licenses_check(licenses: pl.DataFrame) -> dg.AssetCheckResult:
    """Passes when every capture may be shown, and says how."""
    closed = int(licenses.filter(~pl.col("license").is_in(list(OPEN_LICENSES)))["captures"].sum())
    bare = int(licenses["unattributed"].sum())
    text = f"{closed} captures without an open license, {bare} without attribution or page link"
    return _error("license_and_attribution", closed + bare == 0, text, not_open=closed, unattributed=bare)


def vectors_check(audit: VectorAudit) -> dg.AssetCheckResult:
    """Passes when every vector can be searched by angle."""
    text = f"{audit.not_finite} of {audit.vectors} vectors not finite, {audit.not_unit} not of unit length"
    bad = audit.not_finite + audit.not_unit
    return _error("vectors_unit_norm", bad == 0, text, not_finite=audit.not_finite, not_unit=audit.not_unit)


def sync_check(stores: Mapping[str, SyncReport]) -> dg.AssetCheckResult:
    """Passes when every part of the index holds what it should, and nothing else."""
    text = "; ".join(f"{name}: {_difference(report)}" for name, report in stores.items())
    passed = all(report.is_in_sync for report in stores.values())
    return _error("index_in_sync", passed, text, **{f"{n} published": r.in_store for n, r in stores.items()})


def images_check(failures: pl.DataFrame, captures: int, most: float) -> dg.AssetCheckResult:
    """Passes when at most a share `most` of the captures is without a vector."""
    counted = count_failures(failures, captures)
    return dg.AssetCheckResult(
        check_name="embedding_failures",
        passed=counted.share <= most,
        severity=dg.AssetCheckSeverity.WARN,
        description=described(failures, counted),
        metadata={"waiting": counted.waiting, "given_up": counted.final, "share": counted.share, "allowed": most},
    )


def budget_check(budgets: Sequence[DailyBudget], month: PublishingMonth | None) -> dg.AssetCheckResult:
    """Passes when no daily budget ran out lately and a month of publishing costs no more than it may."""
    spent = notable(budgets)
    said = spent or [f"{len(budgets)} daily budgets of sources, none nearly spent in the last days"]
    said.append(month.text if month else "publishing is embedded and costs nothing")
    numbers: dict[str, int | float] = {"budgets_spent": len(spent)}
    if month:
        numbers |= {"rows_written": month.rows_written, "requests": month.requests, "cost_usd": month.cost_usd}
    return dg.AssetCheckResult(
        check_name="budget",
        passed=not spent and (month is None or month.is_within),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(said),
        metadata=numbers,
    )


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


def _error(name: str, passed: bool, text: str, **numbers: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=text, metadata=numbers
    )
