"""`geopin move`: what is in the store of this installation, to another folder or bucket, or back.

The catalog, the ledger, the embedded index and Dagster's history stay where they are: the first can be made again
from what is moved. Not here: copying and comparing (`files/moving.py`).
"""

from geopin_assets.cli.console import console
from geopin_assets.defs.graph import GRAPH
from geopin_assets.errors import ConfigurationError
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
    _check_idle(storage)
    there = open_store(to, endpoint_url=settings.s3_endpoint_url, access=settings.s3)
    if there.address() == storage.objects().address():
        raise ConfigurationError(f"{to}: the store is there already")
    if not storage.raw().objects.walk():
        raise ConfigurationError(f"{storage.objects().address()}: no raw files are there, so there is nothing to move")
    pairs = [(storage.objects(folder), there.below(folder)) for folder in FOLDERS]
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


def _check_idle(storage: Storage) -> None:
    held = [str(holder) for node in GRAPH for holder in storage.leases().holders(node.key)]
    if held:
        raise ConfigurationError(f"somebody is at work here, stop the daemon first: {held[0]}")


def _make_room(pairs: list[tuple[ObjectStore, ObjectStore]], *, exactly: bool) -> None:
    """What an earlier move left and is gone since goes there too, if that was asked for."""
    for here, there in pairs:
        if not (more := surplus(here, there)):
            continue
        if not exactly:
            example = there.address(more[0])
            raise ConfigurationError(f"{example} and {len(more) - 1} more are not here: `--exactly` deletes them there")
        there.delete(more)
