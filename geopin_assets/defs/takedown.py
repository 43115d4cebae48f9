"""Taking captures down: out of the catalog, the raw files, the vectors and the index, within one run.

Here: the order in which they leave. The list comes first, so that whatever happens afterwards nothing comes back;
then what searches see; then the layers of the affected cells, so that every partition is recorded as it is now.
Repeating finishes what was killed or failed. Not here: the list that keeps captures away from then on
(`store/takedowns.py`), or where they may be (`traces.py`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.defs.local_run import LayerResult, raw_key, run_below_raw
from geopin_assets.defs.resources import SearchIndex, Storage
from geopin_assets.defs.traces import (
    Trace,
    published,
    sources_of,
    traces_in_catalog,
    traces_in_index,
    traces_in_raw,
    traces_in_vectors,
)
from geopin_assets.embedding.stored import stored_vectors, take_out
from geopin_assets.errors import GeoPinError
from geopin_assets.index.targets import VectorTarget
from geopin_assets.index.withdraw import withdraw
from geopin_assets.regions import in_order
from geopin_assets.store.raw import CrawlAccount


@dataclass(frozen=True, slots=True)
class Takedown:
    """Captures to take down, and where they may be."""

    capture_ids: tuple[str, ...]
    storage: Storage
    search_index: SearchIndex

    def begin(self, note: str) -> list[Trace]:
        """Put the captures on the list and remove them from the catalog; everything there was of them."""
        catalog = list(traces_in_catalog(self.storage, self.capture_ids))
        self.storage.catalog().takedowns().take_down(self.capture_ids, note=note, now=datetime.now(UTC))
        return catalog + self.traces()

    def finish(
        self, defs: dg.Definitions, instance: dg.DagsterInstance, found: Sequence[Trace]
    ) -> Iterator[LayerResult]:
        """Remove what was `found`, yielding each step's result as it ends."""
        yield self._leave_index()
        yield from self._leave_raw(instance, found)
        cell_ids = in_order({trace.cell_id for trace in found if trace.capture_id})
        if cell_ids:
            yield from run_below_raw(defs.resolve_implicit_global_asset_job_def(), instance, cell_ids)
        yield from self._leave_vectors()

    def traces(self) -> list[Trace]:
        """Everything there is of the captures now."""
        return [
            *traces_in_catalog(self.storage, self.capture_ids),
            *traces_in_raw(self.storage, self.capture_ids),
            *traces_in_vectors(self.storage, self.capture_ids),
            *traces_in_index(self.storage, self.search_index, self.capture_ids),
        ]

    def _leave_index(self) -> LayerResult:
        """Out of every version of the index and the rows beside them: no search waits for the layers."""
        result = LayerResult("search index")
        for target, owners in published(self.storage, self.search_index, self.capture_ids):
            kind = "vectors_deleted" if isinstance(target, VectorTarget) else "rows_deleted"
            try:
                result.totals[kind] += withdraw(pl.Series(list(owners)), target, self.search_index.ledger())
            except GeoPinError as error:
                _note(result, target.key, error)
        return result

    def _leave_raw(self, instance: dg.DagsterInstance, found: Sequence[Trace]) -> Iterator[LayerResult]:
        for source in sources_of(self.capture_ids):
            result = LayerResult(raw_key(source).to_user_string())
            by_cell = Counter(trace.cell_id for trace in found if trace.place == result.asset)
            for cell_id, captures in by_cell.items():
                try:
                    account = self.storage.raw().take_down(source, cell_id, self.capture_ids)
                except GeoPinError as error:
                    _note(result, cell_id, error)
                    continue
                instance.report_runless_asset_event(_materialization(account, captures))
                result.cells += 1
                result.totals["taken_down"] += captures
            if by_cell:
                yield result

    def _leave_vectors(self) -> Iterator[LayerResult]:
        """What the layers left: vectors of other models, or of this one where embedding failed."""
        result, folder = LayerResult("stored vectors"), self.storage.settings().embeddings_dir
        left = Counter[tuple[str, str]]()
        for trace in stored_vectors(folder, self.capture_ids):
            left[trace.model_id, trace.cell_id] += trace.vectors
        for (model_id, cell_id), vectors in left.items():
            try:
                take_out(folder, model_id, cell_id, self.capture_ids)
                result.totals["removed_vectors"] += vectors
            except GeoPinError as error:
                _note(result, cell_id, error)
        if left:
            yield result


def _materialization(account: CrawlAccount, captures: int) -> dg.AssetMaterialization:
    """What a crawl that knew of the takedown would have recorded."""
    return dg.AssetMaterialization(
        raw_key(account.source),
        partition=account.cell_id,
        metadata={"dagster/partition_row_count": account.captures, "taken_down": captures},
        tags={"dagster/data_version": account.data_version},
    )


def _note(result: LayerResult, where: str, error: GeoPinError) -> None:
    result.failed_count += 1
    result.failed[where] = f"{type(error).__name__}: {error}"
