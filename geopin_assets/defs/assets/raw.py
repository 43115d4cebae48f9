"""The raw assets: one per registered source, all made by one factory.

Here: how a crawled cell becomes a stored partition with its account. Not here: anything about one source.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from inspect import getdoc, getmodule, getsourcefile
from typing import TYPE_CHECKING

import dagster as dg

from geopin_assets.capture import Capture, Reason
from geopin_assets.cells import cell, cells_in
from geopin_assets.defs.declare import Columns, asset, version_of_source
from geopin_assets.defs.graph import raw
from geopin_assets.defs.resources import Sources, Storage
from geopin_assets.defs.running.deadline import InTime
from geopin_assets.defs.running.materialize import CellDone, CellFailed, Progress, materialize_cells
from geopin_assets.errors import GeoPinError, OutOfTimeError
from geopin_assets.grid import Bbox
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cells
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS, CAPTURE_SCHEMA

if TYPE_CHECKING:
    from geopin_assets.store.accounts import CrawlAccount
    from geopin_assets.store.raw import RawStore

COLUMNS = Columns(CAPTURE_SCHEMA, CAPTURE_DESCRIPTIONS)


def build_raw_asset(source: type[Source]) -> dg.AssetsDefinition:
    """`raw/<name>`: everything the source shows in each cell, as it showed it at its last good crawl."""

    @asset(
        raw(source),
        columns=COLUMNS,
        decided_by=[version_of_source(source.__module__)],
        kinds={"python", "parquet"},
        description=getdoc(getmodule(source)),
        code=[dg.LocalFileCodeReference(file_path=str(getsourcefile(source)), line_number=1, label=source.title)],
        metadata=_facts(source),
    )
    def crawled(
        context: dg.AssetExecutionContext, sources: Sources, storage: Storage, progress: Progress
    ) -> Iterator[dg.MaterializeResult]:
        reason = sources.disabled_reason(source)
        if reason:
            context.log.warning(f"{source.name} is switched off, nothing was crawled: {reason}")
            return

        def crawl(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
            left_s, at_once = cell_ids.deadline.working_s, sources.cells_at_once(source)
            with (
                sources.open(source.name, left_s=left_s) as crawler,
                progress.task(context, len(cell_ids)) as advance,
            ):
                store, captures, requests = storage.raw(), 0, 0
                known = partial(_known, store, source.name)
                taken_down = storage.takedowns().of(source.name)
                for where, outcome in crawl_cells(crawler, map(cell, cell_ids), concurrency=at_once, known=known):
                    if isinstance(outcome, OutOfTimeError):
                        continue
                    yield from store_cell(store, source.name, where.cell_id, outcome, taken_down)
                    if isinstance(outcome, CellCrawl):
                        captures, requests = captures + len(outcome.captures), requests + outcome.report.requests
                    advance(f"{captures} captures, {requests} requests")

        yield from materialize_cells(context, crawl)

    return crawled


def store_cell(
    raw: "RawStore", source: str, cell_id: str, outcome: CellCrawl | GeoPinError, taken_down: Collection[str] = ()
) -> Iterator[CellDone | CellFailed]:
    """Store a crawled cell without what was taken down (capture ids), which is counted.

    A failed cell is never written; an incomplete one is, and still counts as failed. Failures are noted.
    """
    now, error = datetime.now(UTC), _failure(outcome)
    if error:
        raw.note_failure(source, cell_id, error, now=now)
    if isinstance(outcome, GeoPinError):
        yield CellFailed(cell_id, error)
        return
    report = outcome.report
    account = raw.write(
        _admitted(outcome, taken_down),
        source=source,
        cell_id=cell_id,
        crawled_at=now,
        requests=report.requests,
        splits=report.splits,
        duplicates=report.duplicates,
        rejected=report.rejected,
        is_complete=report.is_complete,
        duration_s=outcome.duration_s,
    )
    shown = _shown(account, report.rejected_examples)
    if error:
        yield CellFailed(cell_id, error, shown)
        return
    raw.forget_failure(source, cell_id)
    yield CellDone(cell_id, account.captures, account.data_version, shown)


def _known(raw: "RawStore", source: str, box: Bbox) -> frozenset[str]:
    """Ids that the stored crawls of the cells of a box hold."""
    return frozenset().union(*(raw.ids_of(source, each.cell_id) for each in cells_in(box)))


def _failure(outcome: CellCrawl | GeoPinError) -> str:
    """What is wrong with a crawl; empty if nothing is."""
    if isinstance(outcome, GeoPinError):
        return f"{type(outcome).__name__}: {outcome}"
    missing, found = outcome.report.incomplete, len(outcome.captures)
    return f"incomplete, {found} captures found; not complete: {missing[0]}" if missing else ""


def _admitted(crawl: CellCrawl, taken_down: Collection[str]) -> list[Capture]:
    """What of a crawl may be stored; the rest is counted on its report."""
    for capture in crawl.captures:
        if capture.capture_id in taken_down:
            crawl.report.reject(Reason.TAKEN_DOWN, capture.source_capture_id)
    return [capture for capture in crawl.captures if capture.capture_id not in taken_down]


def _shown(account: "CrawlAccount", examples: Mapping[str, list[str]]) -> dict[str, object]:
    shown: dict[str, object] = {
        "requests": account.requests,
        "splits": account.splits,
        "duplicates": account.duplicates,
        "rejected": sum(account.rejected.values()),
        "duration_s": account.duration_s,
        "is_complete": account.is_complete,
    }
    if account.rejected:
        shown["rejected_by_reason"] = dg.MetadataValue.json(dict(account.rejected))
        shown["rejected_examples"] = dg.MetadataValue.json(dict(examples))
    return shown


def _facts(source: type[Source]) -> dict[str, object]:
    some: dict[str, object] = {}
    if source.key:
        some |= {"needs": source.key.variable, "get_a_key": dg.MetadataValue.url(source.key.where)}
    if source.license:
        some["license_text"] = dg.MetadataValue.url(OPEN_LICENSES[source.license].url)
    return some | {
        "homepage": dg.MetadataValue.url(source.homepage),
        "contribute": dg.MetadataValue.url(source.contribute_url),
        "license": source.license or "stated per capture",
        "attribution": source.attribution,
        "requests_per_second": source.requests_per_second,
    }


raw_assets = [build_raw_asset(source) for source in SOURCES]
