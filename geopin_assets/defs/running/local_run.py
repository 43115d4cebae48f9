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
from typing import Any

import dagster as dg

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.assets import catalog, embeddings, publish, raw
from geopin_assets.defs.assets.attribution import attribution
from geopin_assets.defs.assets.coverage import coverage
from geopin_assets.defs.assets.diversity import diversity
from geopin_assets.defs.assets.freshness import freshness
from geopin_assets.defs.assets.integrity import integrity
from geopin_assets.defs.dagster_internals import InstanceRef
from geopin_assets.defs.running.materialize import RANGE_END, RANGE_START
from geopin_assets.defs.running.progress import Progress
from geopin_assets.regions import ranges


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
) -> Iterator[LayerResult]:
    """Materialize every layer for the cells, yielding each layer's result as it ends.

    Materializations, failures and check results are recorded in the instance as for any other run.
    `crawl` replaces crawling one source after the other in this process.
    """
    job = defs.resolve_implicit_global_asset_job_def()
    yield from (
        crawl(instance, cell_ids, sources)
        if crawl
        else (crawl_source(job, instance, cell_ids, name) for name in sources)
    )
    yield from run_below_raw(job, instance, cell_ids)
    for asset in (coverage, diversity, attribution, freshness, integrity):
        result = LayerResult(asset.key.to_user_string())
        _run(job, instance, asset.key, (), result)
        yield result


def run_below_raw(
    job: dg.JobDefinition, instance: dg.DagsterInstance, cell_ids: Sequence[str]
) -> Iterator[LayerResult]:
    """Catalog, embeddings and the index for the cells, from what raw holds: no source is asked for captures."""
    steps = [(catalog.captures.key, catalog.CELLS_PER_RUN), (embeddings.embeddings.key, embeddings.CELLS_PER_RUN)]
    steps += [(publish.vectorize.key, publish.VECTOR_CELLS_PER_RUN), (publish.d1.key, publish.ROW_CELLS_PER_RUN)]
    for key, cells_per_run in steps:
        yield layer(job, instance, key, cell_ids, cells_per_run)


def crawl_source(
    job: dg.JobDefinition, instance: dg.DagsterInstance, cell_ids: Sequence[str], name: str
) -> LayerResult:
    """The raw layer of one source."""
    return layer(job, instance, raw_key(name), cell_ids, raw.CELLS_PER_RUN)


def raw_key(name: str) -> dg.AssetKey:
    """Where a source's captures go."""
    return dg.AssetKey(["raw", name])


def layer(
    job: dg.JobDefinition, instance: dg.DagsterInstance, key: dg.AssetKey, cell_ids: Sequence[str], cells_per_run: int
) -> LayerResult:
    """One asset over the cells, in runs of contiguous ranges."""
    result = LayerResult(key.to_user_string())
    for block in ranges(cell_ids, cells_per_run):
        _run(job, instance, key, block, result)
    return result


def _run(
    job: dg.JobDefinition, instance: dg.DagsterInstance, key: dg.AssetKey, block: Sequence[str], result: LayerResult
) -> None:
    one = len(block) == 1
    ended = job.execute_in_process(
        instance=instance,
        asset_selection=[key],
        partition_key=block[0] if one else None,
        tags={RANGE_START: block[0], RANGE_END: block[-1]} if len(block) > 1 else None,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    _add_materializations(instance, ended.run_id, result)
    result.checks += ended.get_asset_check_evaluations()
    if not ended.success:
        _add_failures(ended, block[0] if one else result.asset, result)


def _add_materializations(instance: dg.DagsterInstance, run_id: str, result: LayerResult) -> None:
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000)
        for record in page.records:
            materialization = record.asset_materialization
            if materialization is not None:
                result.cells += record.partition_key is not None
                _add_totals(result.totals, materialization.metadata)
        if not page.has_more:
            return
        cursor = page.cursor


def _add_totals(totals: Counter[str], metadata: Mapping[str, dg.MetadataValue]) -> None:
    for name, value in metadata.items():
        if isinstance(value, dg.IntMetadataValue) and value.value is not None:
            totals[name.removeprefix("dagster/")] += value.value


def _add_failures(ended: dg.ExecuteInProcessResult, default: str, result: LayerResult) -> None:
    for event in ended.get_step_failure_events():
        data = event.step_failure_data.user_failure_data
        if data is not None and "failed_cells" in data.metadata:
            result.failed_count += int(data.metadata["failed_cells"].value)  # type: ignore[arg-type]
            result.failed |= data.metadata["failed"].value  # type: ignore[arg-type]
        else:
            result.failed_count += 1
            result.failed[default] = _root_cause(event.step_failure_data.error)


def _root_cause(error: Any) -> str:
    """The first line of what was raised, without what Dagster wraps around it."""
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    if error is None:
        return "unknown error"
    return str(error.message).strip().splitlines()[0].removeprefix("geopin_assets.errors.")


def crawl_side_by_side(
    overrides: Mapping[str, str],
    progress: Callable[[], Progress],
    instance: dg.DagsterInstance,
    cell_ids: Sequence[str],
    sources: Sequence[str],
) -> Iterator[LayerResult]:
    """The raw layer of every source, as each ends. `overrides`: GEOPIN_* variables on top of the environment's.

    `progress` is built in each process, as resources do not travel: it must be importable there.
    """
    with ExitStack() as stack:
        crawls: dict[Future[LayerResult], str] = {}
        for name in sources:
            process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            given = (instance.get_ref(), dict(overrides), progress, name, list(cell_ids))
            crawls[process.submit(_crawl_alone, *given)] = name
        for crawl in as_completed(crawls):
            yield _result(crawl, crawls[crawl])


def _crawl_alone(
    ref: InstanceRef, overrides: dict[str, str], progress: Callable[[], Progress], name: str, cell_ids: list[str]
) -> LayerResult:
    """In a process of its own."""
    with dg.DagsterInstance.from_ref(ref) as instance:
        job = build_definitions(overrides=overrides, progress=progress()).resolve_implicit_global_asset_job_def()
        return crawl_source(job, instance, cell_ids, name)


def _result(crawl: "Future[LayerResult]", name: str) -> LayerResult:
    try:
        return crawl.result()
    except BrokenProcessPool as error:
        asset = raw_key(name).to_user_string()
        return LayerResult(asset, failed_count=1, failed={asset: f"its process ended: {error}"})
