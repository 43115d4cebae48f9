"""Where an index lives: embedded, in a folder, or in an account at Cloudflare. Both give the same two protocols.

Here: how indexes and databases are named and built. Not here: which of them are in use (`versions.py`, `shards.py`),
or settings.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geopin_assets.index.cloudflare import CloudflareApi, D1Store, VectorizeIndex
from geopin_assets.index.lance import LanceIndex
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.index.sqlite import SqliteStore

IMPORT_FROM_ROWS = 20_000
"""From so many rows on, D1 gets a file: a database is offline while it imports one, so weekly changes never do."""


class Backend(Protocol):
    """Builds stores by name; building one connects to nothing yet."""

    @property
    def key(self) -> str:
        """Names the backend in our record of index versions."""
        ...

    def index(self, name: str, dim: int) -> VectorIndex: ...

    def store(self, shard: int | None) -> MetadataStore:
        """The database, or one of several."""
        ...

    def drop_index(self, name: str) -> None:
        """Delete an index with all its vectors; nothing happens when there is none."""
        ...

    def compact_index(self, name: str, dim: int) -> None:
        """Give back what an index takes and nobody reads any more; nothing to do for a hosted one."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedBackend:
    """LanceDB and SQLite in a folder."""

    folder: Path

    @property
    def key(self) -> str:
        return "embedded"

    def index(self, name: str, dim: int) -> VectorIndex:
        return LanceIndex(self.folder / "vectors", name, dim)

    def store(self, shard: int | None) -> MetadataStore:
        return SqliteStore(self.folder / f"{_numbered('metadata', shard)}.sqlite")

    def drop_index(self, name: str) -> None:
        shutil.rmtree(self.folder / "vectors" / f"{name}.lance", ignore_errors=True)

    def compact_index(self, name: str, dim: int) -> None:
        LanceIndex(self.folder / "vectors", name, dim).compact()


@dataclass(frozen=True, slots=True)
class CloudflareBackend:
    """Vectorize and D1 of one account. `database` is the name of the D1 database."""

    api: CloudflareApi
    database: str = "geopin"

    @property
    def key(self) -> str:
        return f"cloudflare:{self.api.account_key}"

    def index(self, name: str, dim: int) -> VectorIndex:
        return VectorizeIndex(self.api, name, dim)

    def store(self, shard: int | None) -> MetadataStore:
        return D1Store(self.api, _numbered(self.database, shard), import_from_rows=IMPORT_FROM_ROWS)

    def drop_index(self, name: str) -> None:
        VectorizeIndex(self.api, name, 1).drop()

    def compact_index(self, name: str, dim: int) -> None:
        """Nothing to do: the service tidies up by itself."""


def _numbered(name: str, shard: int | None) -> str:
    return name if shard is None else f"{name}-s{shard}"
