"""The published index against what it must hold: which vectors and rows, what a version lacks, when searches switch.

The index of a model must hold its vectors of the captures that the catalog holds in that very cell. Which captures it
does without (`store/thinning.py`) whoever embeds knows: they have rows, and vectors only until others stand for them.
Not here: our record of versions (`index/versions.py`), publishing (`assets/publish.py`) or judging
(`assets/integrity.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.cells import cell_block, pages
from geopin_assets.embedding.protocol import VIEWS, Model
from geopin_assets.errors import TransientError
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE, Frames
from geopin_assets.index.covering import boxes_around, cells_around, covered_by
from geopin_assets.index.protocol import MetadataStore, vector_schema
from geopin_assets.index.publication import announce, told
from geopin_assets.index.publish import Keep
from geopin_assets.index.sync import Wanted, sampled_sync_report
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target, VectorTarget
from geopin_assets.index.versions import IndexVersion, State
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.sources import SOURCES

if TYPE_CHECKING:
    from geopin_assets.store.catalog import Catalog

MayReplace = Callable[[Storage, SearchIndex, IndexVersion, IndexVersion], bool]
"""Whether the version that searches use may give way to a complete one of another model."""
_PUBLISHED = ["vector_id", "capture_id", "source", "embedding"]


def views_of(capture_id: str) -> list[str]:
    """Every id that a vector of a capture may have."""
    return [vector_id(capture_id, view) for view in range(VIEWS)]


def wanted_ids(storage: Storage, cell_ids: Sequence[str], model: Model) -> pl.DataFrame:
    """Vectors that the index of a model must hold for these cells: id, cell_id."""
    return desired_views(storage, cell_ids, [model]).select("cell_id", id="vector_id")


def stale_publications(search_index: SearchIndex) -> list[str]:
    """The databases that do not say of the versions what our record says: a switch or a publish was killed."""
    ours = {version.name: version.state.value for version in search_index.versions().all()}
    stores = search_index.metadata().parts
    return [store.name for store in stores if dict(told(store).select("index_name", "state").iter_rows()) != ours]


def desired_rows(storage: Storage, cell_ids: Sequence[str]) -> pl.DataFrame:
    """The captures of cells as the metadata shows them: the catalog's columns, `thumbnail_url` and `covered_by`."""
    catalog = storage.catalog()
    with catalog.kept_open():
        return _shown(catalog, catalog.captures(cell_ids))


def rows_beside(storage: Storage, cell_ids: Sequence[str]) -> pl.DataFrame:
    """The captures of other cells for which it matters what is in these, in the same way."""
    others, catalog = sorted({*cells_around(cell_ids)} - {*cell_ids}), storage.catalog()
    with catalog.kept_open():
        return _shown(catalog, catalog.captures(others, within=boxes_around(cell_ids)))


def _shown(catalog: "Catalog", captures: pl.DataFrame) -> pl.DataFrame:
    address = pl.col("image_url").str.split("#").list.first().str  # without the one to try after it
    is_plain = address.starts_with("http") & ~address.contains("[?#@]")  # nothing signed, and no key
    shown = [
        pl.when(is_plain, pl.col("source") == source.name).then(address.replace(*source.thumbnail))
        for source in SOURCES
        if source.thumbnail
    ]
    around = catalog.wanted(cells_around(captures["cell_id"].unique()), ("source", "lon", "lat"))
    return captures.with_columns(thumbnail_url=pl.coalesce(*shown, None), covered_by=covered_by(captures, around))


def desired_views(storage: Storage, cell_ids: Sequence[str], models: Iterable[Model]) -> pl.DataFrame:
    """What the metadata says of vectors: those of every model that is searched or about to be.

    Ids and bearings of a capture's views do not depend on the model. Columns vector_id, capture_id, view,
    heading_deg, cell_id.
    """
    columns = ["vector_id", "capture_id", "view", "heading_deg"]
    stored = pl.concat([_stored(storage, cell_ids, model, columns) for model in models])
    places = storage.catalog().places(cell_ids)
    return stored.join(places, on=["capture_id", "cell_id"]).unique("vector_id", keep="first", maintain_order=True)


def desired_vectors(storage: Storage, cell_ids: Sequence[str], model: Model) -> Frames:
    """Vectors of one model for the captures that the index should hold of these cells: `vector_schema` and `cell_id`.

    As they are now: a file that is replaced afterwards is read on as it was, because what is sent must be what the
    ledger says was sent. A frame is a row group, 16 MB.
    """
    files, schema = storage.vectors(model), vector_schema(model.dim)
    stored = {cell_id: files.cell(cell_id).snapshot(_PUBLISHED) for cell_id in cell_ids}
    places = (
        storage.catalog()
        .captures(cell_ids, columns=("capture_id", "cell_id", "captured_at"))
        .select("capture_id", "cell_id", captured_year=pl.col("captured_at").dt.year().cast(pl.Int32))
        .partition_by("cell_id", as_dict=True)
    )

    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame(schema=schema | {"cell_id": pl.String()})
        for (cell_id,), of_cell in places.items():
            block = pl.lit(cell_block(cell_id)).alias("cell_block")
            for rows in stored[cell_id]():
                joined = rows.join(of_cell, on="capture_id").with_columns(block)
                yield joined.select(*schema, "cell_id").cast({"embedding": schema["embedding"]})

    return frames


def _stored(storage: Storage, cell_ids: Sequence[str], model: Model, columns: list[str]) -> pl.DataFrame:
    """Columns of these cells' vectors, and the cell they are stored in.

    A capture that moved is still in the file of its old cell until that is embedded again.
    """
    return storage.vectors(model).rows(cell_ids, columns)


@dataclass(frozen=True, slots=True)
class Lacking:
    """What keeps a version from being complete, of some cells."""

    not_embedded: int = 0
    """Wanted captures without a vector of the model; those whose image cannot be had do not count."""
    not_published: int = 0
    """Vectors that the ledger does not know to be in the index."""
    wanted: Counter[str] = field(default_factory=Counter)
    """How many vectors each cell wants there."""

    @property
    def is_nothing(self) -> bool:
        return not (self.not_embedded or self.not_published)

    def __add__(self, other: "Lacking") -> "Lacking":
        return Lacking(
            self.not_embedded + other.not_embedded,
            self.not_published + other.not_published,
            self.wanted + other.wanted,
        )


def lacking(
    storage: Storage, search_index: SearchIndex, version: IndexVersion, model: Model, *, is_all: bool = True
) -> Lacking:
    """Compare a version with the catalog and the vectors of its model, some cells at a time.

    Asks the ledger, not the index. Not `is_all`: only until something is lacking.
    """
    catalog, ledger, found = storage.catalog(), search_index.ledger(), Lacking()
    parts, counts = search_index.vectors(version).parts, catalog.cell_counts()
    for cell_ids in pages(sorted(counts), counts, ROW_CAPTURES_AT_ONCE):
        desired = desired_views(storage, cell_ids, [model])
        bare = catalog.with_images(cell_ids).join(desired, on="capture_id", how="anti")
        there = pl.concat([ledger.claims(part.store_key, cell_ids) for part in parts]).drop_nulls("content_hash")
        missing = desired.join(there, left_on=["vector_id", "cell_id"], right_on=["id", "cell_id"], how="anti")
        found += Lacking(bare.height, missing.height, Counter(dict(desired.group_by("cell_id").len().iter_rows())))
        if not (is_all or found.is_nothing):
            break
    return found


def switch_when_complete(
    storage: Storage, search_index: SearchIndex, model: Model, may_replace: MayReplace | None = None
) -> IndexVersion | None:
    """Let searches use the version of this model that is being built, if it is complete and reads back right.

    Where it is of another model than the one they use, `may_replace` is asked for its consent. Returns the version
    then. Raises TransientError when it should be complete and reads back wrong.
    """
    versions, ledger = search_index.versions(), search_index.ledger()
    version = versions.building(model.model_id)
    if version is None or _has_bare_cells(storage, search_index, version):
        return None
    lacks = lacking(storage, search_index, version, model, is_all=False)
    if not lacks.is_nothing:
        return None
    serving = versions.serving()
    is_new_model = serving is not None and serving.model_id != version.model_id
    if may_replace and serving and is_new_model and not may_replace(storage, search_index, serving, version):
        return None
    for part, counts in search_index.vectors(version).split_counts(lacks.wanted):
        wanted = Wanted(counts, lambda cell_ids: wanted_ids(storage, cell_ids, model))
        report, surplus = (
            sampled_sync_report(wanted, ledger, VectorTarget(part)),
            counts != ledger.counts(part.store_key),
        )
        if surplus or report.missing or report.surplus or report.mismatched:
            raise TransientError(f"{part.name} is not what it should be, searches go on using the old one: {report}")
    return switch_to(search_index, version)


def switch_to(search_index: SearchIndex, version: IndexVersion) -> IndexVersion | None:
    """Let searches use a version as it is; nothing is compared. What they use then."""
    versions = search_index.versions()
    with _changing_versions(search_index):
        versions.switch(version, datetime.now(UTC))
    return versions.serving()


def _changing_versions(search_index: SearchIndex) -> AbstractContextManager[object]:
    """Nobody drops a version while another process lets searches use it."""
    return search_index.leases().held("versions of the index")


def _has_bare_cells(storage: Storage, search_index: SearchIndex, version: IndexVersion) -> bool:
    """Whether a cell with images has nothing in a version yet: then ids need not be compared to know it incomplete."""
    ledger = search_index.ledger()
    there = {cell for part in search_index.vectors(version).parts for cell in ledger.counts(part.store_key)}
    return not there.issuperset(storage.catalog().cells_with_images())


def live_models(search_index: SearchIndex, model: Model) -> list[Model]:
    """The models whose vectors are searched or about to be, this one first."""
    kept = [v for v in search_index.versions().all() if v.state in (State.SERVING, State.BUILDING)]
    others = {v.model_id: Model(v.model_id, v.dim, is_place_recognition=True) for v in kept}
    others.pop(model.model_id, None)
    return [model, *others.values()]


def searched(search_index: SearchIndex, model: Model) -> Keep:
    """Which rows must stay because a vector of theirs is in the version that this model is published to."""
    version, ledger = search_index.versions().target(model.model_id), search_index.ledger()
    keys = [part.store_key for part in search_index.vectors(version).parts] if version else []

    def keep(target: Target, ids: pl.Series) -> pl.Series:
        is_of_captures = target.id_column == "capture_id"
        owners = {view: id_ for id_ in ids for view in (views_of(id_) if is_of_captures else [id_])}
        held = (id_ for key in keys for id_ in ledger.holds(key, pl.Series(list(owners), dtype=pl.String)))
        return pl.Series(list({owners[id_] for id_ in held}), dtype=pl.String)

    return keep


def announce_versions(
    storage: Storage, search_index: SearchIndex, model: Model, unused: Sequence[MetadataStore] = ()
) -> list[str]:
    """Tell searchers, in every database, which index to use and what is in it; the databases that said otherwise."""
    _make_empty_shards(search_index)
    held = storage.catalog().licenses().group_by("source").agg(pl.col("captures").sum())
    about = pl.DataFrame([{"source": s.name, "title": s.title, "homepage": s.homepage} for s in SOURCES])
    return announce(
        search_index.metadata().parts,
        about.join(held, on="source", how="left").with_columns(pl.col("captures").fill_null(0)),
        {version: published_count(search_index, version) for version in search_index.versions().all()},
        captures=int(held["captures"].sum()),
        embedder=model.label,
        now=datetime.now(UTC),
        installation_id=storage.takedowns().installation_id(),
        unused=unused,
    )


def _make_empty_shards(search_index: SearchIndex) -> None:
    """Whoever searches asks every index that it is told of, also one that no vector belongs to yet."""
    ledger, version = search_index.ledger(), search_index.versions().serving()
    for part in search_index.vectors(version).parts if version else ():
        if not ledger.count(part.store_key):
            part.create()


def drop_version(search_index: SearchIndex, version: IndexVersion) -> None:
    """Delete a version's vectors, and forget it. Raises ConfigurationError for the one that searches use."""
    versions, backend, ledger = search_index.versions(), search_index.backend(), search_index.ledger()
    parts = search_index.vectors(version).parts
    with _changing_versions(search_index), ledger.turn(*(part.store_key for part in parts)):
        versions.check_may_drop(version)
        for part in parts:
            backend.drop_index(part.name)
            ledger.forget(part.store_key)
        versions.drop(version, datetime.now(UTC))


def published_count(search_index: SearchIndex, version: IndexVersion) -> int:
    """Vectors of a version, by the ledger."""
    return sum(search_index.ledger().count(part.store_key) for part in search_index.vectors(version).parts)


def published_rows(search_index: SearchIndex) -> int:
    """Captures in the metadata, by the ledger."""
    ledger, table = search_index.ledger(), TABLES["captures"]
    return sum(ledger.count(RowTarget(store, table).key) for store in search_index.stores())
