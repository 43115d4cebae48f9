"""Weeks of crawling sources that lie, against what is true: nothing is lost, nothing that is gone stays, all add up.

Each week every source of every cell may vanish, halve, double, move captures to the neighbor, change licenses or
images, bring back what was gone, fail, or change its list while it is read. Images are missing or late, embedding dies
on its way, captures are taken down, Cloudflare refuses. What is crawled is stored, merged, embedded and published as
the platform does it. The truth is kept beside.
"""

import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from time import process_time

import numpy as np
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.errors import GeoPinError
from geopin_assets.sources.crawl import CellCrawl
from geopin_assets_tests.cloudflare import CloudflareFault
from geopin_assets_tests.depth import SEED, examples
from geopin_assets_tests.faults.verdict import REPORT, note
from geopin_assets_tests.faults.weeks import Platform, Published, platform_in
from geopin_assets_tests.faults.world import (
    CHANGES,
    CLOSED,
    DEEDS,
    NAMES,
    Faint,
    Killed,
    Lying,
    Shown,
    Web,
    World,
    is_missing,
)
from geopin_assets_tests.platform import CELLS

WEEKS, HOSTED_ONE_OF = examples(2, 3), 4
BUDGET_S = 600.0 if REPORT in os.environ else math.inf
"""Of CPU, in `make test-faults`: each time the stories are others, by the seed, and `make test-long` has them all."""
_spent_s = 0.0
WEEK_S = timedelta(days=7).total_seconds()
Outcomes = dict[tuple[str, str], CellCrawl | GeoPinError]


class Story:
    """One installation in one world."""

    def __init__(self, world: World, platform: Platform, random: Random) -> None:
        self.world, self.platform, self.random = world, platform, random
        self.before: dict[str, Shown] = {}
        """Captures as they were shown when they were last seen to be published, if they were shown so ever since."""
        self.taken_down: set[str] = set()

    def live_through(self, week: int, *, is_last: bool) -> Counter[str]:
        """A week; what went wrong that must not."""
        self.change()
        outcomes = self.crawl(is_honest=is_last)
        self.platform.merge()
        dies_after = None if is_last or self.random.random() < 0.7 else self.random.randint(0, 6)
        with suppress(Killed):
            self.platform.embed(Web(None if is_last else week), Faint(dies_after))
        is_published = self.publish(is_refused=not is_last and self.random.random() < 0.5)
        found = self.platform.published() if is_published else None
        wrong = wrong_in(found, self.before, self.world, outcomes, self.taken_down) if found else Counter[str]()
        self.remember(found)
        self.platform.clock.sleep(WEEK_S)
        return wrong

    def change(self) -> None:
        for name in NAMES:
            for cell_id in CELLS:
                self.world.change(name, cell_id, self.random.choice(CHANGES))
        if self.before and self.random.random() < 0.5:
            some = self.random.sample(sorted(self.before), 1)
            self.platform.take_down(some)
            self.taken_down |= {*some}
        if self.taken_down and self.random.random() < 0.2:
            some = self.random.sample(sorted(self.taken_down), 1)
            self.platform.undo(some)
            self.taken_down -= {*some}

    def crawl(self, *, is_honest: bool) -> Outcomes:
        outcomes: Outcomes = {}
        for name in NAMES:
            for cell_id in CELLS:
                source = Lying(name, self.world, "honest" if is_honest else self.random.choice(DEEDS))
                outcomes[name, cell_id] = outcome = self.platform.crawl(source, cell_id)
                if isinstance(outcome, CellCrawl):
                    report = outcome.report
                    taken_down = sum(found.capture_id in self.taken_down for found in outcome.captures)
                    kept = len(outcome.captures) - taken_down
                    assert source.yielded == kept + sum(report.rejected.values()) + report.duplicates
        return outcomes

    def publish(self, *, is_refused: bool) -> bool:
        """Whether it was possible; Cloudflare may be out of order for a few calls."""
        emulator = self.platform.emulator
        if emulator and is_refused:
            emulator.faults.append(a_fault(self.random))
        try:
            self.platform.publish()
            return True
        except GeoPinError:
            assert emulator and is_refused
            return False
        finally:
            if emulator:
                emulator.clear_faults()

    def remember(self, found: Published | None) -> None:
        now = self.world.admitted()
        if found:
            self.before = {id_: now[id_] for id_ in found.rows["capture_id"] if id_ in now}
        else:
            self.before = {id_: one for id_, one in self.before.items() if id_ in now and now[id_] == one}


def a_fault(random: Random) -> CloudflareFault:
    return CloudflareFault(
        kind=random.choice(["status", "unsuccessful", "reset", "hang", "truncated"]),
        status=random.choice([429, 500, 503]),
        committed=random.random() < 0.5,
        service=random.choice([None, "vectorize", "d1"]),
        access=random.choice([None, "read", "write"]),
        after=random.randrange(20),
        times=random.choice([1, 2, 8]),
    )


def wrong_in(
    found: Published, before: Mapping[str, Shown], world: World, outcomes: Outcomes, taken_down: Collection[str]
) -> Counter[str]:
    """What no fault may cause."""
    wrong: Counter[str] = Counter()
    held, now = set(found.rows["capture_id"]), world.admitted()
    stayed = {id_ for id_, one in now.items() if id_ in before and before[id_].cell_id == one.cell_id}
    wrong["captures_lost"] = len(stayed - held - {*taken_down})
    for row in found.rows.iter_rows(named=True):
        outcome = outcomes[row["source"], row["cell_id"]]
        is_judged = isinstance(outcome, CellCrawl) and outcome.report.is_complete
        is_found = isinstance(outcome, CellCrawl) and row["capture_id"] in {one.capture_id for one in outcome.captures}
        wrong["removed_served"] += is_judged and not is_found
        wrong["unclean_ends"] += not row["attribution"] or not row["license"] or row["license"] == CLOSED
    owners = dict(found.views.select("vector_id", "capture_id").iter_rows())
    wrong["unclean_ends"] += len(owners.keys() ^ found.vectors.keys())
    wrong["taken_down_served"] = len({*taken_down} & (held | {*owners.values()}))
    wrong["removed_served"] += len({*owners.values()} - held)
    return +wrong


@pytest.fixture
def within_budget() -> Iterator[None]:
    global _spent_s
    if _spent_s > BUDGET_S:
        pytest.skip(f"{BUDGET_S:g} s of CPU are spent: the table says on how many stories")
    began_s = process_time()
    yield
    _spent_s += process_time() - began_s


@pytest.mark.parametrize("number", range(examples(3, 1000)))
def test_weeks_of_lying_sources(number: int, tmp_path: Path, within_budget: None) -> None:
    random = Random(SEED * 10_000 + number)
    world = World.first(random)
    with platform_in(tmp_path, is_hosted=number % HOSTED_ONE_OF == 0) as platform:
        story = Story(world, platform, random)
        for week in range(WEEKS):
            is_last = week == WEEKS - 1
            wrong = story.live_through(week, is_last=is_last)
            note("weeks of lying sources", attempts=1, seeds=int(is_last), **wrong)
            assert not wrong, (week, wrong)
        found = platform.published()
        held = set(platform.storage.vectors(platform.model).cell(CELLS[0]).read()["capture_id"])
    truth = {id_: one for id_, one in world.admitted().items() if id_ not in story.taken_down}
    credits = dict(found.rows.select("capture_id", "attribution").iter_rows())
    assert credits == {id_: one.credit for id_, one in truth.items()}, "what is true, less what may not be"
    expected = {
        vector_id(id_, view): values
        for id_, one in truth.items()
        if not is_missing(one.image)
        for view, values in enumerate(Faint().of_image(one.image))
    }
    assert found.vectors.keys() == expected.keys()
    assert all(np.array_equal(found.vectors[id_], values) for id_, values in expected.items())
    assert not held & story.taken_down
