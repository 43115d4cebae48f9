"""Everything of Dagster that has no public name and that we rely on. No other module imports `dagster._…`.

Here: the imports, and the few look-ups in the event log and in a running evaluation that go through internals. Not
here: any decision. Dagster is pinned to its minor version; `test_dagster_internals.py` fails on an upgrade that
changes one of these, and says which.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

import dagster as dg

# a set of an asset's partitions, as conditions pass it around
from dagster._core.asset_graph_view.entity_subset import EntitySubset

# which partitions of which assets a backfill is of
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset

# what FreshnessPolicy.time_window returns: its public base class does not show the windows
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

# what the UI files when a person launches a backfill; a run has no other way to
from dagster._core.execution.backfill import PartitionBackfill

# what an instance is rebuilt from in another process
from dagster._core.instance.ref import InstanceRef

# where an instance keeps its history unless told otherwise
from dagster._core.storage.event_log import SqliteEventLogStorage

# eight letters, as every id of a backfill
from dagster._core.utils import make_new_backfill_id

# how an instance remembers what a storage was configured with
from dagster._serdes import ConfigurableClassData

__all__ = [
    "CellLog",
    "ConfigurableClassData",
    "EntitySubset",
    "InstanceRef",
    "SqliteEventLogStorage",
    "TimeWindowFreshnessPolicy",
    "all_keys",
    "asset_freshness",
    "freshness_policy",
    "partitioned_parents",
    "request_backfill",
    "subset_of",
]

Kind = Literal[dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED]
MADE: Kind = dg.DagsterEventType.ASSET_MATERIALIZATION
PLANNED: Kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
"""A cell is planned when its run is created, before anything is read, and made when it is stored."""


_FEW_CELLS = 2_000
"""So many are looked up one by one, 0.01 s for 200; above, reading all 20,000 takes 0.1 s and less than that."""
_PROBES = 150
"""Times looked up together: one costs 4 ms, these cost 6, and the second time finds one of 20,000."""


@dataclass(frozen=True)
class CellLog:
    """The newest event of one kind for every cell of an asset, by storage id.

    Ids grow with time and over all assets: what is newer has the larger id. Reading 20,000 cells with a quarter of
    history is one query over a covering index.
    """

    instance: dg.DagsterInstance
    key: dg.AssetKey
    kind: Kind
    cells: Collection[str] | None = None
    """Only of these; None for all."""
    after_id: int | None = None
    """What is not newer than this event is left out."""

    @cached_property
    def newest(self) -> Mapping[str, int]:
        """cell_id -> storage id; cells without such an event are not in it, others than asked for may be."""
        few = set(self.cells) if self.cells is not None and len(self.cells) <= _FEW_CELLS else None
        return self.instance.get_latest_storage_id_by_partition(self.key, self.kind, few, self.after_id)

    def before(self, when: datetime) -> set[str]:
        """The cells whose newest event is no newer than a moment."""
        last_id = self.last_id_before(when)
        return {cell for cell, id_ in self.newest.items() if id_ <= last_id} if last_id else set()

    def last_id_before(self, when: datetime) -> int:
        """The last of these events that is no newer than a moment; 0 if all are. Time has no index, ids have."""
        first, end = 0, len(self._ids)  # what comes before `first` is older, `end` and later is not
        while first < end:
            step = (end - first - 1) // _PROBES + 1
            ids = self._ids[first:end:step]
            older = self._count_older(ids, when)
            first, end = (first + (older - 1) * step + 1, min(first + older * step, end)) if older else (first, first)
        return self._ids[first - 1] if first else 0

    def _count_older(self, ids: Sequence[int], when: datetime) -> int:
        records = self.instance.get_asset_event_summary_records(self.kind, storage_ids=ids)
        return sum(record.timestamp <= when.timestamp() for record in records)

    @cached_property
    def _ids(self) -> list[int]:
        return sorted(self.newest.values())


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


def request_backfill(
    instance: dg.DagsterInstance,
    asset: dg.AssetsDefinition,
    cell_ids: Sequence[str],
    *,
    title: str,
    tags: Mapping[str, str],
) -> str:
    """File a backfill of one asset in the instance's queue, as the UI does; its id. The daemon starts its runs."""
    if asset.partitions_def is None:
        raise TypeError(f"{asset.key} is not made cell by cell")
    cells = asset.partitions_def.subset_with_partition_keys(cell_ids)
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        asset_graph_subset=AssetGraphSubset({asset.key: cells}),  # type: ignore[call-arg] # its decorator hides defaults
        backfill_timestamp=time.time(),
        tags=tags,
        dynamic_partitions_store=instance,
        title=title,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return str(backfill.backfill_id)
