"""What passes while a publication is written: whose it is, and what of it changed since the last time.

Not here: writing, or the order in which it is done (`publish.py`).
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from geopin_assets.capture import Reason
from geopin_assets.exchange.files import REMOVALS, Writer
from geopin_assets.exchange.items import ITEM_SCHEMA
from geopin_assets.exchange.manifest import LicenseFacts
from geopin_assets.exchange.parts import counts_of, of_cell
from geopin_assets.exchange.snapshot import Content
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.quality.attribution import render_notice
from geopin_assets.sources import SOURCES

_OWNERS = ["source", "license", "creator"]
COUNTED = (*_OWNERS, "attribution", "is_pano", "vectors")
"""What of items is counted."""


@dataclass(slots=True)
class Tally:
    """What is being published, counted as it passes."""

    counts: Counter[str] = field(default_factory=Counter)
    withheld: Counter[str] = field(default_factory=Counter)
    owners: list[pl.DataFrame] = field(default_factory=list)

    def add(self, content: Content, items: pl.DataFrame) -> None:
        """Count a cell."""
        self.withheld.update(content.withheld["reason"].to_list())
        self.count(items)

    def count(self, items: pl.DataFrame) -> None:
        """Count items, and remember whose they are: COUNTED."""
        self.counts.update(counts_of(items))
        owners = items.group_by(*_OWNERS).agg(captures=pl.len().cast(pl.Int64), text=pl.col("attribution").min())
        self.owners.append(owners)
        if len(self.owners) > 500:
            self.owners = [self._united()]

    def _united(self) -> pl.DataFrame:
        empty = pl.DataFrame(schema=dict.fromkeys(_OWNERS, pl.String()) | {"captures": pl.Int64(), "text": pl.String()})
        every = pl.concat([empty, *self.owners])
        return every.group_by(*_OWNERS).agg(pl.col("captures").sum(), pl.col("text").min())

    def notice(self, now: datetime) -> bytes:
        """The text that goes with it."""
        owners = self._united().sort("captures", *_OWNERS, descending=[True, False, False, False])
        return render_notice(owners.rename({"text": "example_attribution"}), SOURCES, now=now).encode()

    def licenses(self) -> dict[str, LicenseFacts]:
        """The licenses of what is in it."""
        found = self._united().group_by("license").agg(pl.col("captures").sum()).sort("license")
        return {
            id_: LicenseFacts(url=OPEN_LICENSES[id_].url, asks=OPEN_LICENSES[id_].asks, captures=captures)
            for id_, captures in found.iter_rows()
        }


class Changes:
    """What becomes an entry: the difference to what was published before, cell by cell."""

    def __init__(self, captures: Writer, vectors: Writer, schema: pl.Schema) -> None:
        self._captures, self._vectors, self._schema = captures, vectors, schema
        self._removed: list[pl.DataFrame] = []
        self._added: list[pl.Series] = []
        self.counts: Counter[str] = Counter()
        self.rows = 0

    def add(self, content: Content, items: pl.DataFrame, before: pl.DataFrame) -> None:
        """A cell as it is, and as it was."""
        changed = items.join(before, on=ITEM_SCHEMA.names(), how="anti", nulls_equal=True, maintain_order="left")
        removed = before.join(items, on="capture_id", how="anti").join(content.withheld, on="capture_id", how="left")
        self._captures.write(changed)
        other = changed.join(before, on=["capture_id", "vectors_hash"], how="anti").filter(pl.col("vectors") > 0)
        if other.height:
            for rows in content.vectors():
                rows = rows.join(other, on="capture_id", how="semi", maintain_order="left")
                self._vectors.write(of_cell(rows, content.cell_id, self._schema))
        added = changed.join(before, on="capture_id", how="anti")["capture_id"]
        self._added.append(added)
        self._removed.append(removed.select("capture_id", "cell_id", pl.col("reason").fill_null(str(Reason.REMOVED))))
        self.counts["changed"] += changed.height - len(added)
        self.rows += changed.height + removed.height

    def removals(self, taken_down: Collection[str]) -> pl.DataFrame:
        """REMOVALS: where captures that are elsewhere now moved, others were taken down; counts them all."""
        removed, added = (
            pl.concat([REMOVALS.to_frame(), *self._removed]),
            pl.concat([pl.Series(dtype=pl.String), *self._added]),
        )
        moved = pl.col("capture_id").is_in(added.implode())
        down = pl.col("capture_id").is_in(list(taken_down))
        reason = (
            pl.when(moved).then(pl.lit("moved")).when(down).then(pl.lit(str(Reason.TAKEN_DOWN))).otherwise("reason")
        )
        removed = removed.with_columns(reason=reason)
        self.counts.update(dict(removed.group_by("reason").len().iter_rows()))
        self.counts["added"] += len(added) - self.counts["moved"]
        return removed.sort("cell_id", "capture_id")
