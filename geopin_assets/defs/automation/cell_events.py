"""What the instance knows of cells: the newest event of a kind for each, and which of them runs are over now.

Dagster's own conditions find both by the status of all cells, which it brings up to date from the whole event log: 0.2
s for an asset that had changes, 0.8 s at first. Not here: what follows from it (`refresh.py`, `follow.py`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

import dagster as dg

from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.running.under_way import living_runs

Kind = Literal[dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED]
MADE: Kind = dg.DagsterEventType.ASSET_MATERIALIZATION
PLANNED: Kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
"""A cell is planned when its run is created, before anything is read, and made when it is stored."""


_PARTITION = "dagster/partition"
_FEW_CELLS = 2_000
"""So many are looked up one by one, 0.01 s for 200; above, reading all 20,000 takes 0.1 s and less than that."""
_READ_AT_ONCE = 1_000
"""Ids: of so many the events are read together, which takes up to 7 ms of CPU, as 25 questions do in SQLite, and spares
ten, each of which waits for a server where there is one."""
_AHEAD = timedelta(hours=1)
"""What is noted while somebody looks may be later than the moment of the look by so much."""


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

    def before(self, when: datetime, now: datetime) -> set[str]:
        """The cells whose newest event is no newer than a moment, as `last_id_before` finds it."""
        last_id = last_id_before(self.instance, self.kind, when, now)
        return {cell for cell, id_ in self.newest.items() if id_ <= last_id} if last_id else set()


def last_id_before(instance: dg.DagsterInstance, kind: Kind, when: datetime, now: datetime) -> int:
    """The last event of a kind, of any asset, that is no newer than a moment; 0 if there is none.

    One that says a time after `now` is of a clock that was wrong: it counts as old, or its cell would wait until that
    time comes. Time has no index, ids have, and grow with it. A log goes back months, what is asked for is of the
    last day: so it is looked for from the end, four times as far at each step, and then by halves.
    """

    def older(after: int, *, before: int | None = None, limit: int | None = None) -> list[int]:
        """Of the events between two those that are no newer than the moment."""
        events = instance.get_asset_event_summary_records(
            kind, after_storage_id=after, before_storage_id=before, limit=limit, ascending=True
        )
        return [event.storage_id for event in events if not when_s < event.timestamp <= ahead_s]

    when_s, ahead_s = when.timestamp(), (now + _AHEAD).timestamp()
    first, end, step = 0, instance.event_log_storage.get_maximum_record_id() or 0, _READ_AT_ONCE
    while end - first > _READ_AT_ONCE:  # what comes before `first` is older, what comes after `end` is not
        middle, step = max((first + end) // 2, end - step), step * 4
        found = older(middle, limit=1)
        first, end = (found[0], end) if found else (first, middle)
    return max(older(first, before=end + 1), default=first)


def cells_under_way(instance: dg.DagsterInstance, keys: Sequence[str]) -> Mapping[dg.AssetKey, set[str]]:
    """Of every asset, the cells that unfinished runs are over: those are few, and say so in their tags.

    `keys`: all cells in their order.
    """
    place = {key: number for number, key in enumerate(keys)}
    found: defaultdict[dg.AssetKey, set[str]] = defaultdict(set)
    for run in living_runs(instance):
        first = run.tags.get(RANGE_START, run.tags.get(_PARTITION, ""))
        last = run.tags.get(RANGE_END, first)
        if first in place and last in place:
            for asset in run.asset_selection or ():
                found[asset].update(keys[place[first] : place[last] + 1])
    return found
