"""One store and our record of it, brought to agree: the store is asked for everything it holds.

Here: listing and comparing, and correcting the ledger, so that publishing the cells that are named afterwards restores
what is lost. Not here: which stores there are (`platform/known_stores.py`), what should be in them, or publishing. All
ids of one store are in memory at a time, about 100 bytes each.
"""

from dataclasses import dataclass

import polars as pl

from geopin_assets.errors import PermanentError
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import withdraw
from geopin_assets.index.targets import Target

FEW = 100
"""So many are removed without being asked, however little a store holds."""
MOST = 0.5
"""And so large a share of what a store holds: more is likelier a catalog that is lost than so many orphans."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A store beside the ledger, and beside what it should hold, where that is known. Columns are ids."""

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
    """Wanted, and not there or not known to be as wanted: id, cell_id. Publishing those cells finds out."""

    @property
    def is_in_order(self) -> bool:
        parts = (self.foreign, self.lost, self.doubled, self.changed, self.orphans, self.missing)
        return not any(len(part) for part in parts)

    @property
    def cells(self) -> list[str]:
        """Those to publish again."""
        return self.missing["cell_id"].unique().sort().to_list()


def compare(target: Target, ledger: Ledger, desired: pl.DataFrame | None) -> Comparison:
    """List everything, write nothing. `desired`: id and cell_id; None: it is only kept, nothing is to be restored."""
    listed = pl.concat([pl.DataFrame(schema={"id": pl.String, "content_hash": pl.String}), *target.contents()])
    held, published = listed.unique("id", keep="first"), ledger.published(target.key)
    told = held.join(published, on="id", suffix="_known").drop_nulls()
    changed = told.filter(pl.col("content_hash") != pl.col("content_hash_known"))["id"]
    foreign = held.join(published, on="id", how="anti")
    doubled = listed.filter(pl.col("id").is_duplicated())["id"].unique()
    wanted = pl.DataFrame(schema={"id": pl.String, "cell_id": pl.String}) if desired is None else desired
    unsure = pl.concat([foreign["id"], doubled, changed]).to_frame()
    sound = held.join(unsure, on="id", how="anti").join(
        published.filter(pl.col("content_hash").is_null()), on="id", how="anti"
    )
    return Comparison(
        held=held.height,
        known=published.height,
        foreign=foreign,
        lost=published.join(held, on="id", how="anti")["id"],
        doubled=doubled,
        changed=changed,
        orphans=held["id"].clear() if desired is None else held.join(wanted, on="id", how="anti")["id"],
        missing=wanted.join(sound, on="id", how="anti"),
    )


def mend(target: Target, ledger: Ledger, desired: pl.DataFrame | None) -> Comparison:
    """Make the ledger say what the store holds; what was found. What is wanted and wrong counts as not published."""
    with ledger.turn(target.key):
        found = compare(target, ledger, desired)
        if len(found.doubled):
            target.delete(found.doubled)
        ledger.lose(target.key, pl.concat([found.lost, found.doubled]))
        foreign = found.foreign.filter(~pl.col("id").is_in(found.doubled.implode()))
        places = found.missing.clear() if desired is None else desired
        ledger.begin(target.key, places.join(foreign, on="id", how="semi"), pl.concat([foreign["id"], found.changed]))
        ledger.adopt(target.key, foreign.drop_nulls())
    return found


def remove(orphans: pl.Series, held: int, target: Target, ledger: Ledger, max_removals: int | None) -> int:
    """Take out what nobody wants; how many were. Raises PermanentError, removing nothing, if that is most of it."""
    most = max(FEW, int(MOST * held)) if max_removals is None else max_removals
    if len(orphans) > most:
        raise PermanentError(
            f"{target.key}: {len(orphans)} of {held} are wanted by no cell, more than {most}: nothing was removed. "
            f"If the catalog is whole, allow it with --max-removals {len(orphans)}"
        )
    return withdraw(orphans, target, ledger) if len(orphans) else 0
