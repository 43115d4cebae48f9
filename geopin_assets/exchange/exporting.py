"""An installation's exports: made, and rid of what is taken down at once.

A takedown is a publish of what is published already, less those captures. The catalog is not asked, and no province is
written anew but those that hold one: of the others only whose captures they are is read. It is a publish like any
other: an entry of the feed that says by when copies must follow, files that nobody names before the manifest, and
those that held the captures removed after it. Places that were exported to are remembered, so that a takedown finds
them. Not here: what else holds captures (`defs/running/takedown.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import polars as pl

from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.exchange.files import CRAWLS, TAKEDOWNS, checked, columns_of, frames_of
from geopin_assets.exchange.following import part_files
from geopin_assets.exchange.manifest import Manifest
from geopin_assets.exchange.publish import Published, finish, is_ours, publish, published, rest
from geopin_assets.exchange.snapshot import COLUMNS, Content, Snapshot, snapshot, takedowns
from geopin_assets.files.notes import read_note
from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.platform.parts import Storage

_PLACES, FILE = "publications", "places.json"


def export(storage: Storage, model: Model, cell_ids: Sequence[str], region: str, store: ObjectStore) -> Published:
    """Publish what there is of a region, or what changed since the last time.

    Raises ConfigurationError for a place among the installation's own files: some of a publication's have their names.
    """
    settings = storage.settings()
    _refuse_own(storage, store.address())
    remember(storage, store)
    with snapshot(storage, model, cell_ids, region) as there:
        done = publish(
            there,
            store,
            now=datetime.now(UTC),
            takedown_days=settings.takedown_days,
            without=settings.export_without,
        )
    withdraw(store, takedowns(storage), now=datetime.now(UTC), takedown_days=settings.takedown_days)  # since it began
    return done


def _refuse_own(storage: Storage, address: str) -> None:
    exports = storage.exports().address()
    places = [str(folder) for folder in storage.settings().folders] + [storage.settings().store]
    is_ours = any(_is_in(address, place) for place in places) and not _is_in(address, exports)
    if is_ours:
        raise ConfigurationError(f"{address} is among the installation's own files: export to {exports}, or elsewhere")


def _is_in(address: str, place: str) -> bool:
    """Whether it is the place, or below it."""
    if "://" in address or "://" in place:
        return f"{address}/".startswith(f"{place.rstrip('/')}/")
    return Path(address).resolve().is_relative_to(Path(place).resolve())


def remember(storage: Storage, store: ObjectStore) -> None:
    """That a publication is in this store."""
    address = store.address()
    address = address if "://" in address else str(Path(address).absolute())
    if address not in (storage.exports().address(), *(known := _remembered(storage))):
        storage.objects(_PLACES).put(FILE, orjson.dumps([*known, address]))


def _remembered(storage: Storage) -> list[str]:
    return read_note(storage.objects(_PLACES), FILE, lambda held: [str(address) for address in held]) or []


def places(storage: Storage) -> list[str]:
    """Addresses of wherever this installation published to."""
    own = storage.exports().address()
    return [own, *(address for address in _remembered(storage) if address != own)]


def at(storage: Storage, address: str) -> ObjectStore:
    """One of these places. Raises ConfigurationError where it cannot be any more."""
    if address == (own := storage.exports()).address():
        return own
    settings = storage.settings()
    return open_store(address, endpoint_url=settings.s3_endpoint_url, access=settings.s3)


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong with a publication of ours: files that it lacks, and such as are none of it."""

    address: str
    is_there: bool
    missing: Sequence[str]
    left: Sequence[str]
    """Of killed exports, or of one that is under way."""


def conditions(storage: Storage) -> Iterator[Condition | GeoPinError]:
    """How each publication is; an error where a place cannot be asked."""
    for address in places(storage):
        try:
            store = at(storage, address)
            _, manifest = published(store)
            there = {stored.key for stored in store.walk()}
            missing = sorted({file.key for file in manifest.files()} - there) if manifest else []
            left = [*map(str, store.left(is_ours)), *map(store.address, rest(store, manifest))]
            yield Condition(address, manifest is not None, missing, left)
        except GeoPinError as error:
            yield error


def held_in(store: ObjectStore, capture_ids: Iterable[str]) -> Mapping[str, list[str]]:
    """Province -> those of the captures that a publication holds there; nothing where there is none."""
    _, manifest = published(store)
    return _held(store, manifest, capture_ids) if manifest else {}


def _held(store: ObjectStore, manifest: Manifest, capture_ids: Iterable[str]) -> dict[str, list[str]]:
    wanted, found = pl.Series(list(capture_ids), dtype=pl.String), dict[str, list[str]]()
    for name, part in manifest.parts.items():
        for rows in columns_of(store, part.captures, ["capture_id"]):
            if ids := rows.filter(pl.col("capture_id").is_in(wanted.implode()))["capture_id"].to_list():
                found.setdefault(name, []).extend(ids)
    return found


def withdraw(store: ObjectStore, listed: pl.DataFrame, *, now: datetime, takedown_days: int) -> int:
    """Have a publication hold nothing that is `listed` (TAKEDOWNS), and its feed say so; how many captures it held.

    Nothing is written where it says all that. Raises ConflictError where another publish came first.
    """
    version, before = published(store)
    if before is None:
        return 0
    with checked(store, before.takedowns, frames_of(TAKEDOWNS)) as file:
        if listed.join(file.all(), on="capture_id", how="anti").is_empty():
            with store.at_work(is_ours):
                finish(store, before)
            return 0
    held = _held(store, before, listed["capture_id"])
    with checked(store, before.crawls, frames_of(CRAWLS)) as file:
        crawls = file.all()
    there = Snapshot(
        installation_id=before.installation_id,
        region=before.summary.region,
        cells=before.summary.cells,
        model=before.model,
        parts={name: _less(store, before, name, ids) for name, ids in held.items()},
        crawls=crawls,
        takedowns=listed,
        stays=frozenset(before.parts.keys() - held.keys()),
        withheld=before.summary.withheld,
    )
    publish(there, store, now=now, takedown_days=takedown_days, after=(version, before))
    return sum(map(len, held.values()))


def _less(store: ObjectStore, manifest: Manifest, name: str, gone: list[str]) -> Callable[[], Iterator[Content]]:
    """What is published of a province without these captures."""

    def contents() -> Iterator[Content]:
        with part_files(store, manifest, name) as (captures, vectors):
            for cell_id in captures.cells:
                items = captures.all_of(cell_id).filter(~pl.col("capture_id").is_in(gone)).select(COLUMNS.names())
                yield Content(cell_id, items, partial(vectors.of, cell_id))

    return contents
