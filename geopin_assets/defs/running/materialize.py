"""Runs over many cells that keep what they finish, and say how far they are.

Here: turning a stream of finished and failed cells into Dagster events and lines of progress. Not here: any work on a
cell.

Every finished cell is recorded at once as its own materialization, with its own data version and counts. Failed cells
are collected and the step fails at the end, so that exactly they show as failed; whoever re-executes the run skips
what its run family has finished. In a run of ONE cell a normal output is returned, so that assets downstream in the
same run are not skipped.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

from geopin_assets.defs.dagster_internals import SerializableErrorInfo, StepFailureData
from geopin_assets.defs.running.deadline import Deadline, InTime, hand_on, take_over
from geopin_assets.defs.running.under_way import leases_of, tell_process
from geopin_assets.files.lease import StillHeldError


class Advance(Protocol):
    """So many more units are done; the text is the state in a few words."""

    def __call__(self, text: str, units: int = 1) -> None: ...


def time_left(elapsed_s: float, done: int, total: int) -> str:
    """At the pace so far; nothing is known before the first unit is done."""
    if not done:
        return "time left unknown"
    left_s = elapsed_s / done * (total - done)
    if left_s < 120:
        return f"about {left_s:.0f} s left"
    return f"about {left_s / 60:.0f} min left" if left_s < 7200 else f"about {left_s / 3600:.1f} h left"


class Progress(dg.ConfigurableResource):
    """Writes a line at most every `every_s` seconds, and at the end, with the time still to go."""

    every_s: float = 10.0

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        """Follow `total` units of work on the asset of this step."""
        label = context.asset_key.to_user_string()
        start_s = said_s = time.monotonic()
        done = 0

        def advance(text: str, units: int = 1) -> None:
            nonlocal done, said_s
            done += units
            now_s = time.monotonic()
            if now_s - said_s >= self.every_s or done == total:
                said_s = now_s
                left = time_left(now_s - start_s, done, total)
                context.log.info(f"{label}: {done}/{total} {unit}, {text}, {left}")

        yield advance


DATA_VERSION = "dagster/data_version"
_FAILURES_SHOWN = 100
_MOST_INPUTS = 2
"""Assets above that are noted on each cell: of more, the notes would outgrow what they are about."""


@dataclass(frozen=True, slots=True)
class CellDone:
    """A finished cell: its row count, the version of its content, and what the partition shows."""

    cell_id: str
    rows: int
    data_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CellFailed:
    """A cell that could not be done, and why. What it held before is untouched."""

    cell_id: str
    error: str
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What its partition shows all the same: of a crawl that is incomplete, what it left out."""


Work = Callable[[InTime], Iterator[CellDone | CellFailed]]
"""Does the given cells (partition order) and reports each as it ends; those that time was too short for, not at all."""


def materialize_cells(context: dg.AssetExecutionContext, work: Work) -> Iterator[dg.MaterializeResult]:
    """Run `work` over the cells of this run. Raises dagster.Failure at the end if any cell failed, or was left over."""
    tell_process(context.instance, context.run)
    take_over(context)
    keys, turns = _partition_order(context), _Turns(context, work)
    if len(keys) == 1:
        outcome = next((outcome for outcome, _ in turns.over(keys)), None)
        if outcome is None and turns.is_stopped:
            raise turns.stopped(keys, keys, {})
        yield from _one(context, outcome or CellFailed(keys[0], "not done"))
        return
    done = _finished_by_family(context)
    todo = [key for key in keys if key not in done]
    context.log.info(f"{len(todo)} of {len(keys)} cells to do")
    failed: dict[str, str] = {}
    left, made_from = set(todo), _made_from(context, todo)
    for outcome, let_go in turns.over(todo):
        if isinstance(outcome, CellFailed):
            failed[outcome.cell_id] = outcome.error
            _observe(context, outcome)
        else:
            context.log_event(_materialization(context.asset_key, outcome, made_from(outcome.cell_id)))
        let_go(outcome.cell_id)
        left.discard(outcome.cell_id)
    if left and turns.is_stopped:
        raise turns.stopped(keys, left, failed)
    if failed:
        raise _failure(failed, len(keys))


class _Turns:
    """The cells of a step, each worked on once it is ours: what is read for it is what the one before left."""

    def __init__(self, context: dg.AssetExecutionContext, work: Work) -> None:
        self._context, self._work, self._deadline = context, work, Deadline.of(context)
        self._has_kept_some = False
        self._is_struck = False

    def over(self, cell_ids: Sequence[str]) -> Iterator[tuple[CellDone | CellFailed, Callable[[str], None]]]:
        """What is done over cells while nobody else is at them, and how to let go of one that is done.

        Ends with cells left over when no more may be begun.
        """
        try:
            yield from self._over(cell_ids)
        except dg.DagsterExecutionInterruptedError:
            if not self._deadline.has_struck:
                raise
            self._is_struck = True

    def _over(self, cell_ids: Sequence[str]) -> Iterator[tuple[CellDone | CellFailed, Callable[[str], None]]]:
        context, deadline, left = self._context, self._deadline, list(cell_ids)
        leases, key, what = leases_of(context), context.asset_key.to_user_string(), f"run {context.run.run_id[:8]}"
        while left and not deadline.is_near:
            try:
                taken = leases.some(key, left, what=what, patience_s=deadline.beginning_s, say=context.log.info)
                with taken as lease:
                    mine = InTime([cell_id for cell_id in left if cell_id in lease.units], deadline)
                    try:
                        for outcome in self._work(mine):
                            self._has_kept_some |= isinstance(outcome, CellDone)
                            yield outcome, lease.let_go
                    finally:
                        self._has_kept_some |= mine.is_kept
            except StillHeldError as error:
                context.log.warning(str(error))
                return
            left = [cell_id for cell_id in left if cell_id not in lease.units]

    @property
    def is_stopped(self) -> bool:
        """Whether cells are left over for want of time."""
        return self._is_struck or self._deadline.is_near

    def stopped(self, keys: Collection[str], left: Collection[str], failed: Mapping[str, str]) -> dg.Failure:
        """The failure that says so, after the rest was handed on where that leads any further."""
        rest = "handed on to another run" if self._has_kept_some and hand_on(self._context) else "left to the next run"
        how = f"ended by {self._deadline}" if self._is_struck else f"stopped in time for {self._deadline}"
        text = f"{how}: {len(keys) - len(left) - len(failed)} of {len(keys)} cells done, {len(left)} {rest}"
        if not failed:
            return dg.Failure(text, metadata={"left_cells": len(left)})
        failure = _failure(failed, len(keys))
        return dg.Failure(f"{text}. {failure.description}", metadata={**failure.metadata, "left_cells": len(left)})


def _partition_order(context: dg.AssetExecutionContext) -> list[str]:
    """The framework hands out the keys of a range in arbitrary order."""
    if context.has_partition_key:
        return [context.partition_key]
    wanted = set(context.partition_keys)
    return [key for key in context.assets_def.partitions_def.get_partition_keys() if key in wanted]


def _one(context: dg.AssetExecutionContext, outcome: CellDone | CellFailed) -> Iterator[dg.MaterializeResult]:
    if isinstance(outcome, CellFailed):
        _observe(context, outcome)
        raise _failure({outcome.cell_id: outcome.error}, 1)
    yield dg.MaterializeResult(
        asset_key=context.asset_key, metadata=_metadata(outcome), data_version=dg.DataVersion(outcome.data_version)
    )


def _observe(context: dg.AssetExecutionContext, outcome: CellFailed) -> None:
    """Show what is known of a cell that was not done: no materialization, so nothing below is made from it."""
    if outcome.metadata:
        context.log_event(
            dg.AssetObservation(context.asset_key, partition=outcome.cell_id, metadata=dict(outcome.metadata))
        )


def _materialization(
    asset_key: dg.AssetKey, outcome: CellDone, made_from: Mapping[str, str]
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key,
        partition=outcome.cell_id,
        metadata=_metadata(outcome),
        tags={DATA_VERSION: outcome.data_version, **made_from},
    )


def _made_from(context: dg.AssetExecutionContext, cell_ids: Sequence[str]) -> Callable[[str], dict[str, str]]:
    """By which code a cell is made, and from which state of the cells above: what the UI says is out of step follows.

    The tags that Dagster puts on outputs. Looked up before anything is read, so that what changes meanwhile shows.
    """
    spec = context.assets_def.get_asset_spec(context.asset_key)
    if not cell_ids or spec.code_version is None or len(spec.deps) > _MOST_INPUTS:
        return lambda _: {}
    code = {"dagster/code_version": spec.code_version}
    made = dg.DagsterEventType.ASSET_MATERIALIZATION
    inputs = {
        dep.asset_key.to_user_string(): (
            context.instance.get_latest_storage_id_by_partition(dep.asset_key, made, set(cell_ids)),
            context.instance.event_log_storage.get_latest_tags_by_partition(
                dep.asset_key, made, [DATA_VERSION], cell_ids
            ),
        )
        for dep in spec.deps
    }

    def tags(cell_id: str) -> dict[str, str]:
        noted = dict(code)
        for key, (ids, versions) in inputs.items():
            noted[f"dagster/input_event_pointer/{key}"] = str(ids.get(cell_id, "NULL"))
            noted[f"dagster/input_data_version/{key}"] = versions.get(cell_id, {}).get(DATA_VERSION, "INITIAL")
        return noted

    return tags


def _metadata(outcome: CellDone) -> dict[str, Any]:
    return {"dagster/partition_row_count": outcome.rows, **outcome.metadata}


def _failure(failed: Mapping[str, str], cells: int) -> dg.Failure:
    shown = dict(list(failed.items())[:_FAILURES_SHOWN])
    first = next(iter(failed.items()))
    return dg.Failure(
        f"{len(failed)} of {cells} cells failed, the others are kept. First: {first[0]}: {first[1]}",
        metadata={"failed_cells": len(failed), "failed": dg.MetadataValue.json(shown)},
    )


def failed_cells(failure: StepFailureData) -> tuple[int, dict[str, str]]:
    """How many cells a step failed in, and its first ones with their errors; nothing of any other failure."""
    shown = failure.user_failure_data.metadata if failure.user_failure_data else {}
    if "failed_cells" not in shown:
        return 0, {}
    return int(shown["failed_cells"].value), dict(shown["failed"].value)  # type: ignore[arg-type]


def root_cause(error: SerializableErrorInfo | None) -> str:
    """The first line of what was raised, without what Dagster wraps around it."""
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    if error is None:
        return "unknown error"
    return error.message.strip().partition("\n")[0].removeprefix("geopin_assets.errors.")


def _finished_by_family(context: dg.AssetExecutionContext) -> set[str]:
    """Cells that this run, or a run it retries, has already materialized for this asset."""
    done: set[str] = set()
    run: dg.DagsterRun | None = context.run
    while run is not None:
        done |= _materialized_in(context, run.run_id)
        run = context.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return done


def _materialized_in(context: dg.AssetExecutionContext, run_id: str) -> set[str]:
    cells: set[str] = set()
    cursor: str | None = None
    while True:
        page = context.instance.get_records_for_run(
            run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000
        )
        cells |= {r.partition_key for r in page.records if r.asset_key == context.asset_key and r.partition_key}
        if not page.has_more:
            return cells
        cursor = page.cursor
