"""Every index and database that this installation ever published to, in a file that only grows.

Here: one line per store, written before the store is first made. Not here: whether it is still there (whoever asks the
backends, `platform/known_stores.py`). The ledger knows the same as long as nobody loses it, changes the backend or the
number of shards: what such a store holds goes on being served, so that it was must not be forgotten.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from geopin_assets.files.journal import Journal


@dataclass(frozen=True, slots=True)
class Recorded:
    """A store. `key` is its name in the ledger; of an index also which version of which model it is a shard of."""

    key: str
    model_id: str = ""
    number: int = 0
    dim: int = 0
    shards: int = 0

    @property
    def name(self) -> str:
        """What it is called where it is."""
        return self.key.rpartition(":")[2]

    @property
    def is_index(self) -> bool:
        return self.key.startswith(("lance:", "vectorize:"))

    @property
    def backend(self) -> str:
        """`Backend.key` of where it is."""
        kind, _, rest = self.key.partition(":")
        return "embedded" if kind in ("lance", "sqlite") else f"cloudflare:{rest.partition(':')[0]}"


class StoreRegistry:
    """The file at `path`. Safe to use from several processes."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, remedy="`geopin reconcile` keeps what can be read, and finds other stores again")

    def record(self, stores: Iterable[Recorded]) -> None:
        """Add those that are not there yet."""
        wanted = list(stores)
        if not {store.key for store in wanted} <= {store.key for store in self.all()}:
            self._journal.extend(lambda lines: [asdict(s) for s in wanted if s.key not in {x["key"] for x in lines}])

    def mend(self) -> Path | None:
        """Set a damaged file aside, and keep its sound lines; None if no line was damaged."""
        return self._journal.mend(lambda _: [])

    def all(self) -> list[Recorded]:
        """Oldest first."""
        return [Recorded(**line) for line in self._journal.read()]
