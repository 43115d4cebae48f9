"""A region through the whole graph: all sources (one by one, or side by side), then layer by layer.

Raw and everything below it are never one run: within a run Dagster does not do a cell whose upstream failed, and one
failed source must not hold back what the others brought. So each layer is its own run over all cells; the merge uses
the last good crawl of a source that failed. Side by side, each source has a process of its own: a region takes as long
as its slowest source, and one that is down, hangs or kills its process delays and fails no other. Threads would not
do: Dagster redirects the whole process's output and logging for each step.

Here: the order, and an account of what each layer did, read back from the instance. Not here: printing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import cast
from uuid import uuid4

import dagster as dg

from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START, InstanceRef
from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import GRAPH, node, started_by
from geopin_assets.defs.running.deadline import NO_LIMIT
from geopin_assets.defs.running.materialize import failed_cells, root_cause
from geopin_assets.defs.running.under_way import process_tag
from geopin_assets.regions import ranges
from geopin_assets.sources.base import EXAMPLES_KEPT


@dataclass(slots=True)
class LayerResult:
    """What one asset did for the region."""

    asset: str
    cells: int = 0
    """Cells materialized; 0 for a report, which has no cells."""
    failed_count: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """cell_id (or the asset, for a report) -> error; of a run that failed in many cells, the first ones."""
    totals: Counter[str] = field(default_factory=Counter)
    """Whole-number metadata summed over the cells, e.g. requests, embedded, upserted."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Records that a source's cells left out, by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first of them, by reason."""
    checks: list[dg.AssetCheckEvaluation] = field(default_factory=list)


Crawl = Callable[[dg.DagsterInstance, Sequence[str], Sequence[str]], Iterator[LayerResult]]
"""Crawls cells of sources and yields each source's result as it ends."""


def run_region(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    cell_ids: Sequence[str],
    sources: Sequence[str],
    *,
    crawl: Crawl | None = None,
    max_removals: int | None = None,
) -> Iterator[LayerResult]:
    """Materialize every layer for the cells, yielding each layer's result as it ends.

    Materializations, failures and check results are recorded in the instance as for any other run.
    `crawl` replaces crawling one source after the other in this process. `max_removals`: how many vectors, and rows of
    a table, publishing may delete, where a person says so.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    yield from (
        crawl(instance, cell_ids, sources)
        if crawl
        else (crawl_source(job, instance, cell_ids, name) for name in sources)
    )
    yield from run_below_raw(job, instance, cell_ids, max_removals=max_removals)
    for report in started_by("make_reports"):
        result = LayerResult(report.key)
        _run(job, instance, (), result)
        yield result


def run_below_raw(
    job: dg.JobDefinition, instance: dg.DagsterInstance, cell_ids: Sequence[str], *, max_removals: int | None = None
) -> Iterator[LayerResult]:
    """Catalog, embeddings and the index for the cells, from what raw holds: no source is asked for captures."""
    for row in GRAPH:
        if row.cells_per_run and row.above:
            yield layer(job, instance, row.key, cell_ids, max_removals=max_removals)


def crawl_source(
    job: dg.JobDefinition, instance: dg.DagsterInstance, cell_ids: Sequence[str], name: str
) -> LayerResult:
    """The raw layer of one source."""
    return layer(job, instance, raw_key(name), cell_ids)


def raw_key(name: str) -> str:
    """Where a source's captures go."""
    return f"raw/{name}"


def layer(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    key: str,
    cell_ids: Sequence[str],
    *,
    max_removals: int | None = None,
) -> LayerResult:
    """One asset over the cells, in runs of contiguous ranges."""
    result, is_published = LayerResult(key), key.startswith("publish/")
    asked = {} if max_removals is None or not is_published else {"max_removals": max_removals}
    for block in ranges(cell_ids, node(key).cells_per_run):
        _run(job, instance, block, result, asked)
    return result


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    block: Sequence[str],
    result: LayerResult,
    asked: Mapping[str, object] = {},
) -> None:
    one, run_id = len(block) == 1, str(uuid4())
    over = {RANGE_START: block[0], RANGE_END: block[-1]} if len(block) > 1 else {}
    config: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if asked:
        config["ops"] = {result.asset.replace("/", "__"): {"config": dict(asked)}}
    ended = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        asset_selection=[asset_key(result.asset)],
        partition_key=block[0] if one else None,
        tags=over | NO_LIMIT | process_tag(instance, run_id),
        raise_on_error=False,
        run_config=config,
    )
    _add_materializations(instance, ended.run_id, result)
    result.checks += ended.get_asset_check_evaluations()
    if not ended.success:
        _add_failures(ended, block[0] if one else result.asset, result)


def _add_materializations(instance: dg.DagsterInstance, run_id: str, result: LayerResult) -> None:
    for record in _records(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION):
        if (materialization := record.asset_materialization) is not None:
            result.cells += record.partition_key is not None
            _add_totals(result.totals, materialization.metadata)
            _add_left_out(result, materialization.metadata)
    for record in _records(instance, run_id, dg.DagsterEventType.ASSET_OBSERVATION):
        if (observation := record.asset_observation) is not None:
            _add_left_out(result, observation.metadata)


def _records(instance: dg.DagsterInstance, run_id: str, of_type: dg.DagsterEventType) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor, of_type, limit=1000)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _add_totals(totals: Counter[str], metadata: Mapping[str, dg.MetadataValue]) -> None:
    for name, value in metadata.items():
        if isinstance(value, dg.IntMetadataValue) and value.value is not None:
            totals[name.removeprefix("dagster/")] += value.value


def _add_left_out(result: LayerResult, metadata: Mapping[str, dg.MetadataValue]) -> None:
    counts, examples = metadata.get("rejected_by_reason"), metadata.get("rejected_examples")
    if isinstance(counts, dg.JsonMetadataValue) and isinstance(examples, dg.JsonMetadataValue):
        result.left_out.update(cast("dict[str, int]", counts.data))
        for reason, records in cast("dict[str, list[str]]", examples.data).items():
            shown = result.examples.setdefault(reason, [])
            shown += records[: EXAMPLES_KEPT - len(shown)]


def _add_failures(ended: dg.ExecuteInProcessResult, default: str, result: LayerResult) -> None:
    for event in ended.get_step_failure_events():
        count, cells = failed_cells(event.step_failure_data)
        result.failed_count += count or 1
        result.failed |= cells or {default: root_cause(event.step_failure_data.error)}
    if ended.get_step_failure_events():
        return
    for run in (event for event in ended.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE):
        result.failed_count += 1  # before any step began, as where a resource cannot be made
        result.failed[default] = root_cause(run.job_failure_data.error)


def crawl_side_by_side(
    build: Callable[[], dg.Definitions], instance: dg.DagsterInstance, cell_ids: Sequence[str], sources: Sequence[str]
) -> Iterator[LayerResult]:
    """The raw layer of every source, as each ends.

    `build` is called in each process, as definitions do not travel: it must be importable there.
    """
    with ExitStack() as stack:
        crawls: dict[Future[LayerResult], str] = {}
        for name in sources:
            process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            crawls[process.submit(_crawl_alone, build, instance.get_ref(), list(cell_ids), name)] = name
        for crawl in as_completed(crawls):
            yield _result(crawl, raw_key(crawls[crawl]))


def _crawl_alone(build: Callable[[], dg.Definitions], ref: InstanceRef, cell_ids: list[str], name: str) -> LayerResult:
    """In a process of its own."""
    with dg.DagsterInstance.from_ref(ref) as instance:
        return crawl_source(build().resolve_implicit_global_asset_job_def(), instance, cell_ids, name)


def _result(crawl: "Future[LayerResult]", asset: str) -> LayerResult:
    try:
        return crawl.result()
    except BrokenProcessPool as error:
        return LayerResult(asset, failed_count=1, failed={asset: f"its process ended: {error}"})
