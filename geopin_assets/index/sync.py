"""Is a store in sync? Compares what is desired, what the ledger says and what the store answers.

Here: listing what is there (counting, where that is too much) and sampled read-back; at most an empty store is created
where there is none yet.
Not here: repairing (publish the cells again; after losing a store, `Ledger.forget` it first).
"""

from dataclasses import dataclass

import polars as pl

from geopin_assets.index.ledger import Ledger
from geopin_assets.index.limits import IDS_PER_GET
from geopin_assets.index.targets import Target

LISTED_AT_MOST = 200_000
"""Ids that are listed and compared one by one: 200 requests to Vectorize. Beyond that the store's count must do."""
COUNT_TOLERANCE = 0.01
"""How far that count may be off: Vectorize's lags by minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Counts of one store from three sides, and ids that read back wrong."""

    desired: int
    in_ledger: int
    in_store: int
    """Listed or, beyond LISTED_AT_MOST, the store's own count."""
    lost: tuple[str, ...]
    """Published according to the ledger, but not listed by the store."""
    strange: tuple[str, ...]
    """Listed by the store, but not published by us."""
    missing: int
    """Desired, but not published according to the ledger."""
    surplus: int
    """Published according to the ledger, but not desired."""
    unfinished: int
    """Writes begun whose outcome the ledger does not know: a publish was killed; publish again."""
    sampled: int
    mismatched: tuple[str, ...]
    """Sampled ids that the store lacks or holds with other content than the ledger says."""

    @property
    def is_in_sync(self) -> bool:
        """True when the three sides agree, the sample included."""
        close = self.in_store == self.in_ledger or (
            self.in_ledger > LISTED_AT_MOST and abs(self.in_store - self.in_ledger) <= COUNT_TOLERANCE * self.in_ledger
        )
        wrong = self.missing or self.surplus or self.unfinished or self.mismatched or self.lost or self.strange
        return close and not wrong


def sync_report(
    desired_ids: pl.Series, ledger: Ledger, target: Target, *, samples: int = 200, seed: int = 0
) -> SyncReport:
    """Compare a store (`VectorTarget(index)` or `RowTarget(store, TABLES[name])`) with the ledger and these ids.

    Reads about `samples` ids back, in requests of IDS_PER_GET; another `seed` samples others.
    """
    target.prepare()
    published = ledger.published(target.key)
    desired = desired_ids.cast(pl.String).rename("id").unique().to_frame()
    known = published.drop_nulls("content_hash")
    chosen = known.sort("id").sample(min(samples, known.height), seed=seed)
    listed = {id_ for page in target.contents() for id_ in page["id"]} if published.height <= LISTED_AT_MOST else None
    recorded = set(published["id"])
    return SyncReport(
        desired=desired.height,
        in_ledger=published.height,
        in_store=target.count() if listed is None else len(listed),
        lost=() if listed is None else tuple(sorted(recorded - listed)),
        strange=() if listed is None else tuple(sorted(listed - recorded)),
        missing=desired.join(published, on="id", how="anti").height,
        surplus=published.join(desired, on="id", how="anti").height,
        unfinished=published.height - known.height,
        sampled=chosen.height,
        mismatched=tuple(_mismatched(chosen, target)),
    )


def _mismatched(chosen: pl.DataFrame, target: Target) -> list[str]:
    wrong: list[str] = []
    for rows in chosen.iter_slices(IDS_PER_GET):
        wrong += rows.join(target.read(rows["id"]), on=["id", "content_hash"], how="anti")["id"].to_list()
    return wrong
