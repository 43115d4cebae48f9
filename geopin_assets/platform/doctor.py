"""Is everything that this installation keeps still there, readable, and of one piece? What is not, with its remedy.

Looks, and changes nothing: the disk and the clock, the list of takedowns, the catalog, raw files, vectors, the ledger,
and every store that was ever published to. Here: what is looked at, and what is said. Not here: mending (the remedies
are commands), Dagster's own files (`cli/doctor.py` asks them), or judging what was crawled (the checks in the UI).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import chain, islice
from pathlib import Path
from shutil import disk_usage

from geopin_assets.errors import DamagedFileError, GeoPinError
from geopin_assets.files import parquet
from geopin_assets.files.disk import damaged_files, files_dated_after, partial_files
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore
from geopin_assets.files.postgres import shared_database
from geopin_assets.files.sqlite import complaints
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.known_stores import ROW_TABLES, KnownStore, known_stores
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.settings import Settings
from geopin_assets.store.accounts import Unknown

LEAST_FREE_BYTES = 2 * 2**30
LEAST_FREE_SHARE = 0.05
CLOCK_TOLERANCE = timedelta(minutes=5)
_ABANDONED_AFTER = timedelta(days=1)
_NAMED = 3
_NEEDED = ("serving", "building", "in use")


class State(StrEnum):
    """How bad it is: a warning can wait for the next maintenance, an error cannot."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy`: the command or act that mends it, empty where nothing is wrong."""

    what: str
    state: State
    detail: str
    remedy: str = ""


Look = Callable[[], Iterator[Finding]]


def examine(storage: Storage, search_index: SearchIndex, *, is_deep: bool = False) -> Iterator[Finding]:
    """Everything, thing by thing; what cannot even be looked at is an error of its own and stops nothing.

    Deep: every page of every file is read and checked, not just its end.
    """
    settings, now = storage.settings(), datetime.now(UTC)
    files = partial(_parquet, is_deep=is_deep)
    looks: dict[str, Look] = {
        "disk": partial(_disk, settings.data_dir),
        "clock": partial(_clock, storage, now),
        "takedowns": partial(_takedowns, storage),
        "catalog": partial(_catalog, storage, search_index),
        "raw files": partial(files, "raw files", storage.raw().objects, "those cells are crawled again"),
        "captures by cell": partial(files, "captures by cell", storage.cells().objects, "they are written anew"),
        "vectors": partial(files, "vectors", storage.embeddings(), "those cells are embedded again"),
        "ledger": partial(_database, "ledger", settings.ledger_path, "move it away, then geopin reconcile"),
        "daily use": partial(_daily_use, settings),
        "published": partial(_published, settings, is_deep=is_deep),
        "stores": partial(_stores, search_index),
        "leftovers": partial(_leftovers, settings.folders, now),
    }
    for what, look in looks.items():
        try:
            yield from look()
        except GeoPinError as error:
            yield Finding(what, State.ERROR, f"{type(error).__name__}: {error}", "see the message")


def _disk(folder: Path) -> Iterator[Finding]:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    space = disk_usage(there)
    detail = f"{space.free / 2**30:.1f} GB free, {space.free / space.total:.0%}"
    if not os.access(there, os.W_OK):
        yield Finding("disk", State.ERROR, f"{there} may not be written", "let this user write there")
    elif space.free < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * space.total):
        yield Finding("disk", State.ERROR, detail, "free some space: what is written then fails, and is repeated later")
    else:
        yield Finding("disk", State.OK, detail)


def _clock(storage: Storage, now: datetime) -> Iterator[Finding]:
    ahead = list(islice(files_dated_after(storage.settings().data_dir, now + CLOCK_TOLERANCE), 1000))
    crawls = storage.raw().crawls().filter(unknown=str(Unknown.AHEAD)).height
    if crawls:
        yield Finding("clock", State.WARNING, f"{crawls} crawls say a time that has not come yet", "crawl them again")
    if ahead:
        detail = f"{len(ahead)} files are dated after now, e.g. {_named(ahead)}"
        yield Finding("clock", State.WARNING, detail, "set the clock; nothing is ordered by it, but ages are wrong")
    elif not crawls:
        yield Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M} UTC, nothing is dated later")


def _takedowns(storage: Storage) -> Iterator[Finding]:
    try:
        count = len(storage.takedowns().ids())
    except DamagedFileError as error:
        yield Finding("takedowns", State.ERROR, str(error), "geopin takedown --mend")
        return
    yield Finding("takedowns", State.OK, f"{count} on the list")


def _catalog(storage: Storage, search_index: SearchIndex) -> Iterator[Finding]:
    path, raw = storage.settings().catalog_path, storage.raw()
    if not path.exists():
        is_first = not any(raw.objects.look(source)[1] for source in raw.objects.look()[0])
        state, remedy = (State.OK, "") if is_first else (State.ERROR, "geopin merge")
        yield Finding("catalog", state, "there is none" + (" yet" if is_first else ", but there are raw files"), remedy)
        return
    try:
        captures, panoramas = storage.catalog().size()
    except DamagedFileError as error:
        yield Finding("catalog", State.ERROR, str(error), f"mv {path} {path}.damaged, then geopin merge")
        return
    in_use = [store.database for store in _known(search_index) if store.database and store.state == "in use"]
    doubts = list(Evidence(storage, in_use).doubts())
    yield from (Finding("catalog", State.ERROR, doubt, _remedy_in(doubt)) for doubt in doubts)
    if not doubts:
        yield Finding("catalog", State.OK, f"{captures} captures, {panoramas} of them panoramas")


def _remedy_in(doubt: str) -> str:
    return "geopin reconcile" if "`geopin reconcile`" in doubt else "geopin merge"


def _parquet(what: str, objects: ObjectStore, remedy: str, *, is_deep: bool) -> Iterator[Finding]:
    def is_damaged(key: str) -> bool:
        try:
            if is_deep:
                with objects.as_file(key) as path:
                    parquet.check(path)
            else:
                parquet.metadata_of(objects, key)
        except DamagedFileError:
            return True
        except NoSuchObjectError:
            return False  # replaced meanwhile
        return False

    keys = [stored.key for stored in objects.walk() if stored.key.endswith(".parquet")]
    with ThreadPoolExecutor(objects.readers) as pool:
        damaged = [key for key, is_so in zip(keys, pool.map(is_damaged, keys), strict=True) if is_so]
    count = len(keys)
    if damaged:
        detail = f"{len(damaged)} of {count} files are damaged, e.g. {_named(damaged)}"
        yield Finding(what, State.ERROR, detail, f"geopin run over them, or wait: when they are next read, {remedy}")
    else:
        yield Finding(what, State.OK, f"{count} files" + (", every page of them" if is_deep else ""))


def _database(what: str, path: Path, remedy: str) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(what, State.OK, "there is none yet")
        return
    try:
        said = complaints(path)
    except GeoPinError as error:  # it may be sound: where a disk is full nobody can tell
        yield Finding(what, State.ERROR, str(error), "see the message")
        return
    if said:
        yield Finding(what, State.ERROR, f"{path}: {'; '.join(said)[:300]}", remedy)
    else:
        yield Finding(what, State.OK, path.name)


def _published(settings: Settings, *, is_deep: bool) -> Iterator[Finding]:
    """Every page of what publishing keeps here."""
    from geopin_assets.platform.damaged import damaged

    for path, why in damaged(settings) if is_deep else ():
        yield Finding(path.name, State.ERROR, why[:300], "geopin reconcile")


def _daily_use(settings: Settings) -> Iterator[Finding]:
    """Raises TransientError where several machines share a Postgres and it does not answer."""
    if settings.postgres_url:
        ahead_s = shared_database(settings.postgres_url).now_s() - time.time()
        said = (
            f"in Postgres, whose clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
        )
        yield Finding("daily use", State.OK, said)
        return
    yield from _database("daily use", settings.daily_use_path, "the next request makes it anew")


def sqlite_files(paths: Iterable[Path], remedy: str) -> Iterator[Finding]:
    """Of databases that are not ours."""
    return chain.from_iterable(_database(path.name, path, remedy) for path in paths)


def _known(search_index: SearchIndex) -> list[KnownStore]:
    settings = search_index.settings()
    is_anything = settings.ledger_path.exists() or settings.publishes_to_cloudflare or settings.index_dir.exists()
    return known_stores(search_index) if is_anything else []


def _stores(search_index: SearchIndex) -> Iterator[Finding]:
    """Counts only: `geopin reconcile --dry-run` compares id by id."""
    ledger = search_index.ledger() if search_index.settings().ledger_path.exists() else None
    stores = _known(search_index)
    for store in stores:
        if store.why_not:
            yield Finding(store.key, State.ERROR, f"cannot be asked: {store.why_not}", "see the message, then again")
            continue
        for target in store.targets() if store.is_there else ():
            claimed, held = ledger.count(target.key) if ledger else 0, target.count()
            if claimed == held:
                yield Finding(target.key, State.OK, f"{held} in it ({store.state})")
            else:
                detail = f"it holds {held}, and the ledger knows of {claimed}"
                yield Finding(target.key, State.ERROR, detail, "geopin reconcile")
        known = [store.key, *(f"{store.key}:{table}" for table in ROW_TABLES)]
        if not store.is_there and store.state in _NEEDED and ledger and any(map(ledger.count, known)):
            yield Finding(store.key, State.ERROR, "gone, and the ledger knows of what was in it", "geopin reconcile")
    if not stores:
        yield Finding("stores", State.OK, "nothing was published yet")


def _leftovers(folders: Sequence[Path], now: datetime) -> Iterator[Finding]:
    partial_ones = [path for one in folders for path in partial_files(one, now - _ABANDONED_AFTER)]
    aside = [path for one in folders for path in damaged_files(one, now + CLOCK_TOLERANCE)]
    if aside:
        detail = f"{len(aside)} damaged files were set aside, e.g. {_named(aside)}"
        yield Finding("set aside", State.WARNING, detail, "test the disk; the job `maintenance` removes them in time")
    if partial_ones:
        detail = f"{len(partial_ones)} files of killed runs, e.g. {_named(partial_ones)}"
        yield Finding("leftovers", State.WARNING, detail, "the job `maintenance` removes them")
    if not aside and not partial_ones:
        yield Finding("leftovers", State.OK, "none")


def _named(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items[:_NAMED])
