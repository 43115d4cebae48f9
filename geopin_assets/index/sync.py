"""Is a store in sync? Compares what is desired, what the ledger says and what the store answers.

Here: listing what is there (counting, where that is too much) and sampled read-back; at most an empty store is created
where there is none yet. Beyond LISTED_AT_MOST nothing grows with what is published but the counts of cells: those whose
counts differ are looked into, and some others by chance.
Not here: repairing (`reconcile.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import polars as pl

from geopin_assets.index.ledger import Ledger
from geopin_assets.index.targets import Target

LISTED_AT_MOST = 200_000
"""Ids that are listed and compared one by one: 200 requests to Vectorize. Beyond that the store's count must do."""
COUNT_TOLERANCE = 0.01
"""How far a count may be off that lags by minutes."""
CELLS_LOOKED_INTO = 100
"""Cells compared id by id where there are too many for all, half of them those whose counts differ."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a store should hold: how many ids each cell wants, and which they are (id, cell_id) for some cells."""

    counts: Mapping[str, int]
    ids: Callable[[Sequence[str]], pl.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Counts of one store from three sides, and ids that read back wrong."""

    desired: int
    in_ledger: int
    in_store: int
    """Listed, each as often as it is there, or, beyond LISTED_AT_MOST, the store's own count."""
    lost: tuple[str, ...] = ()
    """Published according to the ledger, but not listed by the store."""
    strange: tuple[str, ...] = ()
    """Listed by the store, but not published by us."""
    doubled: tuple[str, ...] = ()
    """Listed by the store more than once."""
    missing: int
    """Desired, but not published according to the ledger."""
    surplus: int
    """Published according to the ledger, but not desired."""
    unfinished: int
    """Writes begun whose outcome the ledger does not know: a publish was killed; publish again."""
    sampled: int
    mismatched: tuple[str, ...]
    """Sampled ids that the store lacks or holds with other content than the ledger says."""
    cells: tuple[str, ...] = ()
    """The cells of all that is wrong, as far as it is known."""
    tolerance: float = 0.0
    """Share by which the store's count may be off."""

    @property
    def is_in_sync(self) -> bool:
        """True when the three sides agree, the sample included."""
        close = abs(self.in_store - self.in_ledger) <= self.tolerance * self.in_ledger
        counted = self.missing or self.surplus or self.unfinished
        return close and not (counted or self.mismatched or self.lost or self.strange or self.doubled or self.cells)


def sync_report(
    desired: pl.Series | pl.DataFrame, ledger: Ledger, target: Target, *, samples: int = 200, seed: int = 0
) -> SyncReport:
    """Compare a store with the ledger and these ids (with their `cell_id`, cells are named), each of them.

    Reads about `samples` ids back, as many at once as it takes; another `seed` samples others. Beyond LISTED_AT_MOST
    the store's count is believed.
    """
    target.prepare()
    published, ids = ledger.published(target.key), _frame(desired)
    known = published.drop_nulls("content_hash")
    chosen = known.sort("id").sample(min(samples, known.height), seed=seed)
    missing = ids.join(published, on="id", how="anti")
    surplus = published.join(ids, on="id", how="anti")
    mismatched = mismatched_in(chosen, target)
    is_listed = published.height <= LISTED_AT_MOST
    listed = (
        pl.concat([published.select("id").clear(), *(page.select("id") for page in target.contents())])
        if is_listed
        else published.select("id")
    )
    lost = published.join(listed, on="id", how="anti")["id"].sort()
    strange = listed.join(published, on="id", how="anti")["id"].unique().sort()
    doubled = listed.filter(pl.col("id").is_duplicated())["id"].unique().sort()
    unfinished = published.filter(pl.col("content_hash").is_null())
    wrong = pl.concat(
        [lost, strange, doubled, surplus["id"], missing["id"], unfinished["id"], pl.Series("id", mismatched, pl.String)]
    )
    return SyncReport(
        desired=ids["id"].n_unique(),
        in_ledger=published.height,
        in_store=listed.height if is_listed else target.count(),
        lost=tuple(lost),
        strange=tuple(strange),
        doubled=tuple(doubled),
        missing=missing.height,
        surplus=surplus.height,
        unfinished=unfinished.height,
        sampled=chosen.height,
        mismatched=tuple(mismatched),
        cells=_cells(wrong, ids, ledger, target),
        tolerance=_tolerance(target, is_listed=is_listed),
    )


def sampled_sync_report(
    wanted: Wanted, ledger: Ledger, target: Target, *, samples: int = 200, seed: int = 0
) -> SyncReport:
    """The same by the counts of cells, and id by id for some; for all of them where there are few."""
    known, total = ledger.counts(target.key), ledger.count(target.key)
    desired = sum(wanted.counts.values())
    if max(total, desired) <= LISTED_AT_MOST:
        ids = wanted.ids(tuple(sorted({*known, *wanted.counts})))
        return sync_report(ids, ledger, target, samples=samples, seed=seed)
    target.prepare()
    cells = sorted({*known, *wanted.counts})
    differ = [cell for cell in cells if known.get(cell, 0) != wanted.counts.get(cell, 0)]
    by_chance = Random(seed).sample(cells, min(CELLS_LOOKED_INTO, len(cells)))  # noqa: S311
    looked = list(dict.fromkeys([*differ[: CELLS_LOOKED_INTO // 2], *by_chance]))[:CELLS_LOOKED_INTO]
    ids, claims = wanted.ids(tuple(looked)), ledger.claimed(target.key, looked)
    missing, surplus = (a.join(b, on=["id", "cell_id"], how="anti") for a, b in ((ids, claims), (claims, ids)))
    unfinished = ledger.unfinished(target.key)
    sound = claims["id"].filter(~claims["id"].is_in(unfinished.implode())).unique().sort()
    chosen = _contents(sound.sample(min(samples, len(sound)), seed=seed), ledger, target)
    mismatched = mismatched_in(chosen, target)
    wrong = pl.concat(
        [
            missing["cell_id"],
            surplus["cell_id"],
            ledger.claims_of(target.key, unfinished)["cell_id"],
            claims.filter(pl.col("id").is_in(mismatched))["cell_id"],
        ]
    )
    return SyncReport(
        desired=desired,
        in_ledger=total,
        in_store=target.count(),
        missing=missing.height,
        surplus=surplus.height,
        unfinished=len(unfinished),
        sampled=chosen.height,
        mismatched=tuple(mismatched),
        cells=tuple(sorted({*wrong, *(set(differ) - set(looked))})),
        tolerance=_tolerance(target, is_listed=False),
    )


def _contents(ids: pl.Series, ledger: Ledger, target: Target) -> pl.DataFrame:
    """What the ledger says of a few: contents lie in order of ids, a page of the file for each."""
    return ledger.claims_of(target.key, ids).select("id", "content_hash").drop_nulls().unique("id", maintain_order=True)


def _frame(desired: pl.Series | pl.DataFrame) -> pl.DataFrame:
    if isinstance(desired, pl.DataFrame):
        return desired.select("id", "cell_id").unique("id")
    return desired.cast(pl.String).rename("id").unique().to_frame().with_columns(cell_id=pl.lit(None, pl.String))


def _cells(wrong: pl.Series, ids: pl.DataFrame, ledger: Ledger, target: Target) -> tuple[str, ...]:
    """Where ids are wanted, or were published for."""
    if wrong.is_empty():
        return ()
    wanted = ids.filter(pl.col("id").is_in(wrong.implode()))["cell_id"].drop_nulls()
    return tuple(sorted({*wanted, *ledger.claims_of(target.key, wrong.unique())["cell_id"]} - {""}))


def _tolerance(target: Target, *, is_listed: bool) -> float:
    return COUNT_TOLERANCE if target.count_lags and not is_listed else 0.0


def mismatched_in(chosen: pl.DataFrame, target: Target) -> list[str]:
    """Ids that do not have the content (id, content_hash) when they are read back."""
    wrong: list[str] = []
    for rows in chosen.iter_slices(target.ids_per_read):
        wrong += rows.join(target.read(rows["id"]), on=["id", "content_hash"], how="anti")["id"].to_list()
    return wrong
