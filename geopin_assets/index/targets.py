"""One way to publish into either store: what a publish asks of an index or of a table.

Here: chunking at the limits, content hashes, and reading back. Not here: the plan and the order of steps
(`publish.py`), or how a mutation is awaited (`protocol.py`).

A content hash is 16 hex digits of BLAKE2b over bytes that are the same on every machine and library
version: an upgrade must not republish everything. Embeddings are hashed at float16, the precision
they are stored at, so that a value that comes back as its neighbor in float32 is still the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from math import ceil
from typing import Protocol

import orjson
import polars as pl

from geopin_assets.errors import TransientError
from geopin_assets.index.batching import Frames, in_chunks, last_alone
from geopin_assets.index.limits import IDS_PER_DELETE, ROWS_PER_REQUEST, VECTORS_PER_UPSERT
from geopin_assets.index.protocol import (
    METADATA,
    MetadataStore,
    VectorIndex,
    Wait,
    WriteResult,
    await_mutation,
    vector_schema,
)
from geopin_assets.index.tables import Table, encode_rows

_CONTENT = pl.Schema({"id": pl.String(), "content_hash": pl.String()})
IDS_PER_PAGE = 10_000


@dataclass(slots=True)
class Usage:
    """What a target did and took so far."""

    requests: int = 0
    rows_written: int = 0
    mutation: str = ""
    lag_s: float = 0.0
    """How long the slowest mutation took to become visible."""


class Target(Protocol):
    """A store as a publish sees it. Frames have the target's own columns; ids are in `id_column`."""

    usage: Usage

    @property
    def key(self) -> str:
        """Names the store in the ledger."""
        ...

    @property
    def id_column(self) -> str: ...

    @property
    def group_size(self) -> int:
        """Rows written between two commits of the ledger; what a killed publish repeats at most."""
        ...

    def cost(self, upserts: int, deletions: int) -> tuple[int, int]:
        """Rows billed and requests sent for so many writes, at least."""
        ...

    def prepare(self) -> None:
        """Bring the store into being before the first write."""
        ...

    def identify(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`id`, `cell_id` and `content_hash` of each row, and whatever else `upsert` should find in its group."""
        ...

    def upsert(self, group: pl.DataFrame, desired: Frames) -> None:
        """Write what is desired of a group (of what was identified), and return when it can be read."""
        ...

    def delete(self, ids: pl.Series) -> None:
        """Remove, and return when it is gone."""
        ...

    @property
    def ids_per_read(self) -> int: ...

    def read(self, ids: pl.Series) -> pl.DataFrame:
        """Those of the ids (at most `ids_per_read`) that the store holds: id, content_hash."""
        ...

    def count(self) -> int: ...

    @property
    def count_lags(self) -> bool:
        """Whether that is true only some minutes later."""
        ...

    def contents(self) -> Iterator[pl.DataFrame]:
        """Everything the store holds, page by page: id, content_hash (null where listing does not tell)."""
        ...

    def finish(self) -> None:
        """Tidy up after the last write."""
        ...

    def purge(self) -> None:
        """Leave nothing of what was deleted in any file."""
        ...


@dataclass(slots=True)
class VectorTarget:
    """A VectorIndex to publish into; groups are large: awaiting one takes half a minute, to repeat one is free."""

    index: VectorIndex
    wait: Wait = field(default_factory=Wait)
    usage: Usage = field(default_factory=Usage)
    id_column: str = "vector_id"
    group_size: int = 1_000_000

    @property
    def key(self) -> str:
        return self.index.store_key

    def cost(self, upserts: int, deletions: int) -> tuple[int, int]:
        """Vectorize bills no writes."""
        return 0, ceil(upserts / VECTORS_PER_UPSERT) + ceil(deletions / IDS_PER_DELETE)

    def prepare(self) -> None:
        self.index.create()

    def hashes(self, rows: pl.DataFrame) -> pl.Series:
        import numpy as np

        values = rows["embedding"].to_numpy().astype(np.float16)
        metadata = rows.select(list(METADATA)).rows()
        encoded = {properties: orjson.dumps(properties) for properties in set(metadata)}
        digests = [
            blake2b(vector.tobytes() + encoded[properties], digest_size=8).hexdigest()
            for vector, properties in zip(values, metadata, strict=True)
        ]
        return pl.Series("content_hash", digests, dtype=pl.String)

    def identify(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(pl.col(self.id_column).alias("id"), "cell_id", self.hashes(rows))

    def upsert(self, group: pl.DataFrame, desired: Frames) -> None:
        """Several at once, but the last one alone, so that its mutation is the last."""
        chunks = in_chunks(self._rows(group, desired), VECTORS_PER_UPSERT)
        for mutation in last_alone(self.index.upsert, chunks, self.index.upserts_at_once):
            self.usage.mutation = mutation
            self.usage.requests += 1
        self._await()

    def _rows(self, group: pl.DataFrame, desired: Frames) -> Iterator[pl.DataFrame]:
        ids, found = group.select(pl.col("id").alias(self.id_column)), 0
        for frame in desired():
            rows = frame.join(ids, on=self.id_column, how="semi").select(list(vector_schema(self.index.dim)))
            found += rows.height
            yield rows
        if found != group.height:
            raise TransientError(f"{self.key}: what is desired changed while it was published")

    def delete(self, ids: pl.Series) -> None:
        for start in range(0, len(ids), IDS_PER_DELETE):
            self.usage.mutation = self.index.delete(ids[start : start + IDS_PER_DELETE].to_list())
            self.usage.requests += 1
        self._await()

    @property
    def ids_per_read(self) -> int:
        return self.index.ids_per_get

    def read(self, ids: pl.Series) -> pl.DataFrame:
        self.usage.requests += 1
        vectors = self.index.get(ids.to_list())
        return vectors.select(pl.col("vector_id").alias("id"), self.hashes(vectors))

    def count(self) -> int:
        self.usage.requests += 1
        return self.index.info().vector_count

    @property
    def count_lags(self) -> bool:
        return self.index.count_lags

    def contents(self) -> Iterator[pl.DataFrame]:
        ids = self.index.ids()
        while page := list(islice(ids, IDS_PER_PAGE)):
            yield pl.DataFrame({"id": page, "content_hash": None}, schema=_CONTENT)

    def finish(self) -> None:
        self.index.optimize()

    def purge(self) -> None:
        self.index.purge()

    def _await(self) -> None:
        since = self.wait.clock()
        self.usage.requests += await_mutation(self.index, self.usage.mutation, self.wait)
        self.usage.lag_s = max(self.usage.lag_s, (self.wait.clock() - since).total_seconds())


@dataclass(slots=True)
class RowTarget:
    """A table of a MetadataStore to publish into. A row's content hash is the `row_hash` stored with it."""

    store: MetadataStore
    table: Table
    usage: Usage = field(default_factory=Usage)
    group_size: int = 100_000
    ids_per_read: int = 1_000
    count_lags: bool = False

    @property
    def key(self) -> str:
        return f"{self.store.store_key}:{self.table.name}"

    @property
    def id_column(self) -> str:
        return self.table.id_column

    def cost(self, upserts: int, deletions: int) -> tuple[int, int]:
        """WITHOUT ROWID and no secondary index: one row is billed per change."""
        return upserts + deletions, ceil(upserts / ROWS_PER_REQUEST) + ceil(deletions / ROWS_PER_REQUEST)

    def prepare(self) -> None:
        self.store.migrate()

    def identify(self, rows: pl.DataFrame) -> pl.DataFrame:
        encoded = encode_rows(self.table, rows).rename({"row_hash": "content_hash"})
        return rows.select(pl.col(self.id_column).alias("id"), "cell_id").hstack(encoded)

    def upsert(self, group: pl.DataFrame, desired: Frames) -> None:
        """The group holds them, encoded."""
        self._count(self.store.upsert(self.table.name, group.rename({"content_hash": "row_hash"})))

    def delete(self, ids: pl.Series) -> None:
        self._count(self.store.delete(self.table.name, ids.to_list()))

    def read(self, ids: pl.Series) -> pl.DataFrame:
        self.usage.requests += 1
        found = self.store.query(self.table.hashes_sql, (orjson.dumps(ids.to_list()).decode(),))
        if found.is_empty():  # D1 need not name the columns of no rows
            return pl.DataFrame(schema=_CONTENT)
        return found.select(pl.col("id").cast(pl.String), pl.col("row_hash").cast(pl.String).alias("content_hash"))

    def count(self) -> int:
        self.usage.requests += 1
        return self.store.count(self.table.name)

    def contents(self) -> Iterator[pl.DataFrame]:
        """In pages by key: D1 answers a query with a few MB at most."""
        after = ""
        while (page := self.store.query(self.table.contents_sql, (after,))).height:
            yield page.cast(_CONTENT)
            after = page["id"][-1]

    def finish(self) -> None:
        """A table needs no tidying."""

    def purge(self) -> None:
        self.store.purge()

    def _count(self, result: WriteResult) -> None:
        self.usage.requests += result.requests
        self.usage.rows_written += result.rows_written
