"""Several indexes, or several databases, that searches see as one.

A shard holds whole blocks of cells (about 20 x 20 km), so a capture's vectors and its row are found in the shard of its
cell, and a capture that moves to another block leaves one shard and enters the other through the ledger of each.

Here: which shard holds a cell, and searching all of them at once. Not here: publishing, which goes shard by shard
(`publish.py`), or how many there are (`versions.py`). One index takes 20 million vectors, one database 10 GB.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.cells import cell_block
from geopin_assets.index.protocol import MetadataStore, VectorIndex
from geopin_assets.index.streams import Desired

T = TypeVar("T")
R = TypeVar("R")


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

    def split_frames(self, desired: Desired) -> Iterator[tuple[T, Desired]]:
        """The same for rows that come frame by frame."""

        def frames(number: int) -> Iterator[pl.DataFrame]:
            return (self._of(number, rows) for rows in desired())

        for number, part in enumerate(self.parts):
            yield part, partial(frames, number)

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

    def query(self, vector: NDArray[np.float32], top_k: int, *, where: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """The best of all shards: `vector_id`, `score`, best first; see `VectorIndex.query`."""
        with ThreadPoolExecutor(len(self.shards.parts)) as threads:
            found = threads.map(lambda part: part.query(vector, top_k, where=where), self.shards.parts)
            return pl.concat(list(found)).sort("score", "vector_id", descending=[True, False]).head(top_k)


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

    def count(self, table: str) -> int:
        return sum(part.count(table) for part in self.shards.parts)
