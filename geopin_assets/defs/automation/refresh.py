"""How old a cell may get, and the condition that refreshes it in time.

Here: the policies, and how a source's cells are chosen for another crawl. Not here: what follows a crawl
(`automation.py`), or a first crawl: what was never crawled stays so until somebody launches a backfill.

Dagster judges a FreshnessPolicy by the newest materialization of the whole asset: one fresh cell makes 20,000 stale
ones pass. The condition here applies the same policy to every cell.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import dagster as dg

from geopin_assets.cells import cell_facts, stored_facts
from geopin_assets.defs.automation.cell_events import PLANNED, CellLog, cells_under_way, last_id_before
from geopin_assets.defs.dagster_internals import TimeWindowFreshnessPolicy, all_keys, freshness_policy, subset_of
from geopin_assets.defs.graph import RAW_CELLS
from geopin_assets.errors import ConfigurationError, GeoPinError

if TYPE_CHECKING:
    from geopin_assets.store.raw import RawStore

WEEKLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=7), fail_window=timedelta(days=9))
EMPTY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=28), fail_window=timedelta(days=35))
"""Of cells without Dutch land, where a source's last crawl found nothing: the sea, and abroad. Half of all cells."""
EMPTY_SAID = "28 days (at most 35) without Dutch land where the last crawl found nothing"
WEEKLY_SAID = f"7 days (at most 9) per cell; {EMPTY_SAID}"

BLOCK_CELLS = 25
"""Crawled together: a run takes one contiguous range, and 25 scattered cells would be 25 runs of 4 s of starting."""
MOST_CELLS = 4_000
"""Asked for and not done, at most: 16 runs. 28 ticks a week would reach five times what there is."""
RETRY_AFTER = timedelta(hours=23)
"""One try a day for a cell that fails; an hour less, as ticks are never exactly six hours apart."""


class Urgency(IntEnum):
    """What the policy says of a cell that is not fresh."""

    DUE = 1
    """Past the warning: goes with its block."""
    PRESSING = 2
    """Half-way to failing: goes now, even if the rest of its block is fresh."""
    OVERDUE = 3


@dataclass(frozen=True)
class Crawls:
    """What is known of a source's cells, from what is stored of them: Dagster's log may be trimmed or lost."""

    good_at: Mapping[str, datetime]
    """cell_id -> its last good crawl; the beginning of time where it is known only that there was one."""
    empty: Collection[str] = frozenset()
    """Without Dutch land, and nothing was found when they were last asked for."""
    failed_at: Mapping[str, datetime] = field(default_factory=dict)
    """cell_id -> its last try, where that failed."""

    def before(self, when: datetime) -> set[str]:
        """The cells whose last good crawl is no newer."""
        return {cell_id for cell_id, at in self.good_at.items() if at <= when}


UNKNOWN_WHEN = datetime.min.replace(tzinfo=UTC)


def stored_crawls(raw: "RawStore", source: str) -> Crawls:
    """As the raw files and the notes of failures beside them say. Reads the ends of files that changed."""
    notes = {note["cell_id"]: note for note in raw.failures(source).iter_rows(named=True)}
    good_at: dict[str, datetime] = dict.fromkeys(raw.lost(source), UNKNOWN_WHEN)
    empty = set[str]()
    for _, cell_id, crawled_at, captures, is_complete, _ in raw.crawls(source).iter_rows():
        noted = notes[cell_id]["good_at"] if is_complete is False and cell_id in notes else crawled_at or UNKNOWN_WHEN
        if noted:  # else it was never crawled well, and waits for a person
            good_at[cell_id] = noted
        if is_complete and not captures and not _is_land(cell_id):
            empty.add(cell_id)
    failed_at = {cell_id: note["last_failed_at"] or UNKNOWN_WHEN for cell_id, note in notes.items()}
    return Crawls(good_at, empty, failed_at)


def _is_land(cell_id: str) -> bool:
    """Of a cell of which something is stored; a file that is no cell's is asked for by nobody."""
    try:
        return stored_facts(cell_id).is_land
    except ConfigurationError:
        return True


def urgencies(
    log: Crawls, empty: Collection[str], policy: TimeWindowFreshnessPolicy, now: datetime
) -> dict[str, Urgency]:
    """The cells that are no longer fresh, by the asset's policy, and those of `empty` by the slower one."""
    by_policy = _judged(log, policy, now)
    due = {cell: urgency for cell, urgency in by_policy.items() if cell not in empty}
    if len(due) == len(by_policy):
        return due
    return due | {cell: urgency for cell, urgency in _judged(log, EMPTY, now).items() if cell in empty}


def _judged(log: Crawls, policy: TimeWindowFreshnessPolicy, now: datetime) -> dict[str, Urgency]:
    fail = policy.fail_window.to_timedelta()
    warn = policy.warn_window.to_timedelta() if policy.warn_window else fail
    ages = {Urgency.DUE: warn, Urgency.PRESSING: (warn + fail) / 2, Urgency.OVERDUE: fail}
    found: dict[str, Urgency] = {}
    for urgency, age in ages.items():
        older = log.before(now - age)
        if not older:
            break
        found |= dict.fromkeys(older, urgency)
    return found


@dataclass(frozen=True)
class Block:
    """Neighboring cells that may be crawled now, and how badly they need it."""

    number: int
    cells: Sequence[str]
    urgency: Urgency
    people: int
    """Inhabitants of the stretch it belongs to."""

    def rank(self) -> tuple[bool, int, int]:
        """Overdue ones first, then where people live, then the order of cells, in which land precedes the sea."""
        return self.urgency is not Urgency.OVERDUE, -self.people, self.number


def due_blocks(
    keys: Sequence[str],
    due: Mapping[str, Urgency],
    made: Collection[str],
    busy: Collection[str],
    empty: Collection[str],
) -> list[Block]:
    """The blocks to crawl, most urgent first: half of one must be due, unless a cell of it is pressing.

    `keys`: all cells in their order; `made`: those ever crawled; `busy`: those not to be asked for now. Empty cells
    that are not due are no part of a block: a ferry's photo would have the whole sea around it crawled each week.
    """
    members: defaultdict[int, list[str]] = defaultdict(list)
    for number, cell_id in enumerate(keys):
        if cell_id in due or (cell_id in made and cell_id not in empty):
            members[number // BLOCK_CELLS].append(cell_id)
    people = _people(tuple(keys))
    blocks = []
    for number, cells in members.items():
        waiting = [due[cell_id] for cell_id in cells if cell_id in due and cell_id not in busy]
        if waiting and (max(waiting) > Urgency.DUE or 2 * len(waiting) >= len(cells)):
            free = [cell_id for cell_id in cells if cell_id not in busy]
            blocks.append(Block(number, free, max(waiting), people[number * BLOCK_CELLS // RAW_CELLS]))
    return sorted(blocks, key=Block.rank)


@lru_cache(maxsize=1)
def _people(keys: tuple[str, ...]) -> list[int]:
    """Inhabitants of each stretch: the cells that a run takes, whose blocks are asked for together to become one."""
    lived = [cell_facts(cell_id).population for cell_id in keys]
    return [sum(lived[first : first + RAW_CELLS]) for first in range(0, len(keys), RAW_CELLS)]


def first_blocks(blocks: Sequence[Block], room: int) -> list[str]:
    """The cells of as many blocks as there is room for."""
    taken: list[str] = []
    for block in blocks:
        if len(taken) + len(block.cells) > room:
            break
        taken += block.cells
    return taken


class PastFreshness(dg.AutomationCondition[dg.AssetKey]):
    """The cells whose next crawl is due by the asset's own policy.

    `crawls` tells what is stored of the source, `disabled_reason` why it cannot be crawled now. A look that cannot
    read what is stored asks for nothing.
    """

    def __init__(
        self,
        *,
        crawls: Callable[[], Crawls],
        disabled_reason: Callable[[], str | None] = lambda: None,
        most_cells: int = MOST_CELLS,
    ) -> None:
        self._crawls, self._disabled_reason, self._most_cells = crawls, disabled_reason, most_cells

    @property
    def name(self) -> str:
        return "past_freshness_policy"

    @property
    def description(self) -> str:
        return (
            f"Last crawled longer ago than the freshness policy allows: {WEEKLY_SAID}. Whole blocks of {BLOCK_CELLS}, "
            f"overdue first, then where people live; at most {self._most_cells} under way, one try a day. Nothing "
            "while the source is switched off; never a cell that was not crawled before"
        )

    @property
    def requires_cursor(self) -> bool:
        return False

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """Dagster calls this each tick."""
        reason = self._disabled_reason()
        if reason:
            context.log.info(f"{context.key.to_user_string()} is switched off, nothing is asked for: {reason}")
            return dg.AutomationResult(context, context.get_empty_subset())
        try:
            crawls, keys = self._crawls(), all_keys(context)
        except GeoPinError as error:
            context.log.warning(f"what is stored cannot be read, nothing is asked for: {error}")
            return dg.AutomationResult(context, context.get_empty_subset())
        crawls = replace(crawls, good_at={key: crawls.good_at[key] for key in keys if key in crawls.good_at})
        due = urgencies(crawls, crawls.empty, freshness_policy(context), context.asset_graph_view.effective_dt)
        if not due:
            return dg.AutomationResult(context, context.get_empty_subset())
        busy = self._busy(context, crawls)
        outstanding = len(due.keys() & busy)
        room = self._most_cells - outstanding
        taken = first_blocks(due_blocks(keys, due, crawls.good_at.keys(), busy, crawls.empty), room)
        context.log.info(f"{len(due)} cells due, {outstanding} under way or tried today, {len(taken)} asked for")
        return dg.AutomationResult(context, subset_of(context, taken))

    def _busy(self, context: dg.AutomationContext, crawls: Crawls) -> set[str]:
        """The cells that had their try of the day, or wait for it: a run may be queued for longer than a day."""
        instance, now = context.asset_graph_view.instance, context.asset_graph_view.effective_dt
        since = now - RETRY_AFTER
        planned = CellLog(instance, context.key, PLANNED, after_id=last_id_before(instance, PLANNED, since, now))
        failed = {cell_id for cell_id, at in crawls.failed_at.items() if at > since}
        under_way = cells_under_way(instance, all_keys(context))
        return set(planned.newest) | failed | under_way[context.key]
