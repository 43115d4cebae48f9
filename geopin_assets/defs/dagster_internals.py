"""Everything of Dagster that has no public name and that we rely on. Nobody else imports `dagster._…`.

Here: the imports, and the few look-ups in a running evaluation that go through internals. Not here: any decision, or
what instances load and definitions do not, which imports its base classes itself (`event_log.py`,
`postgres_history.py`, `running/queues.py`, `running/celery_runs.py`).
Dagster is pinned to its minor version; `test_dagster_internals.py` fails on an upgrade that changes one of these, and
says which.
"""

import asyncio
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

# a set of an asset's partitions, as conditions pass it around
from dagster._core.asset_graph_view.entity_subset import EntitySubset

# which partitions of which assets a backfill is of
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset

# what FreshnessPolicy.time_window returns: its public base class does not show the windows
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

# why a step failed
from dagster._core.events import StepFailureData

# what an instance is rebuilt from in another process
from dagster._core.instance.ref import InstanceRef

# tags by which runs say what they are over, the UI finds those of a backfill, and what was done again of which
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as RANGE_END
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as RANGE_START
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_BACKFILL_ID_TAG, ROOT_BACKFILL_ID_TAG

# eight letters, as every id of a backfill
from dagster._core.utils import make_new_backfill_id

# what was raised, and from what
from dagster._utils.error import SerializableErrorInfo

from geopin_assets.files.atomic import write_text

if TYPE_CHECKING:  # what takes a tenth of the time that loading the definitions may take
    # how far a backfill is
    from dagster._core.execution.asset_backfill import AssetBackfillData

    # what the UI files when a person launches a backfill; a run has no other way to
    from dagster._core.execution.backfill import PartitionBackfill

__all__ = [
    "BACKFILL_ID_TAG",
    "RANGE_END",
    "RANGE_START",
    "AssetBackfillData",
    "EntitySubset",
    "FrozenPartitions",
    "InstanceRef",
    "PartitionBackfill",
    "SerializableErrorInfo",
    "StepFailureData",
    "TimeWindowFreshnessPolicy",
    "all_keys",
    "asset_freshness",
    "delete_backfills",
    "family_tags",
    "file_backfill",
    "freshness_policy",
    "partitioned_parents",
    "subset_of",
    "target_of",
    "webserver",
]
_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW, _POLL_MS = 15_000, 3_600, 20, 2_000
"""As Dagster's own command sets them."""


class FrozenPartitions(dg.StaticPartitionsDefinition):
    """Thousands of keys of a frozen file. Its own class checks, prints and hashes all of them for each asset: 0.1 s."""

    def __init__(self, partition_keys: tuple[str, ...]) -> None:
        self._partition_keys = partition_keys

    def __str__(self) -> str:
        return f"{len(self._partition_keys)} partitions"

    def __hash__(self) -> int:
        return hash(self._partition_keys)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def all_keys(context: dg.AutomationContext) -> Sequence[str]:
    """The partition keys of the asset under evaluation, in their order."""
    return _partitions_def(context).get_partition_keys()


def subset_of(context: dg.AutomationContext, keys: Collection[str]) -> EntitySubset:
    """These partitions of the asset under evaluation."""
    partitions_def = _partitions_def(context)
    return context.asset_graph_view.get_subset_from_partition_keys(context.key, partitions_def, set(keys))


def _partitions_def(context: dg.AutomationContext) -> dg.PartitionsDefinition:
    if context.partitions_def is None:
        raise TypeError(f"{context.key} is not made cell by cell")
    return context.partitions_def


def freshness_policy(context: dg.AutomationContext) -> TimeWindowFreshnessPolicy:
    """The policy of the asset under evaluation. Raises TypeError for an asset without a time window."""
    policy = context.asset_graph.get(context.key).freshness_policy
    if not isinstance(policy, TimeWindowFreshnessPolicy):
        raise TypeError(f"{context.key.to_user_string()} needs FreshnessPolicy.time_window, not {policy}")
    return policy


def asset_freshness(instance: dg.DagsterInstance, defs: dg.Definitions, key: dg.AssetKey) -> str:
    """What Dagster says of an asset, by its policy and the newest materialization of any cell: PASS, WARN, FAIL, …

    How Dagster itself judges, and what it reads the instance through: imported here, as that takes 0.4 s.
    """
    from dagster._core.definitions.freshness_evaluator import FRESHNESS_EVALUATORS_BY_POLICY_TYPE
    from dagster._core.loader import LoadingContextForTest

    node = defs.resolve_asset_graph().get(key)
    evaluator = FRESHNESS_EVALUATORS_BY_POLICY_TYPE[TimeWindowFreshnessPolicy]()
    return asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node)).value


def partitioned_parents(context: dg.AutomationContext) -> list[dg.AssetKey]:
    """The assets that the one under evaluation is made from, cell by cell."""
    graph = context.asset_graph
    return sorted(key for key in graph.get(context.key).parent_keys if graph.get(key).is_partitioned)


def target_of(key: dg.AssetKey, partitions_def: dg.PartitionsDefinition, cell_ids: Sequence[str]) -> AssetGraphSubset:
    """These partitions of an asset, as backfills name them."""
    cells = partitions_def.subset_with_partition_keys(cell_ids)
    return AssetGraphSubset({key: cells})  # type: ignore[call-arg] # its decorator hides defaults


def file_backfill(
    instance: dg.DagsterInstance, target: AssetGraphSubset, *, title: str | None, tags: Mapping[str, str]
) -> str:
    """File a backfill in the instance's queue, as the UI does; its id. The daemon starts its runs."""
    from dagster._core.execution.backfill import PartitionBackfill

    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        asset_graph_subset=target,
        backfill_timestamp=time.time(),
        tags=tags,
        dynamic_partitions_store=instance,
        title=title,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return str(backfill.backfill_id)


def delete_backfills(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete what is kept of backfills that are over and began before a moment; Dagster never does. How many."""
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
    from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable
    from sqlalchemy import select

    backfills = BulkActionsTable.c
    over = backfills.status.in_([status.value for status in BULK_ACTION_TERMINAL_STATUSES])
    old = over & (backfills.timestamp < before.astimezone(UTC).replace(tzinfo=None))
    with instance.run_storage.connect() as db:  # type: ignore[attr-defined] # of every storage in a database
        ids = db.execute(select(backfills.key).where(old)).scalars().all()
        db.execute(BackfillTagsTable.delete().where(BackfillTagsTable.c.backfill_id.in_(ids)))
        db.execute(BulkActionsTable.delete().where(backfills.key.in_(ids)))
    return len(ids)


def family_tags(backfill: "PartitionBackfill") -> dict[str, str]:
    """Tags of a backfill that does again what this one left: the UI shows them as one family."""
    root = backfill.tags.get(ROOT_BACKFILL_ID_TAG, backfill.backfill_id)
    return {**backfill.tags, PARENT_BACKFILL_ID_TAG: backfill.backfill_id, ROOT_BACKFILL_ID_TAG: root}


@contextmanager
def webserver(instance: dg.DagsterInstance, workspace: Path) -> Iterator[tuple[Any, Path]]:
    """Dagster's webserver as an ASGI application, and a workspace for its daemon: both use the same code servers.

    What `dagster dev` puts together: imported here, as it takes seconds.
    """
    from dagster._cli.proxy_server_manager import ProxyServerManager
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers()
    with ProxyServerManager(instance, WorkspaceFileTarget([str(workspace)])) as servers, TemporaryDirectory() as folder:
        specs = json.dumps({"load_from": servers.get_code_server_specs()})  # which is YAML, too
        found = write_text(Path(folder, "workspace.yaml"), specs)
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(found)]), version=__version__) as process:
            yield create_app_from_workspace_process_context(process, live_data_poll_rate=_POLL_MS), found
