"""Runs that are under way, and those that only seem so: a run whose process is gone is closed by whoever looks.

Dagster sees the end of a process that it started itself, as long as it watches it. A `geopin run` that was killed, or
a run whose host went down, stayed started for ever. So every run says in a tag which process it is in, and each
process holds a lease for as long as it lives. Not here: what a run does, or what is held while it does it
(`leases.py`).
"""

import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import dagster as dg

from geopin_assets.files.lease import LEASES, Leases
from geopin_assets.files.lock import locked

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


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, whose tables are made by one process at a time: Dagster's own birth is not safe.

    Runs whose process is gone are closed.
    """
    home = Path(os.environ["DAGSTER_HOME"])
    with locked(home / ".geopin" / "instance.lock"):
        instance = dg.DagsterInstance.get()
        _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    with instance:
        living_runs(instance)
        yield instance


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
    return {PROCESS_TAG: f"{run_id} {socket.gethostname()} {_token(instance.root_directory, os.getpid())}"}


def tell_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Let a run say which process it is in, unless it does."""
    tag = process_tag(instance, run.run_id)
    if not tag.items() <= run.tags.items():
        instance.add_run_tags(run.run_id, tag)


def leases_in(home: str) -> Leases:
    """What is held of an instance, rather than of the data."""
    return Leases(Path(home) / ".geopin" / LEASES)


def _gone(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> list[dg.DagsterRun]:
    told = [(run, *run.tags[PROCESS_TAG].split(" ")) for run in runs if run.tags.get(PROCESS_TAG, "").count(" ") == 2]
    here = [(run, token) for run, run_id, host, token in told if (run_id, host) == (run.run_id, socket.gethostname())]
    if not here:
        return []
    alive = {unit for holder in leases_in(instance.root_directory).holders(_THING) for unit in holder.units or ()}
    suspects = [run.run_id for run, token in here if token not in alive]
    fresh = instance.get_runs(dg.RunsFilter(run_ids=suspects)) if suspects else []  # it may just have ended well
    still = {run.run_id for run in fresh if run.status in _IN_A_PROCESS}
    return [run for run, _ in here if run.run_id in still]


@cache
def _token(home: str, pid: int) -> str:
    """What this process holds as long as it lives."""
    token = f"{pid}-{secrets.token_hex(4)}"
    leases_in(home).take_for_life(_THING, token)
    return token
