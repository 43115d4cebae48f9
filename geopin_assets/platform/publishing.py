"""One run that publishes cells: rows, vectors, and what leaves, in every shard, on evidence.

Here: into which stores, and in which order. A capture's row is published whether or not its image could be embedded: a
row without a vector is never found, a vector without its row would lack its license. So rows come first, and leave when
no vector of theirs is left. Not here: what is desired (`index_state.py`), plans, limits, verification and the ledger
(`index/publish.py`), batches of cells and what they show (`defs/assets/publish.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Self

import polars as pl

from geopin_assets.embedding.protocol import Model
from geopin_assets.index.batching import Frames
from geopin_assets.index.cost import RunBudget
from geopin_assets.index.covering import cells_around
from geopin_assets.index.publish import LEAVING, PublishReport, publish_each, publish_vectors, withdraw
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target, VectorTarget
from geopin_assets.index.versions import IndexVersion
from geopin_assets.platform.index_state import (
    desired_rows,
    desired_vectors,
    desired_views,
    live_models,
    rows_beside,
    searched,
)
from geopin_assets.platform.parts import SearchIndex, Storage

if TYPE_CHECKING:
    from geopin_assets.platform.evidence import Evidence

_ROW_TABLES = ("captures", "vectors")


@dataclass(frozen=True, slots=True)
class Publisher:
    """What one run may do: `evidence` says what may be deleted, `budget` how much may be written."""

    storage: Storage
    search_index: SearchIndex
    model: Model
    evidence: Evidence
    budget: RunBudget

    @classmethod
    def begin(
        cls, storage: Storage, search_index: SearchIndex, model: Model, *, max_removals: int | None = None
    ) -> Self:
        """What was taken down goes now, whichever cells are published.

        A takedown that was killed behind the first line of its list is finished by that as far as searches see. Raises
        StaleCatalogError or StaleLedgerError.
        """
        from geopin_assets.platform.evidence import Evidence

        evidence = Evidence(storage, search_index.metadata().parts, max_removals=max_removals)
        evidence.check()
        publisher = cls(storage, search_index, model, evidence, search_index.budget())
        publisher._withdraw_taken_down()
        return publisher

    def rows(self, cell_ids: Sequence[str]) -> list[PublishReport]:
        """The captures of these cells, and the views of them in every model that is searched or about to be."""
        models, stores = live_models(self.search_index, self.model), self.search_index.metadata()
        beside = set(cells_around(cell_ids)).difference(cell_ids)

        @cache
        def captures() -> list[pl.DataFrame]:
            """As they are when it is their turn: whoever had it before may have written rows beside its cells."""
            return [desired_rows(self.storage, cell_ids), rows_beside(self.storage, cell_ids)]

        @cache
        def views() -> list[pl.DataFrame]:
            return [desired_views(self.storage, cell_ids, models)]

        parts = (
            (RowTarget(store, TABLES[table]), rows)
            for table, desired in (("captures", captures), ("vectors", views))
            for store, rows in stores.split_frames(desired)
        )
        return self._publish_rows(parts, cell_ids, self.evidence, beside)

    def vectors(self, cell_ids: Sequence[str], version: IndexVersion) -> list[PublishReport]:
        """The vectors of these cells in a version, then rows that only waited for vectors to go.

        Raises MassRemovalError before anything is sent.
        """
        desired, shards = desired_vectors(self.storage, cell_ids, self.model), self.search_index.vectors(version)
        reports = [
            publish_vectors(
                rows,
                cell_ids,
                part,
                self.search_index.ledger(),
                now=datetime.now(UTC),
                budget=self.budget,
                max_deletions=self.search_index.max_deletions(),
                evidence=self.evidence,
            )
            for part, rows in shards.split_frames(desired)
        ]
        return reports + self._let_rows_go()

    def _let_rows_go(self) -> list[PublishReport]:
        ledger = self.search_index.ledger()
        waiting = [target for target in self._row_targets() if ledger.claims(target.key, [LEAVING]).height]
        parts = (
            (target, pl.DataFrame(schema=dict.fromkeys((*target.table.columns, "cell_id"), pl.String)))
            for target in waiting
        )
        return self._publish_rows(parts, ())

    def _publish_rows(
        self,
        parts: Iterable[tuple[RowTarget, pl.DataFrame | Frames]],
        cell_ids: Sequence[str],
        evidence: Evidence | None = None,
        beside: Collection[str] = (),
    ) -> list[PublishReport]:
        return publish_each(
            parts,
            cell_ids,
            self.search_index.ledger(),
            beside=beside,
            now=datetime.now(UTC),
            budget=self.budget,
            keep=searched(self.search_index, self.model),
            evidence=evidence,
        )

    def _row_targets(self) -> list[RowTarget]:
        return [RowTarget(store, TABLES[name]) for name in _ROW_TABLES for store in self.search_index.stores()]

    def _withdraw_taken_down(self) -> None:
        ledger, down = self.search_index.ledger(), pl.Series(list(self.evidence.withheld()), dtype=pl.String)
        versions = self.search_index.versions().all()
        parts = [part for version in versions for part in self.search_index.vectors(version).parts]
        targets: list[Target] = [*map(VectorTarget, parts), *reversed(self._row_targets())]
        for target in targets:
            if len(ids := ledger.claims_of(target.key, down)["id"]):
                withdraw(ids.unique(), target, ledger)
