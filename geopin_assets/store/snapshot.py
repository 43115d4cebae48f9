"""The catalog as readers elsewhere get it: a copy of the database as of one merge, and one object that says which.

    current.json                            the newest snapshot
    {generation}-{merge}-{takedowns}.duckdb it, and the one before it, which somebody may still be reading

DuckDB takes one process that writes and no reader beside it, on one machine; a snapshot is a file that nobody writes.
Here: publishing, fetching. Not here: when (weekly maintenance, `geopin catalog publish`), or merging.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from shutil import copyfile

import orjson

from geopin_assets.errors import ConfigurationError, DamagedFileError
from geopin_assets.files.atomic import replacing
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore
from geopin_assets.store.catalog import Catalog

_POINTER, _SUFFIX = "current.json", ".duckdb"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published catalog."""

    key: str
    generation: int
    """Merges that are in it."""
    made_at: str
    bytes: int


def current(objects: ObjectStore) -> Snapshot | None:
    """The newest one; None before the first."""
    try:
        return Snapshot(**orjson.loads(objects.get(_POINTER)))
    except NoSuchObjectError:
        return None
    except (TypeError, ValueError) as error:
        raise DamagedFileError(f"{objects.address(_POINTER)}: `geopin catalog publish` makes it anew") from error


def publish(
    catalog: Catalog, objects: ObjectStore, *, now: datetime | None = None, keeps_before: bool = True
) -> Snapshot:
    """Publish the catalog as it is now; nothing to do where its newest merge and takedown are out already.

    Readers see the one before until the pointer is replaced; it goes too where something in it was taken down. Raises
    ConflictError if another process publishes too.
    """
    mark = catalog.mark()
    if mark is None:
        raise ConfigurationError("there is no catalog to publish here: `geopin merge` makes it")
    before, old = None, [stored.key for stored in objects.walk() if stored.key.endswith(_SUFFIX)]
    pointer, key = objects.find(_POINTER), f"{mark.generation:010d}-{mark.merge_id[:12]}-{_down(catalog)}{_SUFFIX}"
    with suppress(DamagedFileError):
        before = current(objects)
    made = before
    if made is None or made.key != key:
        with objects.replacing(key) as path:
            catalog.copy_to(path)
            size = path.stat().st_size
        made = Snapshot(key, mark.generation, (now or datetime.now(UTC)).isoformat(timespec="seconds"), size)
        version = pointer.version if pointer else None
        objects.put(_POINTER, orjson.dumps(asdict(made)), if_absent=pointer is None, if_version=version)
    elif keeps_before:
        return made
    kept = {key, before.key if before and keeps_before else key}
    objects.delete(one for one in old if one not in kept)  # what others have begun since is theirs
    return made


def _down(catalog: Catalog) -> str:
    """What is taken down, in a word: of as many captures others may be meant."""
    ids = catalog.query("select capture_id from takedowns order by all")["capture_id"]
    return blake2b("\n".join(ids).encode(), digest_size=6).hexdigest()


def fetch(objects: ObjectStore, path: Path) -> Snapshot:
    """Put the newest one at `path`, whole or not at all. Raises ConfigurationError where none was published."""
    for _ in range(_ATTEMPTS):
        if (newest := current(objects)) is None:
            break
        try:
            with objects.as_file(newest.key) as found, replacing(path) as partial:
                copyfile(found, partial)
            return newest
        except (NoSuchObjectError, FileNotFoundError):
            continue  # two newer ones have been published meanwhile
    raise ConfigurationError(f"no catalog was published to {objects.address()}: `geopin catalog publish`")
