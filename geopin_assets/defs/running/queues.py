"""Which queue each run waits in, where runs go to other machines: Celery's, ECS's or Kubernetes' do the rest.

Here: what `deploy/` names in a dagster.yaml. Not here: which asset belongs to which queue (`graph.py`), or whether a
machine that took a run still lives (`celery_runs.py`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

# what an instance hands runs to that are to wait
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

# how an instance remembers what it was configured with
from dagster._serdes import ConfigurableClassData

from geopin_assets.defs.graph import queue_of

QUEUE_TAG = "dagster-celery/queue"
"""The one that Dagster's Celery launcher reads; limits in a dagster.yaml count by it, whichever engine it names."""


class QueueByAsset(QueuedRunCoordinator):
    """Puts every run, whichever door it came in by, into the queue of its asset.

    `tags`: queue -> what its runs are tagged with besides, e.g. `dagster-k8s/config` for those that need a GPU. A tag
    that a run already has stays as it is.
    """

    def __init__(
        self,
        tags: Mapping[str, Mapping[str, str]] | None = None,
        inst_data: ConfigurableClassData | None = None,
        **queued: Any,
    ) -> None:
        super().__init__(inst_data=inst_data, **queued)
        self._tags = tags or {}

    @classmethod
    def config_type(cls) -> Any:
        return {**super().config_type(), "tags": dg.Field(dg.Map(str, dg.Map(str, str)), is_required=False)}  # type: ignore[dict-item]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Any:
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        queue = queue_of(key.to_user_string() for key in run.asset_selection or ())
        tags = {QUEUE_TAG: queue, **self._tags.get(queue, {})}
        self._instance.add_run_tags(run.run_id, {name: tags[name] for name in tags.keys() - run.tags.keys()})
        return super().submit_run(context)
