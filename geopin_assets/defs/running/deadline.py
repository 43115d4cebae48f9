"""The end of a run's time: a step near it begins no more cells, then leaves those it began, and hands on the rest.

`run_monitoring.max_runtime_seconds` in dagster.yaml (or the tag `dagster/max_runtime` of a run) ends what hangs. It
used to end what works, too: killed with the cells under way. Time counts from when the run started, not from when it
was queued. Handing on is the retry that crashed runs get, which does only what its run family has not finished. Not
here: which cells (`materialize.py`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import overload

import dagster as dg

MAX_RUNTIME_TAG, _OTHER_NAME = "dagster/max_runtime", "dagster/max_runtime_seconds"
"""Dagster takes either."""
NO_LIMIT = {MAX_RUNTIME_TAG: "0"}
"""Of runs in a command's own process, which nobody but the person who typed it may end."""
_RETRY_TAG, _RETRIES_TAG = "dagster/retry_on_asset_or_op_failure", "dagster/max_retries"
_FINISHING, _LEAVING = 1 / 6, 1 / 12
"""The parts of the time, at its end, in which no cell is begun, and in which no cell is gone on with: of two hours, ten
minutes for the cells under way, and ten for what an answer, an image or a store takes."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a run started (a Unix time), and how long it may take; infinite without a limit."""

    started_at: float = 0.0
    limit_s: float = inf

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> "Deadline":
        instance, limit_s = context.instance, _limit_s(context)
        record = instance.get_run_record_by_id(context.run.run_id) if limit_s else None
        if record is None or not record.start_time:
            return cls()
        return cls(record.start_time, limit_s)

    @property
    def beginning_s(self) -> float:
        """How long cells may still be begun."""
        return self._left_s(1 - _FINISHING)

    @property
    def working_s(self) -> float:
        """How long cells under way may be gone on with."""
        return self._left_s(1 - _LEAVING)

    @property
    def is_near(self) -> bool:
        return self.beginning_s <= 0

    @property
    def is_over(self) -> bool:
        """Whether nothing may be gone on with."""
        return self.working_s <= 0

    @property
    def has_struck(self) -> bool:
        """Whether Dagster ends the run now."""
        return self._left_s(1) <= 0

    def _left_s(self, part: float) -> float:
        return self.started_at + part * self.limit_s - time.time()

    def __str__(self) -> str:
        return f"the limit of {self.limit_s:,.0f} s a run (run_monitoring.max_runtime_seconds in dagster.yaml)"


def _limit_s(context: dg.AssetExecutionContext) -> float:
    """0 without a limit, as where Dagster makes nothing of a tag that somebody wrote."""
    instance, tags = context.instance, context.run.tags
    if told := tags.get(MAX_RUNTIME_TAG, tags.get(_OTHER_NAME)):
        with suppress(ValueError):
            return float(told)
        return 0.0
    return float((instance.run_monitoring_enabled and instance.run_monitoring_max_runtime_seconds) or 0)


class InTime(Sequence[str]):
    """Cells as whoever works on them sees them: going through them ends when the time is nearly up.

    `is_kept`: something is stored of cells that are not finished, with which the next run goes on.
    """

    def __init__(self, cell_ids: Sequence[str], deadline: Deadline) -> None:
        self._cell_ids, self.deadline, self.is_kept = cell_ids, deadline, False

    def __iter__(self) -> Iterator[str]:
        for cell_id in self._cell_ids:
            if self.deadline.is_near:
                return
            yield cell_id

    def __len__(self) -> int:
        return len(self._cell_ids)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._cell_ids[index]


def hand_on(context: dg.AssetExecutionContext) -> bool:
    """Have this run repeated when it has failed, which does what is left; whether anybody will."""
    instance, run = context.instance, context.run
    if not instance.run_retries_enabled or run.remote_job_origin is None:
        return False
    family = instance.get_run_group(run.run_id)
    repeated = len(list(family[1])) if family else 1
    retries = str(repeated + instance.run_retries_max_retries)  # crashes of the next ones are repeated as ever
    instance.add_run_tags(run.run_id, {_RETRY_TAG: "true", _RETRIES_TAG: retries})
    return True


def take_over(context: dg.AssetExecutionContext) -> None:
    """Of a run that was handed on: what fails in this one is not repeated because of that."""
    if context.run.tags.get(_RETRY_TAG) == "true" and context.run.parent_run_id:
        context.instance.add_run_tags(context.run.run_id, {_RETRY_TAG: "false"})
