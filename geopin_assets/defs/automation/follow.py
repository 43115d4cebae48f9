"""The condition by which a cell follows the cells it is made from.

Here: which cells of an asset are to be made again, and which of these now. Not here: what each asset follows
(`automation.py`), or when sources are crawled (`freshness.py`).

Dagster's `since_last_handled` forgets a change that arrives while the cell is being made, and what changed before
its first look. This asks the event log instead: a cell is behind if one above it was made after the last run that
made this cell began to read. And as a tree of Dagster's conditions it would store every waiting cell twenty times:
11 MB at each look while 20,000 are embedded. This stores those it asks for, and ranges.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from itertools import pairwise

import dagster as dg

from geopin_assets.defs.automation.cell_events import MADE, PLANNED, CellLog, Kind, cells_under_way
from geopin_assets.defs.dagster_internals import all_keys, partitioned_parents, subset_of
from geopin_assets.regions import ranges

PATIENCE = timedelta(hours=6)
"""How long a change waits for the rest of what is on its way: a slow or stuck source holds back nobody for longer."""
RETRY_AFTER = timedelta(hours=23)
"""A cell below the sources that failed is tried once a day: looks are never exactly a day apart."""
MOST_CELLS = 2_000
"""Asked for at one look; the next one is minutes away."""
GAP_CELLS = 50
"""Unchanged cells that are done along, between two others. Starting a run costs 4 s, such a cell 0.03 s."""

AC = dg.AutomationCondition


class Follow(dg.AutomationCondition[dg.AssetKey]):
    """The cells whose content above has changed since they were made, and those that `also` names.

    `also_said` tells people what those are. Nothing is asked for while `unless` is true; what waits is remembered.
    """

    def __init__(
        self, *, also: Callable[[], Collection[str]] = frozenset, also_said: str = "", unless: AC | None = None
    ) -> None:
        self._also, self._also_said = also, also_said
        changed = AC.any_deps_match(AC.data_version_changed()).with_label("content_above_changed")
        self._children = [changed, AC.backfill_in_progress(), *([unless] if unless else [])]

    @property
    def name(self) -> str:
        return "follow"

    @property
    def description(self) -> str:
        stop = f" Not while {self._children[2].get_label()}." if len(self._children) > 2 else ""
        return (
            f"The content of a cell above changed after this one was made{self._also_said}. Waits for what else is "
            f"under way above, {PATIENCE.total_seconds() / 3600:g} hours at most; a cell that failed waits a day. "
            f"At most {MOST_CELLS:,} at once, with up to {GAP_CELLS} unchanged cells between two of them.{stop}"
        )

    @property
    def children(self) -> Sequence[dg.AutomationCondition]:
        return self._children

    async def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:  # type: ignore[override]
        """Dagster calls this each tick; the cells that are behind are kept in the sensor's cursor."""
        keys, everything = all_keys(context), context.asset_graph_view.get_full_subset(key=context.key)
        changed = await context.for_child_condition(self._children[0], [0], everything).evaluate_async()
        known = remembered(context.cursor, keys) | changed.true_subset.expensively_compute_partition_keys()
        behind = behind_cells(context, known)
        ready = await self._ready(context, behind)
        asked = _with_gaps(context, keys, [key for key in keys if key in ready][:MOST_CELLS])
        context.log.info(
            f"{len(behind)} cells are behind, {len(ready)} ready, {len(asked)} asked for with those between"
        )
        return dg.AutomationResult(context, subset_of(context, asked), cursor=memory(behind), child_results=[changed])

    async def _ready(self, context: dg.AutomationContext, behind: set[str]) -> set[str]:
        """The cells that may be made now."""
        wanted = behind | set(self._also())
        wanted -= failed_cells(context, wanted)
        wanted -= await self._true(1, context, wanted)  # a backfill that has not made its runs yet
        under_way = cells_under_way(context.asset_graph_view.instance, all_keys(context))
        wanted -= under_way[context.key]
        waiting = wanted.intersection(set().union(*(under_way[key] for key in partitioned_parents(context))))
        ready = wanted - (waiting - behind_cells(context, waiting, PATIENCE))
        return ready - (await self._true(2, context, ready) if len(self._children) > 2 else set())

    async def _true(self, child: int, context: dg.AutomationContext, cells: Collection[str]) -> set[str]:
        """The cells for which a condition of Dagster's is true."""
        of_child = context.for_child_condition(self._children[child], [child], subset_of(context, cells))
        return set((await of_child.evaluate_async()).true_subset.expensively_compute_partition_keys())


def behind_cells(context: dg.AutomationContext, cells: Collection[str], at_least: timedelta | None = None) -> set[str]:
    """The cells above which one was made after the last run that made them began, `at_least` so long ago."""
    if not cells:
        return set()
    made, planned = _log(context, MADE, cells).newest, _log(context, PLANNED, cells).newest
    began = {cell: _began(made.get(cell, 0), planned.get(cell, 0)) for cell in cells}
    behind, now = set[str](), context.asset_graph_view.effective_dt
    for parent in partitioned_parents(context):
        log = _log(context, MADE, cells, parent)
        newer = {cell for cell in cells if log.newest.get(cell, 0) > began[cell]}
        behind |= newer & log.before(now - at_least, now) if newer and at_least else newer
    return behind


def _began(made: int, planned: int) -> int:
    """When the last run that made a cell was created; 0 if there was none, or another has failed since."""
    return (planned or made) if planned <= made else 0


def failed_cells(context: dg.AutomationContext, cells: Collection[str]) -> set[str]:
    """The cells whose last run began within the last day and did not make them."""
    if not cells:
        return set()
    made, planned = _log(context, MADE, cells).newest, _log(context, PLANNED, cells)
    failed = {cell for cell in cells if planned.newest.get(cell, 0) > made.get(cell, 0)}
    now = context.asset_graph_view.effective_dt
    return failed - planned.before(now - RETRY_AFTER, now) if failed else failed


def _with_gaps(context: dg.AutomationContext, keys: Sequence[str], cells: Collection[str]) -> set[str]:
    """The cells, and short gaps between them in which all were made by their last run: few runs instead of many."""
    wanted = set(cells)
    short = gaps(keys, wanted)
    between = {cell for gap in short for cell in gap}
    if not between:
        return wanted
    made, planned = _log(context, MADE, between).newest, _log(context, PLANNED, between).newest
    sound = {cell for cell in between if cell in made and made[cell] >= planned.get(cell, 0)}
    return wanted.union(*(gap for gap in short if sound.issuperset(gap)))


def gaps(keys: Sequence[str], wanted: Collection[str]) -> list[Sequence[str]]:
    """The cells between each two of `wanted`, where they are few."""
    places = [place for place, cell in enumerate(keys) if cell in wanted]
    between = (keys[last + 1 : after] for last, after in pairwise(places))
    return [gap for gap in between if len(gap) <= GAP_CELLS]


def memory(cells: Collection[str]) -> str:
    """Cells as text, short where they are neighbors."""
    return json.dumps([[block[0], block[-1]] for block in ranges(cells)])


def remembered(text: str | None, keys: Sequence[str]) -> set[str]:
    """The cells of `memory`; without one, all: what was before the first look counts as changed."""
    if text is None:
        return set(keys)
    place = {key: number for number, key in enumerate(keys)}
    return {cell for first, last in json.loads(text) for cell in keys[place[first] : place[last] + 1]}


def _log(context: dg.AutomationContext, kind: Kind, cells: Collection[str], key: dg.AssetKey | None = None) -> CellLog:
    return CellLog(context.asset_graph_view.instance, key or context.key, kind, cells)
