"""Moving what a store holds to another one, and knowing that it arrived.

Here: copying, resumed where it stopped, comparing byte by byte, and what in the other store a copy would harm. Not
here: which folders belong to an installation, or that nobody writes meanwhile (`cli/move.py`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from shutil import copyfile

from geopin_assets.files.folder_store import FolderStore
from geopin_assets.files.object_store import READERS, NoSuchObjectError, ObjectStore, Stored

_CHUNK = 2**22


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not in both stores, or not the same."""

    key: str
    what: str


def copy(here: ObjectStore, there: ObjectStore) -> list[str]:
    """Copy every object that is not in the other store, or older or of another size there; which those were."""
    held = {stored.key: stored for stored in there.walk()}
    todo = [stored for stored in here.walk() if not _is_copy(held.get(stored.key), stored)]

    def one(stored: Stored) -> None:
        with here.as_file(stored.key) as source, there.replacing(stored.key) as target:
            copyfile(source, target)

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(one, todo))
    return [stored.key for stored in todo]


def _is_copy(there: Stored | None, here: Stored) -> bool:
    return there is not None and there.bytes == here.bytes and not _is_older(there, here)


def _is_older(one: Stored, other: Stored) -> bool:
    """Buckets say when in whole seconds."""
    return one.modified_at < other.modified_at.replace(microsecond=0)


def is_within(one: ObjectStore, other: ObjectStore) -> bool:
    """Whether a store is another one, or in it, by whatever name it goes."""
    return _place(one).is_relative_to(_place(other))


def _place(store: ObjectStore) -> PurePosixPath:
    return PurePosixPath(store.root.resolve() if isinstance(store, FolderStore) else store.address())


def newer(here: ObjectStore, there: ObjectStore) -> list[str]:
    """What somebody has written in the other store since: no copies, and not older than what is here."""
    held = {stored.key: stored for stored in here.walk()}
    both = ((held[stored.key], stored) for stored in there.walk() if stored.key in held)
    return [other.key for one, other in both if other.bytes != one.bytes and not _is_older(other, one)]


def surplus(here: ObjectStore, there: ObjectStore) -> list[str]:
    """What only the other store holds."""
    held = {stored.key for stored in here.walk()}
    return [stored.key for stored in there.walk() if stored.key not in held]


def differences(here: ObjectStore, there: ObjectStore) -> Iterator[Difference]:
    """Objects that are not the same in both: all of both is read."""
    keys = sorted({stored.key for store in (here, there) for stored in store.walk()})
    with ThreadPoolExecutor(READERS) as pool:
        pairs = zip(keys, pool.map(lambda key: (_digest(here, key), _digest(there, key)), keys), strict=True)
        for key, (one, other) in pairs:
            if one != other:
                what = "only there" if one is None else "not there" if other is None else "with other content"
                yield Difference(key, what)


def _digest(store: ObjectStore, key: str) -> str | None:
    hashed = blake2b(digest_size=16)
    try:
        with store.as_file(key) as path, path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    except NoSuchObjectError:
        return None
    return hashed.hexdigest()
