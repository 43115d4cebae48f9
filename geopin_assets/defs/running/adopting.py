"""A publication of another installation, or what its feed says since, brought into this one and through its layers.

The order: takedowns first, whatever happens afterwards; then raw files and vectors of every step; then the layers below
raw, once; then the note of how far the feed was applied. Not here: what becomes of captures and vectors
(`exchange/adopting.py`), checking what others wrote (`exchange/following.py`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.cells import cell_ids as every_cell
from geopin_assets.defs.running.local_run import LayerResult, raw_key, run_below_raw
from geopin_assets.defs.running.takedown import Takedown
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError
from geopin_assets.exchange.adopting import Adopting, Followed, followed, note_followed, note_of, undo_takedowns
from geopin_assets.exchange.following import Most, opened, refuse_losses, steps, takedowns_of, verify
from geopin_assets.exchange.manifest import Entry, Manifest, read_manifest
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.regions import in_order
from geopin_assets.store.accounts import CrawlAccount

LEASE = "adopting publications"


@dataclass(slots=True)
class Adoption:
    """One command's work. `most`: see `exchange.following`."""

    storage: Storage
    search_index: SearchIndex
    model: Model
    of: ObjectStore
    most: Most
    max_removals: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    overdue: bool = False
    """Whether takedowns came later than the feed allows."""
    _cells: set[str] = field(default_factory=set)
    _done: Followed | None = None

    def take(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[LayerResult]:
        """All of a publication. Raises PayloadError before anything is changed."""
        verify(self.of, manifest := read_manifest(self.of))
        down = takedowns_of(self.of, manifest)
        known = len(self.storage.takedowns().ids().intersection(down["capture_id"]))
        refuse_losses(down.height - known, manifest, self.of, self.most)
        with self.storage.leases().held(LEASE, what="import"):
            yield from self._take_down(defs, instance, down, manifest.feed_id)
            self._report(instance, self._adopting(manifest).publication(self.of, manifest))
            self._done = Followed.of(manifest)
            yield from self._finish(defs, instance)

    def follow(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[LayerResult]:
        """The entries since; nothing where there is none. Raises ConfigurationError for what was never taken."""
        manifest = read_manifest(self.of)
        with self.storage.leases().held(LEASE, what="feed apply"):
            before = followed(self.storage, manifest.feed_id)
            if before is None:
                raise ConfigurationError(f"nothing was taken of it yet: geopin import {self.of.address()}")
            held = self.storage.catalog().size()[0]  # how many there are a stranger may say as well
            for step in steps(self.of, before.feed_id, before.sequence, before.head):
                with opened(self.of, step.entry, lambda captures: self.most(min(captures, held))) as news:
                    late = datetime.now(UTC) > step.entry.apply_takedowns_by and news.takedowns.height > 0
                    self.overdue = self.overdue or late
                    yield from self._take_down(defs, instance, news.takedowns, before.feed_id)
                    self._report(instance, self._adopting(step.entry).entry(news))
                self.counts["entries"] += 1
                self._done = Followed(before.feed_id, step.entry.sequence, step.head)
            yield from self._finish(defs, instance)

    def _adopting(self, document: Manifest | Entry) -> Adopting:
        now = datetime.now(UTC)
        return Adopting(self.storage, self.model, document.model, document.published_at, now, self.counts, self._cells)

    def _report(self, instance: dg.DagsterInstance, accounts: Iterator[CrawlAccount]) -> None:
        for account in accounts:
            instance.report_runless_asset_event(_materialization(account))
            self._cells.add(account.cell_id)

    def _take_down(
        self, defs: dg.Definitions, instance: dg.DagsterInstance, acts: pl.DataFrame, feed_id: str
    ) -> Iterator[LayerResult]:
        """What the list of the others says: on ours from now on, or off it again where only they had put it there."""
        if new := undo_takedowns(self.storage, acts, feed_id):
            takedown = Takedown(tuple(new), self.storage, self.search_index)
            yield from takedown.finish(defs, instance, takedown.begin(note_of(feed_id)))
            self.counts["taken_down"] += len(new)

    def _finish(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[LayerResult]:
        """The layers below raw; that all was done is noted only if they did not fail."""
        failed = 0
        if cell_ids := in_order(self._cells.intersection(every_cell())):
            job = defs.resolve_implicit_global_asset_job_def()
            for result in run_below_raw(job, instance, cell_ids, max_removals=self.max_removals):
                failed += result.failed_count
                yield result
        if self._done and not failed:
            note_followed(self.storage, self._done)


def _materialization(account: CrawlAccount) -> dg.AssetMaterialization:
    """What a crawl would have recorded."""
    return dg.AssetMaterialization(
        raw_key(account.source).split("/"),
        partition=account.cell_id,
        metadata={"dagster/partition_row_count": account.captures, "imported": True},
        tags={"dagster/data_version": account.data_version},
    )
