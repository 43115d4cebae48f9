"""Taking captures down: out of the catalog, the raw files, the vectors and the index, within one run.

Here: where captures are still to be found, and the order in which they leave. The list comes first, so that whatever
happens afterwards nothing comes back; then what searches see; then the layers of the affected cells, so that every
partition is recorded as it is now. Every place is looked at, whatever the others say: repeating finishes what was
killed or failed. Every index and database that was ever published to is asked itself: the ledger may be lost or old.
Not here: the list that keeps captures away from then on (`store/takedowns.py`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from geopin_assets.cells import left_grid
from geopin_assets.defs.graph import EMBEDDINGS, EXCHANGE
from geopin_assets.defs.running.local_run import LayerResult, raw_key, run_below_raw
from geopin_assets.embedding.stored_vectors import stored_vectors, take_out
from geopin_assets.errors import GeoPinError, PermanentError
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import LEAVING, held, withdraw
from geopin_assets.index.targets import Target
from geopin_assets.platform.index_state import views_of
from geopin_assets.platform.known_stores import KnownStore, known_stores
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.regions import in_order
from geopin_assets.store.accounts import CrawlAccount

_MAP = "layers/captures.pmtiles"


@dataclass(frozen=True, slots=True)
class Trace:
    """So many rows of a capture in a cell of a place. No capture: a file that cannot be read, it may hold any."""

    capture_id: str | None
    place: str
    cell_id: str
    rows: int = 1


def traces_in_raw(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In crawled files, merged or not."""
    for source in sources_of(capture_ids):
        for cell_id, capture_id in storage.raw().find_captures(source, capture_ids):
            yield Trace(capture_id, raw_key(source), cell_id)


def traces_in_catalog(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """Captures, and images that could not be embedded."""
    for table, capture_id, cell_id in storage.catalog().find_captures(capture_ids).iter_rows():
        yield Trace(capture_id, f"catalog/{table}", cell_id)


def traces_in_vectors(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In files of vectors, those of killed runs included."""
    for stored in stored_vectors(storage.embeddings(), capture_ids):
        yield Trace(stored.capture_id, f"vectors of {stored.model_id}", stored.cell_id, stored.vectors)


def traces_in_features(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In what `locate` keeps of references."""
    from geopin_assets.locate.features import of_captures

    for capture_id, views in of_captures(storage.settings().data_dir, capture_ids).items():
        yield Trace(capture_id, "points of references", "", views)


def traces_in_publications(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In what was exported, wherever to."""
    from geopin_assets.exchange.exporting import at, held_in, places

    for address in places(storage):
        try:
            for ids in held_in(at(storage, address), capture_ids).values():
                yield from (Trace(capture_id, address, "") for capture_id in ids)
        except GeoPinError as error:
            yield Trace(None, f"{address} ({type(error).__name__}: {error})", "", 0)


def traces_in_index(storage: Storage, search_index: SearchIndex, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In indexes and tables, as they say themselves; one that cannot be asked may hold any."""
    ledger = search_index.ledger()
    for store in known_stores(search_index):
        if store.why_not:
            yield Trace(None, f"{store.key} ({store.why_not})", "", 0)
            continue
        try:
            for target, owners in _owners(store, capture_ids):
                yield from _traces_in_store(target, owners, ledger)
        except GeoPinError as error:
            yield Trace(None, f"{store.key} ({type(error).__name__}: {error})", "", 0)


def _traces_in_store(target: Target, owners: Mapping[str, str], ledger: Ledger) -> Iterator[Trace]:
    """What it holds, in the cells that the ledger knows for it."""
    ids = pl.Series(list(owners))
    cells = {id_: cell_id for id_, cell_id, _ in ledger.claims_of(target.key, ids).iter_rows() if cell_id != LEAVING}
    found = {*held(ids, target)["id"], *cells}
    rows = Counter((owners[id_], cells.get(id_, "")) for id_ in owners if id_ in found)
    yield from (Trace(capture_id, target.key, cell_id, n) for (capture_id, cell_id), n in rows.items())


def _owners(store: KnownStore, capture_ids: Sequence[str]) -> Iterator[tuple[Target, Mapping[str, str]]]:
    """What a store may be holding of the captures: ids of each of its targets -> capture."""
    views = {view: capture_id for capture_id in capture_ids for view in views_of(capture_id)}
    for target in store.targets():
        yield target, {id_: id_ for id_ in capture_ids} if target.id_column == "capture_id" else views


def sources_of(capture_ids: Sequence[str]) -> list[str]:
    """The sources that capture ids begin with."""
    return sorted({capture_id.partition(":")[0] for capture_id in capture_ids})


@dataclass(frozen=True, slots=True)
class Takedown:
    """Captures to take down, and where they may be."""

    capture_ids: tuple[str, ...]
    storage: Storage
    search_index: SearchIndex

    def begin(self, note: str) -> list[Trace]:
        """Put the captures on the list, before anything else; everything there is of them."""
        self.storage.takedowns().take_down(self.capture_ids, note=note, now=datetime.now(UTC))
        return self.traces()

    def finish(
        self, defs: dg.Definitions, instance: dg.DagsterInstance, found: Sequence[Trace]
    ) -> Iterator[LayerResult]:
        """Remove what was `found`, yielding each step's result as it ends."""
        left = self._leave_index()
        failed = list(self._leave_catalog())
        yield left
        yield from failed
        yield from self._leave_publications()
        yield from self._leave_raw(instance, found)
        if cell_ids := self._touched(found):
            yield from run_below_raw(defs.resolve_implicit_global_asset_job_def(), instance, cell_ids)
        yield from self._leave_vectors()
        yield from self._leave_reports(was_shown=bool(cell_ids))

    def _touched(self, found: Sequence[Trace]) -> Sequence[str]:
        """The cells whose layers are to follow. Of a takedown that was killed there may be no trace but tombstones."""
        cell_ids = {trace.cell_id for trace in found if trace.capture_id and trace.cell_id}
        with suppress(GeoPinError):  # which `_leave_catalog` has told
            cell_ids.update(self.storage.catalog().cells_of(self.capture_ids))
        return in_order(cell_ids.difference(left_grid(cell_ids)))

    def traces(self) -> list[Trace]:
        """Everything there is of the captures now, whatever cannot be looked into."""
        places = {
            "catalog": traces_in_catalog(self.storage, self.capture_ids),
            "raw": traces_in_raw(self.storage, self.capture_ids),
            "vectors": traces_in_vectors(self.storage, self.capture_ids),
            "points of references": traces_in_features(self.storage, self.capture_ids),
            "publications": traces_in_publications(self.storage, self.capture_ids),
            "index": traces_in_index(self.storage, self.search_index, self.capture_ids),
        }
        return [trace for place, traces in places.items() for trace in _whatever(place, traces)]

    def _leave_index(self) -> LayerResult:
        """Out of every version of the index and the rows beside them: no search waits for the layers."""
        from geopin_assets.locate.features import of_captures

        result = LayerResult("search index")
        for store in known_stores(self.search_index):
            try:
                self._leave_store(store, result)
            except GeoPinError as error:
                _note(result, store.key, error)
        result.totals["points_deleted"] += sum(
            of_captures(self.storage.settings().data_dir, self.capture_ids, forget=True).values()
        )
        return result

    def _leave_catalog(self) -> Iterator[LayerResult]:
        """Out of the catalog, and the list into all its copies; nothing to show unless it failed."""
        from geopin_assets.store.snapshot import current, publish

        try:
            self.storage.catalog().apply_takedowns()
            if current(snapshots := self.storage.snapshots()):  # copies that somebody could still fetch
                publish(self.storage.catalog(), snapshots, keeps_before=False)
        except GeoPinError as error:
            result = LayerResult("catalog and list")
            _note(result, "catalog", error)
            yield result

    def _leave_store(self, store: KnownStore, result: LayerResult) -> None:
        if store.why_not:
            raise PermanentError(store.why_not)
        for target, owners in _owners(store, self.capture_ids):
            kind = "vectors_deleted" if store.index else "rows_deleted"
            result.totals[kind] += withdraw(pl.Series(list(owners)), target, self.search_index.ledger())

    def _leave_publications(self) -> Iterator[LayerResult]:
        """Out of what others may take: their feeds say so with an entry of their own."""
        from geopin_assets.exchange.exporting import at, places, withdraw
        from geopin_assets.exchange.manifest import MANIFEST
        from geopin_assets.exchange.snapshot import takedowns

        result, days = LayerResult("publications"), self.storage.settings().takedown_days
        for address in places(self.storage):
            try:
                if not (store := at(self.storage, address)).has(MANIFEST):
                    continue
                with self.storage.leases().held(EXCHANGE, what="takedown"):
                    held = withdraw(store, takedowns(self.storage), now=datetime.now(UTC), takedown_days=days)
                result.totals.update({"withdrawn": held} if held else {})
            except GeoPinError as error:
                _note(result, address, error)
        if result.totals or result.failed:
            yield result

    def _leave_raw(self, instance: dg.DagsterInstance, found: Sequence[Trace]) -> Iterator[LayerResult]:
        for source in sources_of(self.capture_ids):
            result = LayerResult(raw_key(source))
            by_cell = Counter(trace.cell_id for trace in found if trace.place == result.asset)
            for cell_id, captures in by_cell.items():
                try:
                    with self.storage.leases().held(result.asset, [cell_id], what="takedown"):
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
        result, objects = LayerResult("stored vectors"), self.storage.embeddings()
        left = Counter[tuple[str, str]]()
        for trace in stored_vectors(objects, self.capture_ids):
            left[trace.model_id, trace.cell_id] += trace.vectors
        for (model_id, cell_id), vectors in left.items():
            try:
                with self.storage.leases().held(EMBEDDINGS, [cell_id], what="takedown"):
                    take_out(objects, model_id, cell_id, self.capture_ids)
                result.totals["removed_vectors"] += vectors
            except GeoPinError as error:
                _note(result, cell_id, error)
        if left:
            yield result

    def _leave_reports(self, *, was_shown: bool) -> Iterator[LayerResult]:
        """Out of what shows single captures: doubts, and the map of all, which the next report makes anew."""
        from geopin_assets.locate.outliers import FILE as DOUBTED
        from geopin_assets.locate.outliers import forget
        from geopin_assets.locate.outliers_page import FILE, page

        result, reports = LayerResult("reports"), self.storage.quality()
        try:
            if reports.has(DOUBTED):
                with reports.as_folder(DOUBTED) as folder:
                    left = forget(folder, self.capture_ids)
                if left is not None:
                    reports.put(FILE, page(left).encode())
                    result.totals["reports_changed"] += 1
            if was_shown and reports.has(_MAP):
                reports.delete([_MAP])
                result.totals["reports_changed"] += 1
        except GeoPinError as error:
            _note(result, "reports", error)
        if result.totals or result.failed:
            yield result


def _materialization(account: CrawlAccount, captures: int) -> dg.AssetMaterialization:
    """What a crawl that knew of the takedown would have recorded."""
    return dg.AssetMaterialization(
        raw_key(account.source).split("/"),
        partition=account.cell_id,
        metadata={"dagster/partition_row_count": account.captures, "taken_down": captures},
        tags={"dagster/data_version": account.data_version},
    )


def _note(result: LayerResult, where: str, error: GeoPinError) -> None:
    result.failed_count += 1
    result.failed[where] = f"{type(error).__name__}: {error}"


def _whatever(place: str, traces: Iterator[Trace]) -> Iterator[Trace]:
    try:
        yield from traces
    except GeoPinError as error:
        yield Trace(None, f"{place} ({type(error).__name__}: {error})", "", 0)
