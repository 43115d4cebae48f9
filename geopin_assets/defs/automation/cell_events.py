"""The cells that runs are over now. Not here: what was made, or failed (the event log, `dagster_internals.py`).

Dagster's `run_in_progress` finds them by the status of all cells, which it brings up to date from the whole event log:
0.2 s for an asset that had changes, 0.8 s at first. Unfinished runs are few, and say in their tags what they are over.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import dagster as dg

from geopin_assets.defs.running.materialize import RANGE_END, RANGE_START

_PARTITION = "dagster/partition"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def cells_under_way(instance: dg.DagsterInstance, keys: Sequence[str]) -> Mapping[dg.AssetKey, set[str]]:
    """Of every asset, the cells that unfinished runs are over. `keys`: all cells in their order."""
    place = {key: number for number, key in enumerate(keys)}
    found: defaultdict[dg.AssetKey, set[str]] = defaultdict(set)
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        first = run.tags.get(RANGE_START, run.tags.get(_PARTITION, ""))
        last = run.tags.get(RANGE_END, first)
        if first in place and last in place:
            for asset in run.asset_selection or ():
                found[asset].update(keys[place[first] : place[last] + 1])
    return found
