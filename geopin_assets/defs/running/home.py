"""Opening the instance of DAGSTER_HOME, for whoever types a command and for `geopin ui`.

Here: its birth, once, and that runs whose process is gone are closed first (`under_way.py`). Not here: what runs in it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from geopin_assets.defs.dagster_internals import InstanceRef
from geopin_assets.defs.running.under_way import living_runs
from geopin_assets.files.lock import locked

_NO_CAPTURE: Any = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


@contextmanager
def open_instance(*, is_served: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, whose tables are made by one process at a time: Dagster's own birth is not safe.

    Runs whose process is gone are closed. What steps print goes where this process prints: to keep it in files Dagster
    starts four processes a step. `is_served`: to whoever looks at what they printed.
    """
    home = Path(os.environ["DAGSTER_HOME"])
    with locked(home / ".geopin" / "instance.lock"):
        instance = dg.DagsterInstance.from_ref(
            InstanceRef.from_dir(str(home), overrides={} if is_served else _NO_CAPTURE)
        )
        _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    with instance:
        living_runs(instance)
        yield instance
