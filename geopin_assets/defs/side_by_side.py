"""Crawling all sources at once, each in a process of its own.

A region then takes as long as its slowest source, and a source that is down, hangs or kills its process delays
and fails no other. Threads would not do: Dagster redirects the whole process's output and logging for each step.

Here: the processes. Not here: what a crawl of one source is (`local_run.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context

import dagster as dg

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.dagster_internals import InstanceRef
from geopin_assets.defs.local_run import LayerResult, crawl_source, raw_key
from geopin_assets.defs.progress import Progress


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
