"""Weeks of crawling sources that lie, against what is true: nothing is lost, nothing that is gone stays, all add up.

Each week every source of every cell may vanish, halve, double, move captures to the neighbor, change licenses, bring
back what was gone, fail, or change its list while it is read. What is crawled is stored, merged and published, as the
platform does it; images are left out. The truth is kept beside.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from geopin_assets.capture import Capture, Rejected
from geopin_assets.cells import cell
from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.defs.resources import SearchIndex, Storage
from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.index.publish import publish_each
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.index_state import desired_rows
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.crawl import CellCrawl, crawl_cell
from geopin_assets.sources.paging import fetch_settled, next_page, page_size
from geopin_assets_tests.depth import SEED, examples
from geopin_assets_tests.factories import capture
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.platform import CELLS

NAMES = ("panoramax", "flickr")
WEEKS, PER_PAGE, MOST = 3, 7, 40
OPEN, CLOSED = ("CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0"), "CC-BY-NC-4.0"
EVERYTHING = 10**9


@dataclass(frozen=True, slots=True)
class Shown:
    """A capture as its source shows it."""

    id: str
    cell_id: str
    lon: float
    lat: float
    license: str


@dataclass
class World:
    """What every source shows, and how it changes and lies."""

    random: Random
    shown: dict[str, dict[str, Shown]] = field(default_factory=lambda: {name: {} for name in NAMES})
    gone: dict[str, list[Shown]] = field(default_factory=lambda: {name: [] for name in NAMES})
    made: int = 0

    def in_cell(self, name: str, cell_id: str) -> dict[str, Shown]:
        return {id_: one for id_, one in self.shown[name].items() if one.cell_id == cell_id}

    def add(self, name: str, cell_id: str, count: int) -> None:
        for _ in range(count):
            self.made += 1
            where = self.place(cell_id)
            self.put(name, Shown(f"{self.made:05d}", cell_id, *where, self.random.choice((*OPEN, CLOSED))))

    def put(self, name: str, one: Shown) -> None:
        self.shown[name][one.id] = one

    def place(self, cell_id: str) -> tuple[float, float]:
        box = cell(cell_id).bbox
        return self.random.uniform(box.west, box.east - 1e-6), self.random.uniform(box.south, box.north - 1e-6)

    def withdraw(self, name: str, ids: list[str]) -> None:
        self.gone[name] += [self.shown[name].pop(id_) for id_ in ids]

    def change(self, name: str, cell_id: str, how: str) -> None:
        here = sorted(self.in_cell(name, cell_id))
        some = self.random.sample(here, len(here) // 3)
        match how:
            case "vanish":
                self.withdraw(name, here)
            case "halve":
                self.withdraw(name, self.random.sample(here, len(here) // 2))
            case "double":
                self.add(name, cell_id, max(1, min(len(here), MOST)))
            case "move":
                there = next(other for other in CELLS if other != cell_id)
                for id_ in some:
                    lon, lat = self.place(there)
                    self.put(name, replace(self.shown[name][id_], cell_id=there, lon=lon, lat=lat))
            case "license":
                for id_ in some:
                    self.put(name, replace(self.shown[name][id_], license=self.random.choice((*OPEN, CLOSED))))
            case "come back":
                back, self.gone[name] = self.gone[name], []
                for one in back:
                    self.put(name, one)


LIES = ("nothing", "vanish", "halve", "double", "move", "license", "come back")
DEEDS = ("honest", "honest", "fails", "ends early", "shifts", "repeats")


class Lying(Source):
    """One source of a world, in pages by offset, the kind that shifts."""

    def __init__(self, name: str, world: World, deed: str) -> None:
        self.name, self._world, self._deed = name, world, deed  # type: ignore[misc]
        self.yielded = 0

    @classmethod
    def from_settings(cls, settings: Any, client: Any) -> "Lying":
        raise NotImplementedError

    def captures(self, where: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        records = fetch_settled(where.bbox, partial(self._fetch, where), report, id_of=lambda one: one.id)
        if self._deed == "ends early":
            report.miss(where.bbox, "the server stopped there")
            records = records[: len(records) // 2]
        for one in records * (2 if self._deed == "repeats" else 1):
            self.yielded += 1
            yield capture(
                one.id, source=self.name, lon=one.lon, lat=one.lat, license=one.license, attribution=credit(one)
            )

    def _fetch(self, where: Cell, box: Bbox, report: CrawlReport) -> list[Shown]:
        found: dict[str, Shown] = {}
        offset, size = 0, page_size(PER_PAGE, report)
        while True:
            if self._deed == "fails" and offset:
                raise TransientError("503")
            here = [one for _, one in sorted(self._world.in_cell(self.name, where.cell_id).items())]
            if offset:
                with next_page(report):
                    page = here[offset : offset + size]
            else:
                page = here[:size]
            report.requests += 1
            found |= {one.id: one for one in page}
            offset += size
            if offset >= len(here):
                return list(found.values())
            if self._deed == "shifts" and self._world.random.random() < 0.5:
                self._world.withdraw(self.name, [here[0].id])
                self._world.add(self.name, where.cell_id, self._world.random.randint(0, 1))


def credit(one: Shown) -> str:
    return f"by {one.id}, {one.license}"


@dataclass
class Platform:
    """What the platform does with it."""

    storage: Storage
    index: SearchIndex

    @classmethod
    def at(cls, folder: Path) -> "Platform":
        overrides = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(folder)}
        return cls(Storage(overrides=overrides), SearchIndex(overrides=overrides))

    def crawl(self, source: Lying, cell_id: str) -> CellCrawl | GeoPinError:
        raw = self.storage.raw()
        held = raw.ids_of(source.name, cell_id)
        try:
            outcome: CellCrawl | GeoPinError = crawl_cell(source, cell(cell_id), known=lambda _: held)
        except GeoPinError as error:
            outcome = error
        list(store_cell(raw, source.name, cell_id, outcome))
        return outcome

    def publish(self) -> pl.DataFrame:
        """Merge and publish; the rows there are then."""
        storage, index = self.storage, self.index
        storage.catalog().merge(CELLS, storage.raw())
        stores = index.metadata().parts
        evidence = Evidence(storage, stores, max_removals=EVERYTHING)
        evidence.check()
        parts = [(RowTarget(store, TABLES["captures"]), desired_rows(storage, CELLS)) for store in stores]
        publish_each(parts, CELLS, index.ledger(), now=datetime.now(UTC), evidence=evidence)
        return stores[0].query("SELECT * FROM captures ORDER BY capture_id")


def admitted(world: World) -> dict[str, Shown]:
    """What should be published of what is shown."""
    return {f"{name}:{one.id}": one for name in NAMES for one in world.shown[name].values() if one.license in OPEN}


def check(rows: pl.DataFrame, before: Mapping[str, Shown], world: World, outcomes: Mapping[Any, Any]) -> Counter[str]:
    """What is wrong: captures lost that were always there, captures served that a complete crawl did not find."""
    wrong: Counter[str] = Counter()
    held, now = set(rows["capture_id"]), admitted(world)
    for id_, one in now.items():
        was = before.get(id_)
        if was and was.cell_id == one.cell_id and id_ not in held:
            wrong["captures_lost"] += 1
    for row in rows.iter_rows(named=True):
        id_ = row["capture_id"]
        outcome = outcomes.get((row["source"], row["cell_id"]))
        is_judged = isinstance(outcome, CellCrawl) and outcome.report.is_complete
        if is_judged and id_ not in {found.capture_id for found in outcome.captures}:
            wrong["removed_served"] += 1
        if not row["attribution"] or not row["license"] or row["license"] == CLOSED:
            wrong["unclean_ends"] += 1
    return wrong


@pytest.mark.parametrize("number", range(examples(25, 1000)))
def test_weeks_of_lying_sources(number: int, tmp_path: Path) -> None:
    world = World(Random(SEED * 10_000 + number))
    platform = Platform.at(tmp_path)
    for name in NAMES:
        for cell_id in CELLS:
            world.add(name, cell_id, world.random.randint(0, MOST))
    before: dict[str, Shown] = {}
    for week in range(WEEKS):
        is_last = week == WEEKS - 1
        outcomes = {}
        for name in NAMES:
            for cell_id in CELLS:
                world.change(name, cell_id, world.random.choice(LIES))
        for name in NAMES:
            for cell_id in CELLS:
                source = Lying(name, world, "honest" if is_last else world.random.choice(DEEDS))
                outcome = platform.crawl(source, cell_id)
                outcomes[name, cell_id] = outcome
                if isinstance(outcome, CellCrawl):
                    report = outcome.report
                    kept = len(outcome.captures)
                    assert source.yielded == kept + sum(report.rejected.values()) + report.duplicates
        rows = platform.publish()
        wrong = check(rows, before, world, outcomes)
        note("weeks of lying sources", attempts=1, seeds=int(is_last), **wrong)
        assert not wrong, (week, wrong)
        published = set(rows["capture_id"])
        before = {id_: one for id_, one in admitted(world).items() if id_ in published}
    truth = admitted(world)
    assert set(rows["capture_id"]) == set(truth), "published is what is true, less what may not be"
    assert {row["capture_id"]: row["attribution"] for row in rows.iter_rows(named=True)} == {
        id_: credit(one) for id_, one in truth.items()
    }
