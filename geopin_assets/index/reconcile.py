"""One store and our record of it, brought to agree: the store is asked for everything it holds.

Here: listing and comparing, and correcting the ledger, so that publishing the cells that are named afterwards restores
what is lost. Not here: which stores there are (`platform/known_stores.py`), what should be in them, or publishing. What
is in memory at a time is one heap of ids (`heaps.py`), whatever a store holds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat

import polars as pl

from geopin_assets.errors import PermanentError
from geopin_assets.index.heaps import Heaps
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import withdraw
from geopin_assets.index.sync import mismatched_in
from geopin_assets.index.targets import Target

FEW = 100
"""So many are removed without being asked, however little a store holds."""
MOST = 0.5
"""And so large a share of what a store holds: more is likelier a catalog that is lost than so many orphans."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One heap of a store beside the ledger, and beside what it should hold, where that is known. Columns are ids."""

    held: int
    """Different ids in the store."""
    known: int
    """Ids that the ledger says are there."""
    foreign: pl.DataFrame
    """In the store, and the ledger does not know: id, content_hash (null where the store does not tell)."""
    lost: pl.Series
    """The ledger says they are there, and they are not."""
    doubled: pl.Series
    """More than once in the store."""
    changed: pl.Series
    """There, with another content than the ledger says."""
    orphans: pl.Series
    """There, and no cell wants them; none where it is not known what is wanted."""
    missing: pl.DataFrame
    """Wanted, and not there or not (known to be) as wanted: WANTED. Publishing those cells finds out."""
    desired: pl.DataFrame
    """What it should hold: WANTED; empty if that is not known."""


READ_AT_MOST, SAMPLED = 2_000, 200
"""Vectors that are read back, all of a heap or some of more."""
KINDS = ("foreign", "lost", "doubled", "changed", "orphans", "missing")
"""What may be wrong: columns of a Comparison."""
WANTED = {"id": pl.String(), "cell_id": pl.String(), "content_hash": pl.String()}
"""What a store should hold: the hash is null where any content is taken for right."""
_CONTENT = {"id": pl.String(), "content_hash": pl.String()}


@dataclass(slots=True)
class Found:
    """All heaps of a store: how many ids there are of each kind, and a few of them."""

    held: int = 0
    known: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    some: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    cells: set[str] = field(default_factory=set)
    """Those to publish again."""

    @property
    def is_in_order(self) -> bool:
        return not self.counts.total()

    def add(self, heap: Comparison) -> None:
        self.held, self.known = self.held + heap.held, self.known + heap.known
        self.cells.update(heap.missing["cell_id"].unique())
        for kind in KINDS:
            found = getattr(heap, kind)
            ids = found["id"] if isinstance(found, pl.DataFrame) else found
            self.counts[kind] += len(ids)
            self.some[kind].extend(ids.head(FEW - len(self.some[kind])))


def compared(target: Target, ledger: Ledger, desired: Heaps | None, heaps: int) -> Iterator[Comparison]:
    """List everything, write nothing; heap by heap, those of `desired` (WANTED) if it is not None: then the store is
    only kept, and nothing is to be restored."""
    with Heaps(heaps, _CONTENT) as listed, Heaps(heaps, _CONTENT) as published:
        for page in target.contents():
            listed.add(page)
        for page in ledger.published_pages(target.key):
            published.add(page)
        for there, known, wanted in zip(listed, published, repeat(None) if desired is None else desired, strict=False):
            yield _compare(there, known, wanted, target)


def _compare(listed: pl.DataFrame, published: pl.DataFrame, desired: pl.DataFrame | None, target: Target) -> Comparison:
    held = listed.unique("id", keep="first")
    told = held.join(published, on="id", suffix="_known").drop_nulls()
    changed = told.filter(pl.col("content_hash") != pl.col("content_hash_known"))["id"]
    untold = held.filter(pl.col("content_hash").is_null()).select("id").join(published, on="id").drop_nulls()
    changed = pl.concat([changed, _read_back(untold, target)])
    foreign = held.join(published, on="id", how="anti")
    doubled = listed.filter(pl.col("id").is_duplicated())["id"].unique()
    wanted = pl.DataFrame(schema=WANTED) if desired is None else desired
    unsure = pl.concat([foreign["id"], doubled, changed]).to_frame()
    sound = published.drop_nulls().join(unsure, on="id", how="anti").join(held, on="id", how="semi")
    is_sound = pl.col("content_hash_known").is_not_null() & pl.col("content_hash").eq_missing(
        pl.col("content_hash_known")
    ).or_(pl.col("content_hash").is_null())
    return Comparison(
        held=held.height,
        known=published.height,
        foreign=foreign,
        lost=published.join(held, on="id", how="anti")["id"],
        doubled=doubled,
        changed=changed,
        orphans=held["id"].clear() if desired is None else held.join(wanted, on="id", how="anti")["id"],
        missing=wanted.join(sound, on="id", how="left", suffix="_known").filter(~is_sound).select(*WANTED),
        desired=wanted,
    )


def _read_back(known: pl.DataFrame, target: Target) -> pl.Series:
    """Those of a store that lists no content which hold another than is known (id, content_hash).

    Of many some are read, and all where one of those is wrong.
    """
    some = known if known.height <= READ_AT_MOST else known.sort("id").sample(SAMPLED, seed=0)
    wrong = mismatched_in(some, target)
    if wrong and some.height < known.height:
        wrong = mismatched_in(known, target)
    return pl.Series("id", wrong, pl.String)


def mended(target: Target, ledger: Ledger, desired: Heaps | None, heaps: int) -> Iterator[Comparison]:
    """The same, and make the ledger say what the store holds. What is wanted and wrong counts as not published."""
    with ledger.turn(target.key):
        for heap in compared(target, ledger, desired, heaps):
            if len(heap.doubled):
                target.delete(heap.doubled)
            ledger.lose(target.key, pl.concat([heap.lost, heap.doubled]))
            foreign = heap.foreign.filter(~pl.col("id").is_in(heap.doubled.implode()))
            places = heap.desired.join(foreign, on="id", how="semi")
            ledger.begin(target.key, places, pl.concat([foreign["id"], heap.changed]))
            ledger.adopt(target.key, foreign.drop_nulls())
            yield heap


def remove(orphans: pl.Series, held: int, target: Target, ledger: Ledger, max_removals: int | None) -> int:
    """Take out what nobody wants; how many were. Raises PermanentError, removing nothing, if that is most of it."""
    most = max(FEW, int(MOST * held)) if max_removals is None else max_removals
    if len(orphans) > most:
        raise PermanentError(
            f"{target.key}: {len(orphans)} of {held} are wanted by no cell, more than {most}: nothing was removed. "
            f"If the catalog is whole, allow it with --max-removals {len(orphans)}"
        )
    return withdraw(orphans, target, ledger) if len(orphans) else 0
