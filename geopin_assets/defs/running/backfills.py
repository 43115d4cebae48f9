"""Backfills in the queue of an instance: launch one, do again what it left, how far it is, what failed.

For whoever runs beside the instance, as jobs and commands do; the daemon starts the runs, within its pools and limits.
Here too: what backfills are called, and where they and runs are in the UI. Not here: which cells, what a person sees of
it (`cli/backfill.py`), or an instance elsewhere (`cli/webserver.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from geopin_assets.defs.dagster_internals import (
    BACKFILL_ID_TAG,
    family_tags,
    file_backfill,
    target_of,
)
from geopin_assets.defs.declare import asset_key, cells
from geopin_assets.defs.running.materialize import failed_cells, root_cause
from geopin_assets.errors import PermanentError

if TYPE_CHECKING:
    from geopin_assets.defs.dagster_internals import AssetBackfillData, PartitionBackfill

REGION_TAG = "geopin/region"


@dataclass(frozen=True, slots=True)
class BackfillState:
    """How far a backfill is: cells targeted, done and failed. The daemon counts every half minute."""

    title: str
    status: str
    cells: int
    done: int
    failed: int
    error: str

    @property
    def is_over(self) -> bool:
        return self.status not in ("REQUESTED", "CANCELING", "FAILING")

    @property
    def left(self) -> int:
        return self.cells - self.done - self.failed


class InstanceBackfills:
    """Those of an instance that this process can open. Raises PermanentError when there is no such backfill."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def launch(self, key: str, cell_ids: Sequence[str], *, title: str, tags: dict[str, str]) -> str:
        """Start a backfill of one asset; its id."""
        target = target_of(asset_key(key), cells, cell_ids)
        return file_backfill(self._instance, target, title=title, tags=tags)

    def retry(self, backfill_id: str) -> str:
        """Start a backfill of what another one, which has ended, did not finish; the id of the new one."""
        old = self._found(backfill_id)
        if not self.state(backfill_id).is_over:
            raise PermanentError(f"backfill {backfill_id} is still in progress")
        data = _data(old)
        left = data.target_subset - data.materialized_subset
        if not left.num_partitions_and_non_partitioned_assets:
            raise PermanentError(f"backfill {backfill_id} has left nothing to do")
        title = f"Re-execution of {old.title}" if old.title else None
        return file_backfill(self._instance, left, title=title, tags=family_tags(old))

    def state(self, backfill_id: str) -> BackfillState:
        """How far it is."""
        found = self._found(backfill_id)
        data = _data(found)
        failed = data.failed_and_downstream_subset - data.materialized_subset
        counts = (data.target_subset, data.materialized_subset, failed)
        cells, done, lost = (subset.num_partitions_and_non_partitioned_assets for subset in counts)
        error = found.error.message if found.error else ""
        return BackfillState(found.title or backfill_id, found.status.value, cells, done, lost, error)

    def failures(self, backfill_id: str) -> Iterator[tuple[str, str]]:
        """(cell or run, error) of the backfill's runs that failed; of a run with many, those it shows itself."""
        tags, failed = {BACKFILL_ID_TAG: backfill_id}, [dg.DagsterRunStatus.FAILURE]
        for run in self._instance.get_runs(dg.RunsFilter(tags=tags, statuses=failed)):
            yield from _failures(self._instance, run.run_id)

    def materialized(self, key: str) -> set[str]:
        """Cells of an asset whose latest attempt was not a failure, and is not under way."""
        found = self._instance.get_status_by_partition(asset_key(key), cells.get_partition_keys(), cells) or {}
        return {cell_id for cell_id, status in found.items() if status and status.value == "MATERIALIZED"}

    def has_daemon(self) -> bool:
        """Whether something is there that starts the runs of backfills."""
        return bool(self._instance.get_daemon_statuses(["BACKFILL"])["BACKFILL"].healthy)

    def _found(self, backfill_id: str) -> "PartitionBackfill":
        found = self._instance.get_backfill(backfill_id)
        if found is None:
            raise PermanentError(f"the instance knows no backfill {backfill_id}")
        return found


def _data(backfill: "PartitionBackfill") -> "AssetBackfillData":
    if backfill.asset_backfill_data is None:
        raise PermanentError(f"backfill {backfill.backfill_id} is one of a job, not of an asset")
    return backfill.asset_backfill_data


def _failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, str]]:
    """The failed cells of a run; where it ended without naming any, the run itself."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    named, ending = dict[str, str](), "ended early"
    for event in instance.all_logs(run_id, of_type=kinds):
        if event.dagster_event is None:
            continue
        if event.dagster_event.is_step_failure:
            failure = event.dagster_event.step_failure_data
            named |= failed_cells(failure)[1]
            ending = root_cause(failure.error)
        else:
            ending = event.dagster_event.message or ending
    yield from named.items() or [(f"run {run_id[:8]}", ending.strip().partition("\n")[0])]


def backfill_title(source: str, region: str) -> str:
    """For example `raw/panoramax: nh-amsterdam`.

    Short, because each re-execution puts "Re-execution of" before it and Dagster takes 100 characters.
    """
    title = f"raw/{source}: {region[:40]}"
    return "".join(character for character in title if character not in '%*"')


def backfill_tags(region: str) -> dict[str, str]:
    """What the runs of a backfill can be searched by."""
    return {REGION_TAG: region}


def run_link(ui_url: str, run_id: str) -> str:
    """The page of a run."""
    return f"{ui_url}/runs/{run_id}"


def backfill_link(ui_url: str, backfill_id: str) -> str:
    """The page of a backfill: its cells by state, its runs, and the button that re-executes it."""
    return f"{ui_url}/runs/b/{backfill_id}"
