"""`geopin move`: what is in the store of this installation, to another folder or bucket, or back.

The catalog, the ledger, the embedded index and Dagster's history stay where they are: the first can be made again
from what is moved. Not here: copying and comparing (`files/moving.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from geopin_assets.cli.console import console
from geopin_assets.defs.graph import GRAPH
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.lease import StillHeldError
from geopin_assets.files.moving import copy, differences, surplus
from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.platform.parts import Storage
from geopin_assets.settings import Settings

FOLDERS = ("raw", "captures", "embeddings", "failures", "quality", "exports", "catalog")
"""What an installation keeps in its store."""
_SHOWN = 10


def move_and_report(settings: Settings, to: str, *, exactly: bool) -> int:
    """Copy, then compare; exit code 1 where something differs at the end."""
    storage = Storage()
    there = open_store(to, endpoint_url=settings.s3_endpoint_url, access=settings.s3)
    if there.address() == storage.objects().address():
        raise ConfigurationError(f"{to}: the store is there already")
    if not storage.raw().objects.walk():
        raise ConfigurationError(f"{storage.objects().address()}: no raw files are there, so there is nothing to move")
    pairs = [(storage.objects(folder), there.below(folder)) for folder in FOLDERS]
    with _alone(storage):
        return _copied(pairs, to, exactly=exactly)


def _copied(pairs: list[tuple[ObjectStore, ObjectStore]], to: str, *, exactly: bool) -> int:
    _make_room(pairs, exactly=exactly)
    for here, other in pairs:
        console.print(f"{copy(here, other)} objects copied to {other.address()}")
    found = [(other, one) for here, other in pairs for one in differences(here, other)]
    for other, difference in found[:_SHOWN]:
        console.print(f"{other.address(difference.key)}: {difference.what}")
    if found:
        for other, difference in found:  # the next time it is copied
            other.delete([difference.key])
        console.print(f"{len(found)} are not the same: nothing may write meanwhile; then the same command again")
        return 1
    console.print(f"the same in both. From now on: GEOPIN_STORE={to}; what was here may be deleted once that runs")
    return 0


@contextmanager
def _alone(storage: Storage) -> Iterator[None]:
    """Nobody works on anything here meanwhile; who begins to waits."""
    try:
        with ExitStack() as held:
            for node in GRAPH:
                held.enter_context(storage.leases().held(node.key, what="geopin move", patience_s=0.0))
            yield
    except StillHeldError as error:
        raise ConfigurationError(f"somebody is at work here, stop the daemon first: {error}") from error


def _make_room(pairs: list[tuple[ObjectStore, ObjectStore]], *, exactly: bool) -> None:
    """What an earlier move left and is gone since goes there too, if that was asked for."""
    for here, there in pairs:
        if not (more := surplus(here, there)):
            continue
        if not exactly:
            example = there.address(more[0])
            raise ConfigurationError(f"{example} and {len(more) - 1} more are not here: `--exactly` deletes them there")
        there.delete(more)
