"""Where an index lives (embedded, in a folder, or in an account at Cloudflare), and in how many shards.

Both backends give the same two protocols. A shard holds whole blocks of cells (about 20 x 20 km), so a capture's
vectors and its row are found in the shard of its cell, and a capture that moves to another block leaves one shard and
enters the other through the ledger of each. One index takes 20 million vectors, one database 10 GB.

Here: how indexes and databases are named and built, which shard holds a cell, and searching all of them as one. Not
here: publishing, which goes shard by shard (`publish.py`), which versions are in use (`versions.py`), or settings.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from zlib import crc32

import polars as pl

from geopin_assets.cells import cell_block
from geopin_assets.index.batching import Frames
from geopin_assets.index.embedded.lance import LanceIndex, indexes_in
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.protocol import INDEX_PREFIX, MetadataStore, VectorIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geopin_assets.index.cloudflare import CloudflareApi

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shards(Generic[T]):
    """The parts of one store; a single one is the usual case."""

    parts: tuple[T, ...]

    def number(self, cell_id: str) -> int:
        """Which part holds a cell: a hash of its block, the same for ever and everywhere."""
        return crc32(cell_block(cell_id).encode()) % len(self.parts)

    def split(self, rows: pl.DataFrame) -> Iterator[tuple[T, pl.DataFrame]]:
        """Each part, and the rows (by their `cell_id`) that it should hold.

        Publishing a cell means publishing to every part, nothing to most: what a part held of the cell while there
        were fewer of them is removed like that.
        """
        for number, part in enumerate(self.parts):
            yield part, self._of(number, rows)

    def split_frames(self, desired: Frames) -> Iterator[tuple[T, Frames]]:
        """The same for rows that come frame by frame."""

        def frames(number: int) -> Iterator[pl.DataFrame]:
            return (self._of(number, rows) for rows in desired())

        for number, part in enumerate(self.parts):
            yield part, partial(frames, number)

    def split_counts(self, counts: Mapping[str, int]) -> Iterator[tuple[T, dict[str, int]]]:
        """The same for what there is of each cell."""
        for number, part in enumerate(self.parts):
            yield part, {cell_id: count for cell_id, count in counts.items() if self.number(cell_id) == number}

    def _of(self, number: int, rows: pl.DataFrame) -> pl.DataFrame:
        if len(self.parts) == 1:
            return rows
        cell_ids = [cell_id for cell_id in rows["cell_id"].unique() if self.number(cell_id) == number]
        return rows.filter(pl.col("cell_id").is_in(cell_ids))


@dataclass(frozen=True, slots=True)
class SearchedIndex:
    """Searching the shards of an index in parallel."""

    shards: Shards[VectorIndex]

    @property
    def dim(self) -> int:
        return self.shards.parts[0].dim

    @property
    def deepest(self) -> int:
        return self.shards.parts[0].deepest

    def query(
        self, vector: "NDArray[np.float32]", top_k: int, *, where: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """The best of all shards: `vector_id`, `score`, best first; see `VectorIndex.query`."""
        with ThreadPoolExecutor(len(self.shards.parts)) as threads:
            found = threads.map(lambda part: part.query(vector, top_k, where=where), self.shards.parts)
            return pl.concat(list(found)).sort("score", "vector_id", descending=[True, False]).head(top_k)

    def get(self, vector_ids: Sequence[str]) -> pl.DataFrame:
        """Of whichever shard has them; see `VectorIndex.get`."""
        with ThreadPoolExecutor(len(self.shards.parts)) as threads:
            return pl.concat(list(threads.map(lambda part: part.get(vector_ids), self.shards.parts)))


@dataclass(frozen=True, slots=True)
class SearchedStore:
    """Reading from the shards of a metadata store in parallel."""

    shards: Shards[MetadataStore]

    def query(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """The rows of all shards together, in no order across shards; see `MetadataStore.query`."""
        with ThreadPoolExecutor(len(self.shards.parts)) as threads:
            found = list(threads.map(lambda part: part.query(sql, params), self.shards.parts))
        filled = [rows for rows in found if rows.height]
        return pl.concat(filled, how="vertical_relaxed") if filled else found[0]


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

    def database(self, name: str) -> MetadataStore:
        """The database of that very name."""
        ...

    def indexes(self) -> dict[str, int]:
        """Every index there is whose name is one of ours, with its dimensions."""
        ...

    def databases(self) -> list[str]:
        """The names of every database there is that could be a shard of ours."""
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
        return self.database(_numbered("metadata", shard))

    def database(self, name: str) -> MetadataStore:
        return SqliteStore(self.folder / f"{name}.sqlite")

    def indexes(self) -> dict[str, int]:
        return indexes_in(self.folder / "vectors", INDEX_PREFIX)

    def databases(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("metadata*.sqlite"))

    def drop_index(self, name: str) -> None:
        shutil.rmtree(self.folder / "vectors" / f"{name}.lance", ignore_errors=True)

    def compact_index(self, name: str, dim: int) -> None:
        LanceIndex(self.folder / "vectors", name, dim).compact()


@dataclass(frozen=True, slots=True)
class CloudflareBackend:
    """Vectorize and D1 of one account. `database_name` is that of the D1 database."""

    api: "CloudflareApi"
    database_name: str = "geopin"

    @property
    def key(self) -> str:
        return f"cloudflare:{self.api.account_key}"

    def index(self, name: str, dim: int) -> VectorIndex:
        from geopin_assets.index.cloudflare import VectorizeIndex

        return VectorizeIndex(self.api, name, dim)

    def store(self, shard: int | None) -> MetadataStore:
        return self.database(_numbered(self.database_name, shard))

    def database(self, name: str) -> MetadataStore:
        from geopin_assets.index.cloudflare import D1Store

        return D1Store(self.api, name, import_from_rows=IMPORT_FROM_ROWS)

    def indexes(self) -> dict[str, int]:
        from geopin_assets.index.cloudflare.vectorize import indexes_of

        return indexes_of(self.api, INDEX_PREFIX)

    def databases(self) -> list[str]:
        from geopin_assets.index.cloudflare.d1 import databases_of

        ours = re.compile(rf"{re.escape(self.database_name)}(-s\d+)?")
        return sorted(filter(ours.fullmatch, databases_of(self.api, self.database_name)))

    def drop_index(self, name: str) -> None:
        from geopin_assets.index.cloudflare import VectorizeIndex

        VectorizeIndex(self.api, name, 1).drop()

    def compact_index(self, name: str, dim: int) -> None:
        """Nothing to do: the service tidies up by itself."""


def _numbered(name: str, shard: int | None) -> str:
    return name if shard is None else f"{name}-s{shard}"
