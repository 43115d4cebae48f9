"""Random weeks at Cloudflare: crawls change what is desired, processes die at any call, the API fails in any way.

After the next clean run Vectorize, D1, the ledger and what is desired are the same, whatever happened before. Each
seed is a story of its own; all of them run over the emulator, by a clock that moves only when somebody sleeps.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.errors import GeoPinError
from geopin_assets.index.cloudflare import D1Store, VectorizeIndex
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import PublishReport, publish_each, publish_vectors
from geopin_assets.index.sync import sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, VectorTarget
from geopin_assets_tests.cloudflare import CloudflareEmulator, CloudflareFault, Lag
from geopin_assets_tests.depth import SEED, examples
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.frames import DIM, NOW, Clock, Faults, Killed, captures, vectors

SEEDS, SEEDS_AT_ONCE = examples(10, 640), examples(10, 20)
CELLS = ("a", "b", "c")
INDEX_CALLS = ("create", "upsert", "delete", "get", "info")
STORE_CALLS = ("migrate", "upsert", "delete", "query")
LEDGER_CALLS = ("claims", "claims_of", "begin", "commit", "release")
KINDS = ("status", "unsuccessful", "reset", "hang", "truncated", "lost", "stuck")


class World:
    """What the catalog holds: capture -> (cell, content). A takedown is for good."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.held, self.taken_down = dice, {}, set()  # type: ignore[var-annotated]
        for _ in range(4):
            self.add()

    def add(self) -> None:
        id_ = f"s:{self.dice.randrange(30):02d}"
        if id_ not in self.taken_down:
            self.held[id_] = (self.dice.choice(CELLS), self.dice.randrange(1, 100))

    def change(self) -> None:
        for id_ in self.some():
            self.held[id_] = (self.held[id_][0], self.dice.randrange(1, 100))

    def move(self) -> None:
        for id_ in self.some():
            self.held[id_] = (self.dice.choice(CELLS), self.held[id_][1])

    def remove(self) -> None:
        for id_ in self.some():
            del self.held[id_]

    def take_down(self) -> None:
        for id_ in self.some()[:1]:
            self.taken_down.add(id_)
            del self.held[id_]

    def some(self) -> list[str]:
        return self.dice.sample(sorted(self.held), k=min(len(self.held), self.dice.randrange(1, 4)))

    def rows(self, cells: Sequence[str]) -> pl.DataFrame:
        return pl.concat([captures([(i, s) for i, (c, s) in self.held.items() if c == cell], cell) for cell in cells])

    def vectors(self, cells: Sequence[str]) -> pl.DataFrame:
        return pl.concat(map(self.cell, cells))

    def cell(self, cell: str) -> pl.DataFrame:
        """Vectors; captures with an even number are panoramas, with two views."""
        return vectors(self._views(cell), cell)

    def views(self, cells: Sequence[str]) -> pl.DataFrame:
        desired = self.vectors(cells).select("vector_id", "cell_id")
        return desired.with_columns(
            capture_id=pl.col("vector_id").str.split("/").list.first(), view=pl.lit(0), heading_deg=pl.lit(90.0)
        )

    def _views(self, cell: str) -> list[tuple[str, int]]:
        here = [(id_, seed) for id_, (home, seed) in self.held.items() if home == cell]
        return [(vector_id(id_, view), seed + view) for id_, seed in here for view in range(2 - int(id_[2:]) % 2)]


class Place:
    """One installation that publishes to the emulator. A new process has new clients and the same ledger."""

    def __init__(self, folder: Path, clock: Clock, emulator: CloudflareEmulator, api: object) -> None:
        self.clock, self.emulator, self.api = clock, emulator, api
        self.ledger = Ledger(folder / "ledger.sqlite")

    def publish(self, world: World, cells: Sequence[str], faults: Faults) -> list[PublishReport]:
        index = VectorizeIndex(self.api, "geopin-test-v1", DIM, wait=self.wait())
        store = D1Store(self.api, "geopin", wait=self.wait())
        if faults.at >= 0:
            index, store = faults.wrap(index, INDEX_CALLS), faults.wrap(store, STORE_CALLS)
        ledger = faults.wrap(self.ledger, LEDGER_CALLS)
        rows = [
            (RowTarget(store, TABLES["captures"]), world.rows(cells)),
            (RowTarget(store, TABLES["vectors"]), world.views(cells)),
        ]
        return [
            publish_vectors(lambda: map(world.cell, cells), cells, index, ledger, now=NOW, wait=self.wait()),
            *publish_each(rows, cells, ledger, now=NOW),
        ]

    def wait(self) -> object:
        return wait_by(self.clock, timeout_s=120.0)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    clock = Clock()
    with emulated(folder, clock, lag=Lag(mutation_s=5.0, count_s=0.0), attempts=3) as (api, emulator):
        yield Place(folder, clock, emulator, api)


def a_fault(dice: random.Random) -> CloudflareFault:
    """Anything that can go wrong, for a few calls."""
    kind = dice.choice(KINDS)
    return CloudflareFault(
        kind=kind,
        status=dice.choice([429, 500, 503]),
        retry_after_s=dice.choice([None, 1, 90]),
        committed=kind in ("status", "unsuccessful", "reset", "hang") and dice.random() < 0.5,
        service="vectorize" if kind in ("lost", "stuck") else dice.choice([None, "vectorize", "d1"]),
        access="write" if kind in ("lost", "stuck") else dice.choice([None, "read", "write"]),
        after=dice.randrange(6),
        times=dice.choice([1, 2, 8]),
    )


def live_through(world: World, place: Place, dice: random.Random) -> None:
    """A few weeks: something changes, some cells are published, and something may go wrong meanwhile."""
    for _ in range(dice.randrange(2, 6)):
        for _ in range(dice.randrange(3)):
            dice.choice([world.add, world.add, world.change, world.move, world.remove, world.take_down])()
        if dice.random() < 0.5:
            place.emulator.faults.append(a_fault(dice))
        dies_at = dice.randrange(40) if dice.random() < 0.5 else -1
        cells = dice.sample(CELLS, k=dice.randrange(1, 4))
        try:
            place.publish(world, cells, Faults(dies_at, after=dice.random() < 0.5))
        except (Killed, GeoPinError):
            place.clock.sleep(dice.choice([0, 60, 700]))
        if dice.random() < 0.7:
            place.emulator.clear_faults()


def check(world: World, place: Place, story: str) -> None:
    """Everything agrees, a search hit has its row, and publishing again writes nothing."""
    index = VectorizeIndex(place.api, "geopin-test-v1", DIM, wait=place.wait())
    store = D1Store(place.api, "geopin")
    store.migrate()
    index.create()  # a story may be without a single vector
    wanted = world.vectors(CELLS)
    ids = set(wanted["vector_id"])
    assert set(index.ids()) == ids, story
    rows = store.query("SELECT vector_id, capture_id FROM vectors JOIN captures USING (capture_id)")
    assert set(rows["vector_id"]) == ids if ids else rows.is_empty(), story
    assert set(store.query("SELECT capture_id FROM captures")["capture_id"]) == set(world.held) - world.taken_down, (
        story
    )
    targets = [
        VectorTarget(index, place.wait()),
        RowTarget(store, TABLES["captures"]),
        RowTarget(store, TABLES["vectors"]),
    ]
    desired = [wanted["vector_id"], world.rows(CELLS)["capture_id"], wanted["vector_id"]]
    for target, wanted_ids in zip(targets, desired, strict=True):
        report = sync_report(wanted_ids, place.ledger, target)
        assert report.is_in_sync, (story, report)
    again = place.publish(world, CELLS, Faults(-1, after=False))
    assert [(r.upserted, r.deleted, r.rows_written, r.requests) for r in again] == [(0, 0, 0, 0)] * 3, story


@pytest.mark.parametrize("first", range(SEED, SEED + SEEDS, SEEDS_AT_ONCE))
def test_whatever_happened_a_clean_run_ends_with_everything_the_same(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        dice = random.Random(seed)
        world = World(dice)
        with place(tmp_path / str(seed)) as here:
            (tmp_path / str(seed)).mkdir(exist_ok=True)
            live_through(world, here, dice)
            here.emulator.clear_faults()
            here.clock.sleep(700)
            here.publish(world, CELLS, Faults(-1, after=False))
            check(world, here, f"seed {seed}")
            note("anything in any order", attempts=1, seeds=1)
