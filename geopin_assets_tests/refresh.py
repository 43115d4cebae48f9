"""Weeks of automatic refresh of some sources, on a clock of our own: what is asked for is crawled two hours later."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from geopin_assets.cells import cell_ids
from geopin_assets.defs.automation.refresh import WEEKLY, Crawls, PastFreshness
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.materialize import CellDone, materialize_cells
from geopin_assets.regions import ranges
from geopin_assets_tests.simulated import SimulatedLog

CELLS_PER_RUN = 250
TICK = timedelta(hours=6)
CRAWL = timedelta(hours=2)
WARN = timedelta(days=7)


def raw_asset(name: str, condition: dg.AutomationCondition) -> dg.AssetsDefinition:
    """A raw asset that crawls nothing."""

    @cell_asset(["raw", name], cells_per_run=CELLS_PER_RUN, freshness_policy=WEEKLY, automation_condition=condition)
    def raw(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_cells(context, lambda cells: (CellDone(cell, 1, "same") for cell in cells))

    return raw


@dataclass
class Tick:
    """What one look at one source did."""

    source: str
    when: datetime
    cpu_s: float
    asked: tuple[str, ...]
    """In the order of cells."""
    oldest_days: float = 0.0
    """The age of the cell that was crawled longest ago, before anything was crawled."""
    wall_s: float = 0.0
    """By the clock, in which a database server works, too."""
    early: int = 0
    """How many of these were crawled less than a week ago: they came along with their block."""

    @property
    def ranges(self) -> int:
        return len(ranges(self.asked))

    @property
    def runs(self) -> int:
        return len(ranges(self.asked, CELLS_PER_RUN))


@dataclass
class Refresh:
    """Sources with their cells, and what was done to them."""

    log: SimulatedLog
    now: datetime
    sources: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the condition, for every source."""
    empty: Collection[str] = frozenset()
    """Cells that have the slower policy."""
    failed_at: Mapping[str, datetime] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    crawled_at: dict[str, dict[str, datetime]] = field(default_factory=dict)
    """source -> cell -> its last good crawl."""

    def __post_init__(self) -> None:
        self.assets = {name: raw_asset(name, self._condition(name)) for name in self.sources}
        self.defs = dg.Definitions(assets=list(self.assets.values()))
        self._cursors: dict[str, Any] = {}

    def _condition(self, source: str) -> PastFreshness:
        return PastFreshness(crawls=lambda: self._stored(source), **self.options)

    def _stored(self, source: str) -> Crawls:
        return Crawls(self.crawled_at.get(source, {}), self.empty, self.failed_at)

    def backfill(self, source: str, cells: Collection[str]) -> None:
        """What a person does: crawl cells now, for the first time or again."""
        self.log.run(self.assets[source].key, cells, self.now)
        self.crawled_at.setdefault(source, {}).update(dict.fromkeys(cells, self.now))

    def tick(self, source: str) -> Tick:
        """Look once at one source, and crawl what is asked for."""
        key, started_s, began_s = self.assets[source].key, time.process_time(), time.perf_counter()
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.log.instance,
            asset_selection=dg.AssetSelection.assets(key),
            evaluation_time=self.now,
            cursor=self._cursors.get(source),
        )
        cpu_s, wall_s = time.process_time() - started_s, time.perf_counter() - began_s
        wanted = result.get_requested_partitions(key)
        self._cursors[source] = result.cursor
        asked = tuple(cell for cell in cell_ids() if cell in wanted)
        oldest_days = self.oldest_days(source)
        early = sum(self.now - self.crawled_at[source][cell] < WARN for cell in asked)
        self._crawl(source, asked)
        return Tick(source, self.now, cpu_s, asked, oldest_days, wall_s, early)

    def _crawl(self, source: str, cells: Sequence[str]) -> None:
        self.log.plan(self.assets[source].key, cells, self.now + timedelta(minutes=1))
        if source not in self.failing:
            self.log.make(self.assets[source].key, cells, self.now + CRAWL)
            self.crawled_at[source].update(dict.fromkeys(cells, self.now + CRAWL))

    def pass_days(self, days: float, every: timedelta = TICK) -> list[Tick]:
        """Look at every source, as often as its sensor does unless said otherwise."""
        ticks = []
        for _ in range(round(timedelta(days=days) / every)):
            self.now += every
            ticks += [self.tick(source) for source in self.crawled_at]
        return ticks

    def pass_unwatched_week(self, cells: Sequence[str]) -> None:
        """A week of which only the log is written: every cell of every source was crawled once, a seventh of them each
        day, by a run a day where there would be twelve."""
        for day in range(7):
            for source, crawled_at in self.crawled_at.items():
                some = cells[day * len(cells) // 7 : (day + 1) * len(cells) // 7]
                self.log.run(self.assets[source].key, some, self.now)
                crawled_at.update(dict.fromkeys(some, self.now))
            self.now += timedelta(days=1)

    def skip_days(self, days: float) -> None:
        """Nobody looks for some days."""
        self.now += timedelta(days=days)

    def oldest_days(self, source: str) -> float:
        """The age of the cell that was crawled longest ago."""
        return (self.now - min(self.crawled_at[source].values())) / timedelta(days=1)
