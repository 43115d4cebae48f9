"""Where captures are still to be found: raw files, catalog, vectors of every model, every version of the index.

Every place is looked at, whatever the others say: a takedown that was killed half way is finished by what is left.
The index is not asked but the ledger, which knows of every write before it happens. Not here: removing anything
(`takedown.py`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.defs.local_run import raw_key
from geopin_assets.defs.resources import SearchIndex, Storage
from geopin_assets.embedding.panorama import VIEWS
from geopin_assets.embedding.stored import stored_vectors
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target, VectorTarget


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
            yield Trace(capture_id, raw_key(source).to_user_string(), cell_id)


def traces_in_catalog(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """Captures, and images that could not be embedded."""
    for table, capture_id, cell_id in storage.catalog().find_captures(capture_ids).iter_rows():
        yield Trace(capture_id, f"catalog/{table}", cell_id)


def traces_in_vectors(storage: Storage, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In files of vectors, those of killed runs included."""
    for held in stored_vectors(storage.settings().embeddings_dir, capture_ids):
        yield Trace(held.capture_id, f"vectors of {held.model_id}", held.cell_id, held.vectors)


def traces_in_index(storage: Storage, search_index: SearchIndex, capture_ids: Sequence[str]) -> Iterator[Trace]:
    """In indexes and tables, by the ledger."""
    ledger = search_index.ledger()
    for target, owners in published(storage, search_index, capture_ids):
        claims = ledger.claims_of(target.key, pl.Series(list(owners))).select("id", "cell_id").iter_rows()
        rows = Counter((owners[id_], cell_id) for id_, cell_id in claims)
        yield from (Trace(capture_id, target.key, cell_id, n) for (capture_id, cell_id), n in rows.items())


def published(
    storage: Storage, search_index: SearchIndex, capture_ids: Sequence[str]
) -> Iterator[tuple[Target, Mapping[str, str]]]:
    """Everything that was ever published to and is still there, each with the ids it may know -> their captures.

    Versions of the index that are being built or kept are among it. Nothing is created where there is none.
    """
    if not storage.settings().ledger_path.exists():
        return
    views = {vector_id(capture_id, view): capture_id for capture_id in capture_ids for view in range(VIEWS)}
    for version in search_index.versions().all():
        yield from ((VectorTarget(part), views) for part in search_index.vectors(version).parts)
    for store in search_index.metadata().parts:
        yield RowTarget(store, TABLES["vectors"]), views
        yield RowTarget(store, TABLES["captures"]), {capture_id: capture_id for capture_id in capture_ids}


def sources_of(capture_ids: Sequence[str]) -> list[str]:
    """The sources that capture ids begin with."""
    return sorted({capture_id.partition(":")[0] for capture_id in capture_ids})
