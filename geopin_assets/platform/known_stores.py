"""Every store that may hold something of ours, wherever it is and whatever the settings are by now.

Recorded by our registry, by the ledger or by a version, or found by asking the folder or the account what is there.
Here: which those are, what each is for, and how it is published to and read. Not here: what should be in them
(`index_state.py`) or making it so (`reconcile.py`). What cannot be asked is among them too, and says why: "nothing is
left" is never said of a store that did not answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from geopin_assets.errors import GeoPinError
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.index.registry import Recorded
from geopin_assets.index.stores import Backend
from geopin_assets.index.tables import TABLES
from geopin_assets.index.targets import RowTarget, Target, VectorTarget
from geopin_assets.platform.parts import SearchIndex

_WHICH = "set GEOPIN_CLOUDFLARE_ACCOUNT_ID and GEOPIN_CLOUDFLARE_API_TOKEN to those that were published to"
ROW_TABLES = ("vectors", "captures")
"""Tables with rows of captures, in the order in which those are removed."""


@dataclass(frozen=True, slots=True)
class KnownStore:
    """An index (or a shard of one) or a database."""

    recorded: Recorded
    state: str
    """Of an index that of its version; `in use` of a database; `unused` of what present settings do not publish to."""
    is_there: bool
    """False: the backend says that there is none of this name (dropped, or not made yet)."""
    why_not: str = ""
    """Why it cannot be asked."""
    index: VectorIndex | None = None
    database: MetadataStore | None = None

    @property
    def key(self) -> str:
        return self.recorded.key

    def targets(self) -> list[Target]:
        """What can be published to it, vectors before rows; nothing where it is not there or cannot be asked."""
        if self.index:
            return [VectorTarget(self.index)]
        return [RowTarget(self.database, TABLES[name]) for name in ROW_TABLES] if self.database else []


def known_stores(search_index: SearchIndex) -> list[KnownStore]:
    """All of them, indexes before databases. Asks each backend that was ever used for a list of what it has."""
    recorded = {store.key: store for store in _recorded(search_index)}
    states = _states(search_index)
    found: list[KnownStore] = []
    backends = search_index.backends()
    for key in dict.fromkeys([search_index.backend().key, *(store.backend for store in recorded.values())]):
        of_backend = {name: store for name, store in recorded.items() if store.backend == key}
        if (backend := backends.get(key)) is None:
            why = f"the settings name no account {key.removeprefix('cloudflare:')}: {_WHICH}"
            found += [_unasked(store, why) for store in of_backend.values()]
            continue
        try:
            found += _listed(backend, of_backend, states)
        except GeoPinError as error:
            found += [_unasked(store, f"{type(error).__name__}: {error}") for store in of_backend.values()]
    return sorted(found, key=lambda store: not store.recorded.is_index)


def _unasked(store: Recorded, why: str) -> KnownStore:
    return KnownStore(store, "unused", is_there=True, why_not=why)


def _listed(backend: Backend, recorded: dict[str, Recorded], states: dict[str, str]) -> Iterator[KnownStore]:
    """What a backend has, and what it had."""
    there: dict[str, KnownStore] = {}
    for name, dim in backend.indexes().items():
        index = backend.index(name, dim)
        store = recorded.get(index.store_key, Recorded(index.store_key, dim=dim))
        there[store.key] = KnownStore(store, states.get(store.key, "unused"), is_there=True, index=index)
    names = [*backend.databases(), *(store.name for store in recorded.values() if not store.is_index)]
    for name in dict.fromkeys(names):
        database = backend.database(name)
        if database.exists():
            store = Recorded(database.store_key)
            there[store.key] = KnownStore(store, states.get(store.key, "unused"), is_there=True, database=database)
    yield from there.values()
    gone = (store for key, store in recorded.items() if key not in there)
    yield from (KnownStore(store, states.get(store.key, "unused"), is_there=False) for store in gone)


def _recorded(search_index: SearchIndex) -> Iterator[Recorded]:
    """The registry's word last: it knows most. Makes no ledger where there is none."""
    if search_index.settings().ledger_path.exists():
        for key in search_index.ledger().stores():
            is_table = key.startswith(("sqlite:", "d1:"))
            yield Recorded(key.rpartition(":")[0] if is_table else key)
        for version in search_index.versions().all():
            for part in search_index.vectors(version).parts:
                yield Recorded(part.store_key, version.model_id, version.number, version.dim, version.shards)
    yield from (Recorded(store.store_key) for store in search_index.stores())
    yield from search_index.registry().all()


def _states(search_index: SearchIndex) -> dict[str, str]:
    states = {store.store_key: "in use" for store in search_index.stores()}
    for version in search_index.versions().all():
        states |= {part.store_key: version.state.value for part in search_index.vectors(version).parts}
    return states
