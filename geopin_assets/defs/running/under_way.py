"""Runs that are under way, and those that only seem so: a run whose process is gone is closed by whoever looks.

Dagster sees the end of a process that it started itself, as long as it watches it. A `geopin run` that was killed, or
a run whose host went down, stayed started for ever. So every run says in a tag which process it is in, and each
process holds a lease for as long as it lives.

Here too: the lease that every asset takes, whichever door its run came in by, a schedule, a backfill, a command or a
takedown: as a whole for a report or maintenance, cell by cell in `materialize.py`. Dagster's pools do not do this:
what runs in a command's own process takes none. Not here: what a lease is (`files/lease.py`), those of stores of the
index (`index/ledger.py`), or what a run does.
"""

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from functools import cache, wraps
from hashlib import blake2b
from typing import Any, TypeVar

import dagster as dg

from geopin_assets.files.lease import Leases, leases_in
from geopin_assets.platform.parts import Parts

T = TypeVar("T")

PROCESS_TAG = "geopin/process"
UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
BEGUN = UNFINISHED[1:]
_IN_A_PROCESS = UNFINISHED[2:]
_THING = "processes with runs"
_GONE = "the process of this run is gone: killed, or its host went down. What it finished is kept"


def living_runs(
    instance: dg.DagsterInstance, statuses: Sequence[dg.DagsterRunStatus] = UNFINISHED
) -> list[dg.DagsterRun]:
    """Runs that are not over. Those whose process is gone are closed first: repeated where Dagster started them."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(statuses)))
    gone = _gone(instance, [run for run in runs if run.status in _IN_A_PROCESS])
    for run in gone:
        if run.remote_job_origin is None:
            instance.report_run_canceled(run, _GONE)
        else:
            instance.report_run_failed(run, _GONE)
    return [run for run in runs if run not in gone]


def process_tag(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """The tag of a run in this process. It names the run too: whoever repeats a run copies its tags."""
    home = instance.root_directory
    return {PROCESS_TAG: _tag_start(run_id, home) + _token(home, os.getpid())}


def tell_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Let a run say which process it is in, unless it does."""
    tag = process_tag(instance, run.run_id)
    if not tag.items() <= run.tags.items():
        instance.add_run_tags(run.run_id, tag)


def leases_of(context: dg.AssetExecutionContext) -> Leases:
    """Those of the data that a step works on; of the instance where it has none."""
    resources = (getattr(context.resources, name, None) for name in ("storage", "search_index"))
    parts = next((part for part in resources if isinstance(part, Parts)), None)
    return parts.leases() if parts else leases_in(context.instance.root_directory)


def alone(make: Callable[..., T]) -> Callable[..., T]:
    """The same function for an asset that is made as a whole, by one process at a time."""

    @wraps(make)
    def made(*arguments: Any, **resources: Any) -> T:
        context = dg.AssetExecutionContext.get()
        tell_process(context.instance, context.run)
        key, what = context.asset_key.to_user_string(), f"run {context.run.run_id[:8]}"
        with leases_of(context).held(key, what=what, say=context.log.info):
            return make(*arguments, **resources)

    return made


def _gone(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Those of this machine and home whose process, by their tag, does not live."""
    home = instance.root_directory
    tokens = {run.run_id: run.tags.get(PROCESS_TAG, "").removeprefix(_tag_start(run.run_id, home)) for run in runs}
    here = {run_id: token for run_id, token in tokens.items() if token and " " not in token}
    if not here:
        return []
    alive = {unit for holder in leases_in(home).holders(_THING) for unit in holder.units or ()}
    suspects = [run_id for run_id, token in here.items() if token not in alive]
    fresh = instance.get_runs(dg.RunsFilter(run_ids=suspects)) if suspects else []  # it may just have ended well
    still = {run.run_id for run in fresh if run.status in _IN_A_PROCESS}
    return [run for run in runs if run.run_id in still]


def _tag_start(run_id: str, home: str) -> str:
    """Of runs in processes that leave their leases in this home. No space but the one that ends it."""
    place = blake2b(home.encode(), digest_size=4).hexdigest()
    return f"{run_id} {socket.gethostname()}:{place} "


@cache
def _token(home: str, pid: int) -> str:
    """What this process holds as long as it lives."""
    token = f"{pid}-{secrets.token_hex(4)}"
    leases_in(home).take_for_life(_THING, token)
    return token
