"""Everything that was ever published to, brought to agree with our records and with what is wanted.

Whatever was lost (the ledger, a part of an index, rows, a database, the settings of yesterday), the stores are asked,
the ledger and the record of versions follow them, and publishing the cells that are named restores the rest. Here:
which store should hold what, the versions, and the order: vectors nobody wants leave before rows. Not here: one store
(`index/reconcile.py`), or publishing (`defs/running/restoring.py`).
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
import polars as pl

from geopin_assets.cells import pages
from geopin_assets.embedding.protocol import VIEWS, Model
from geopin_assets.errors import GeoPinError
from geopin_assets.index.batching import ROW_CAPTURES_AT_ONCE
from geopin_assets.index.heaps import Heaps, heaps_for
from geopin_assets.index.protocol import NameUsedUpError, index_name
from geopin_assets.index.publication import told
from geopin_assets.index.reconcile import WANTED, Found, compared, mended, remove
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target
from geopin_assets.index.versions import IndexVersion, State
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.index_state import desired_rows, desired_views, live_models, views_of
from geopin_assets.platform.known_stores import KnownStore, known_stores
from geopin_assets.platform.parts import SearchIndex, Storage

_SHARD = re.compile(r"(?P<version>.{1,200}-v(?P<number>\d{1,9}))(?:-s\d{1,9})?")


@dataclass(slots=True)
class Reconciled:
    """What one target of one store was found like, and what was done."""

    store: KnownStore
    table: str = ""
    """Of a database."""
    found: Found | None = None
    removed: int = 0
    error: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether it should be there and is not."""
        return not self.store.is_there and self.store.state != "unused"


@dataclass(slots=True)
class Reconciliation:
    """All of it."""

    adopted: list[IndexVersion] = field(default_factory=list)
    """Versions that our record did not know, or knew in an older state."""
    parts: list[Reconciled] = field(default_factory=list)

    def cells(self, *, of_index: bool) -> list[str]:
        """The cells whose vectors, or rows, are to be published again."""
        chosen = (part.found for part in self.parts if part.found and bool(part.store.index) == of_index)
        return sorted(set[str]().union(*(found.cells for found in chosen)))

    @property
    def is_in_order(self) -> bool:
        """True when nothing was found, and everything is there and could be asked."""
        return not self.adopted and not any(
            part.error or part.store.why_not or part.is_lost or (part.found and not part.found.is_in_order)
            for part in self.parts
        )


def reconcile(
    storage: Storage,
    search_index: SearchIndex,
    model: Model,
    *,
    is_dry: bool = False,
    max_removals: int | None = None,
) -> Reconciliation:
    """Ask every store, and make the ledger and the versions what they say; dry: only look.

    Raises StaleCatalogError, changing nothing, where the catalog cannot say what is wanted.
    """
    done, evidence = Reconciliation(), Evidence(storage, () if is_dry else search_index.metadata().parts)
    if not is_dry:
        evidence.check_catalog()
    told_by_stores = list(_told(known_stores(search_index), search_index, model))
    done.adopted = search_index.versions().news(told_by_stores)
    if not is_dry:
        search_index.versions().adopt(told_by_stores)
        _make(storage, search_index, model)
    stores, listed = known_stores(search_index), storage.takedowns().ids()
    unwanted = {"capture_id": listed, "vector_id": {id_ for capture_id in listed for id_ in views_of(capture_id)}}
    heaps = _heaps(storage, search_index, stores)
    with ExitStack() as stack:
        wanted = _wanted(storage, search_index, model, stack, heaps)
        for at, target in ((store, target) for store in stores for target in store.targets()):
            part = Reconciled(at, target.key.rpartition(":")[2] if at.database else "")
            done.parts.append(part)
            desired, down = wanted.get(target.key), unwanted[target.id_column]
            try:
                _reconcile(part, target, desired, heaps, down, search_index, is_dry, max_removals, evidence)
            except GeoPinError as error:
                part.error = f"{type(error).__name__}: {error}"
    done.parts += [Reconciled(store) for store in stores if store.why_not or not store.is_there]
    if not is_dry:
        evidence.settle()
    return done


def _make(storage: Storage, search_index: SearchIndex, model: Model) -> None:
    """What is published to exists, be it empty: what was in it is restored like anything else that is lost."""
    search_index.metadata()
    if storage.vectors(model).cell_ids():
        version = search_index.publishing(model)
        try:
            _create(search_index, version)
        except NameUsedUpError:
            _create(search_index, search_index.replaced(version))


def _create(search_index: SearchIndex, version: IndexVersion) -> None:
    for part in search_index.vectors(version).parts:
        part.create()


def _reconcile(
    part: Reconciled,
    target: Target,
    desired: Heaps | None,
    heaps: int,
    taken_down: Collection[str],
    search_index: SearchIndex,
    is_dry: bool,
    max_removals: int | None,
    evidence: Evidence,
) -> None:
    """Of what is only kept, nothing but what was taken down has to go."""
    ledger, orphans = search_index.ledger(), [pl.Series(dtype=pl.String)]
    part.found = found = Found()
    for heap in (compared if is_dry else mended)(target, ledger, desired, heaps):
        found.add(heap)
        if len(heap.orphans) and not is_dry:
            orphans.append(evidence.orphans(target, heap.orphans, heap.desired, ledger))
    if desired is None:
        there = ledger.holds(target.key, pl.Series(list(taken_down), dtype=pl.String))
        part.removed = 0 if is_dry else remove(there, found.held, target, ledger, len(there))
    elif not is_dry:
        part.removed = remove(pl.concat(orphans), found.held, target, ledger, max_removals)


def _heaps(storage: Storage, search_index: SearchIndex, stores: Sequence[KnownStore]) -> int:
    """By the largest store, as far as the ledger or the catalog knows."""
    captures, panoramas = storage.catalog().size()
    keys = [target.key for store in stores for target in store.targets()]
    return heaps_for(max([captures + (VIEWS - 1) * panoramas, *map(search_index.ledger().count, keys)]))


def _wanted(
    storage: Storage, search_index: SearchIndex, model: Model, stack: ExitStack, heaps: int
) -> dict[str, Heaps]:
    """What the version that is published to and the databases in use should hold, by key: WANTED.

    Of anything else nothing is known: it is only kept.
    """
    version, models = search_index.versions().target(model.model_id), live_models(search_index, model)
    indexes, databases = search_index.vectors(version) if version else None, search_index.metadata_parts()
    catalog, found = storage.catalog(), dict[str, Heaps]()

    def add(key: str, wanted: pl.DataFrame) -> None:
        if key not in found:
            found[key] = stack.enter_context(Heaps(heaps, WANTED))
        found[key].add(wanted)

    counts = catalog.cell_counts()
    for cell_ids in ([], *pages(sorted(counts), counts, ROW_CAPTURES_AT_ONCE)):  # those without cells are there too
        views = desired_views(storage, cell_ids, [model])
        for index, rows in indexes.split(views) if indexes else ():
            add(index.store_key, rows.select("cell_id", id="vector_id", content_hash=None))
        all_views = desired_views(storage, cell_ids, models) if len(models) > 1 else views
        for table, everything in (("vectors", all_views), ("captures", desired_rows(storage, cell_ids))):
            for store, rows in databases.split(everything):
                target = RowTarget(store, TABLES[table])
                add(target.key, target.identify(rows))
    return found


def _told(stores: Sequence[KnownStore], search_index: SearchIndex, model: Model) -> Iterator[IndexVersion]:
    """The versions of the present backend that its databases tell of; else those whose indexes are there."""
    backend = search_index.backend().key
    here = [store for store in stores if store.recorded.backend == backend and store.is_there and not store.why_not]
    names = {store.recorded.name for store in here if store.index}
    published = {version.name: version for store in here if store.database for version in _published(store)}
    found = [version for version in published.values() if names.intersection(version.shard_names())]
    yield from found
    known = {*published, *(version.name for version in search_index.versions().all())}
    named = (version for store in here if store.index and (version := _of_index(store, names, model)))
    left = {v.name: v for v in sorted(named, key=lambda v: v.number) if v.name not in known}
    is_served = any(v.state is State.SERVING for v in (*found, *search_index.versions().all()))
    for name, version in left.items():
        serves = not is_served and version.model_id == model.model_id and name == [*left][-1]
        yield IndexVersion(*_facts(version), State.SERVING if serves else State.RETIRED, version.since)


def _published(store: KnownStore) -> Iterator[IndexVersion]:
    """Nothing from a database that has no such table yet, nor what is no version; announcing leaves that out too."""
    try:
        rows = told(store.database) if store.database else None
    except GeoPinError:
        return
    told_here = () if rows is None else rows.iter_rows(named=True)  # of no rows the columns have no types
    for row in (row for row in told_here if row["version"] > 0):
        with suppress(TypeError, ValueError):
            shards, since = len(orjson.loads(row["indexes"])), datetime.fromisoformat(row["since"])
            yield IndexVersion(row["model_id"], row["version"], row["dim"], shards, State(row["state"]), since)


def _of_index(store: KnownStore, names: set[str], model: Model) -> IndexVersion | None:
    """The version that an index is (a shard) of: by our record, else by its name, if that is the present model's."""
    was, now = store.recorded, datetime.now(UTC)
    if was.model_id:
        return IndexVersion(was.model_id, was.number, was.dim, was.shards, State.RETIRED, now)
    match = _SHARD.fullmatch(was.name)
    if match is None or index_name(model.model_id, int(match["number"])) != match["version"]:
        return None
    shards = sum(name == match["version"] or name.startswith(f"{match['version']}-s") for name in names)
    return IndexVersion(model.model_id, int(match["number"]), was.dim, shards, State.RETIRED, now)


def _facts(version: IndexVersion) -> tuple[str, int, int, int]:
    return version.model_id, version.number, version.dim, version.shards
