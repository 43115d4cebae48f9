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
from geopin_assets.files.moving import copy, differences, is_within, newer, surplus
from geopin_assets.files.object_store import ObjectStore, open_store
from geopin_assets.platform.parts import Storage
from geopin_assets.settings import Settings
from geopin_assets.store.takedowns import whose

FOLDERS = ("raw", "captures", "embeddings", "failures", "quality", "exports", "publications", "catalog")
"""What an installation keeps in its store."""
_SHOWN = 10


def move_and_report(settings: Settings, to: str, *, exactly: bool) -> int:
    """Copy, then compare; exit code 1 where something differs at the end."""
    storage = Storage()
    there = open_store(to, endpoint_url=settings.s3_endpoint_url, access=settings.s3)
    pairs = [(storage.objects(folder), there.below(folder)) for folder in FOLDERS]
    if any(is_within(one, other) or is_within(other, one) for one, _ in pairs for _, other in pairs):
        raise ConfigurationError(f"{to}: the store is there already, or one would be within the other")
    if not storage.raw().objects.walk():
        raise ConfigurationError(f"{storage.objects().address()}: no raw files are there, so there is nothing to move")
    _refuse_another(storage, there)
    with _alone(storage):
        return _copied(pairs, to, exactly=exactly)


def _refuse_another(storage: Storage, there: ObjectStore) -> None:
    """Whose list of takedowns is there, as by that everybody knows an installation."""
    own, theirs = storage.takedowns().installation_id(), whose(there.below("raw"))
    if theirs not in ("", own):
        raise ConfigurationError(f"{there.address()} is the store of installation {theirs}, this is {own}")


def _copied(pairs: list[tuple[ObjectStore, ObjectStore]], to: str, *, exactly: bool) -> int:
    _make_room(pairs, exactly=exactly)
    copied = set[str]()
    for here, other in pairs:
        done = copy(here, other)
        copied.update(map(other.address, done))
        console.print(f"{len(done)} objects copied to {other.address()}")
    found = [(other, one) for here, other in pairs for one in differences(here, other)]
    for other, difference in found[:_SHOWN]:
        console.print(f"{other.address(difference.key)}: {difference.what}")
    if found:
        for other, difference in found:  # the next time it is copied
            if exactly or other.address(difference.key) in copied:
                other.delete([difference.key])
        console.print(
            f"{len(found)} are not the same: nothing may write meanwhile; then the same command again. What another "
            "process has written there since stays: `--exactly` replaces that, too"
        )
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
    """What an earlier move left and is gone since goes there too, and what was written there since is replaced, if that
    was asked for: it is lost with that."""
    for here, there in pairs:
        more, since = surplus(here, there), newer(here, there)
        if exactly:
            there.delete([*more, *since])
        elif more:
            example = there.address(more[0])
            raise ConfigurationError(f"{example} and {len(more) - 1} more are not here: `--exactly` deletes them there")
        elif since:
            example = there.address(since[0])
            raise ConfigurationError(
                f"{example} and {len(since) - 1} more are newer there: does GEOPIN_STORE name the store that is worked "
                "with? `--exactly` replaces them by what is here"
            )
