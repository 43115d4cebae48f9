"""Dagster's own history, which nobody purges: old runs go, with their events, prints and backfills.

What was made stays known: a run stays, however old, as long as the newest materialization of any cell or report is one
of its own, for what follows it is told by that (`automation/follow.py`) and the UI shows it. When a cell was crawled is
in its file, what was embedded and published in those and the ledger. So the log is as large as what there is and some
weeks of work, not as the years. Not here: when, and how old (`assets/maintenance.py`).
"""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from geopin_assets.defs.automation.cell_events import MADE, CellLog
from geopin_assets.defs.dagster_internals import delete_backfills

_OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_IDS_AT_ONCE = 1_000


def purge_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete the runs that were created before a moment and are of no use any more; how many."""
    needed = set(_runs_that_made(instance))
    old = instance.get_run_ids(dg.RunsFilter(statuses=_OVER, created_before=before))
    purged = [run_id for run_id in old if run_id not in needed]
    for run_id in purged:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return len(purged)


def purge_backfills(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete the backfills that were launched before a moment and are over; how many."""
    return delete_backfills(instance, before)


def _runs_that_made(instance: dg.DagsterInstance) -> Iterator[str]:
    """Those whose materialization of something is the newest."""
    for key in instance.get_asset_keys():
        ids = list(CellLog(instance, key, MADE).newest.values())
        for first in range(0, len(ids), _IDS_AT_ONCE):
            some = ids[first : first + _IDS_AT_ONCE]
            records = instance.get_asset_event_summary_records(MADE, storage_ids=some)
            yield from (record.run_id for record in records if record.run_id)
        if (last := instance.get_latest_materialization_event(key)) is not None:
            yield last.run_id
