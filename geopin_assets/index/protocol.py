"""What a vector index and a metadata store are: two protocols with Cloudflare's semantics.

Here: the calls, the frames that travel through them, index names, and waiting until a write can be read (the service
takes it at once and processes it later). Not here: limits (`limits.py`), any backend, or the decision what to publish
(`publish.py`). Rows travel as polars frames: at a million vectors an object per row costs more than the work.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from geopin_assets.errors import PermanentError, TransientError
from geopin_assets.index.limits import MAX_INDEX_NAME_LENGTH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METADATA: dict[str, pl.DataType] = {"source": pl.String(), "cell_block": pl.String(), "captured_year": pl.Int32()}
"""Metadata of a vector; each property gets a metadata index, so that searches can be filtered by it.

Few distinct values on purpose: filtering Vectorize by positions or timestamps costs speed and recall.
"""

METADATA_DESCRIPTIONS = {
    "source": "Registered source that offered the capture, e.g. panoramax",
    "cell_block": "Block of crawl squares, about 20 km wide, that holds the capture",
    "captured_year": "Year of the shutter time, UTC; absent if unknown",
}


def vector_schema(dim: int) -> dict[str, pl.DataType]:
    """Columns of an upsert: the id, the float32 values, and METADATA (`captured_year` may be null)."""
    return {"vector_id": pl.String(), "embedding": pl.Array(pl.Float32, dim), **METADATA}


class NameUsedUpError(PermanentError):
    """An index was deleted behind our back, and none of its name can be made again. The message names the remedy."""


INDEX_PREFIX = "geopin-"


def index_name(model_id: str, version: int = 1, shard: int | None = None) -> str:
    """The index of one model: `geopin-{model_id}-v{version}` (`-s{shard}`), [a-z0-9-], at most 64 characters.

    A model id that does not fit as it stands is shortened and told apart by 8 hex digits of its
    SHA-256: vectors of two models never share an index.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", model_id.lower()).strip("-")
    tail = f"-v{version}" if shard is None else f"-v{version}-s{shard}"
    room = MAX_INDEX_NAME_LENGTH - len(INDEX_PREFIX) - len(tail)
    if plain != model_id or len(plain) > room:
        digest = hashlib.sha256(model_id.encode()).hexdigest()[:8]
        plain = f"{plain[: room - 9].rstrip('-')}-{digest}"
    return f"{INDEX_PREFIX}{plain}{tail}"


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """State of an index. `vector_count` may lag behind what was written: it proves nothing by itself."""

    dim: int
    vector_count: int
    processed_up_to_mutation: str | None
    """The last mutation that searches can see; None before the first."""
    processed_up_to_at: datetime | None
    """When that mutation was written, UTC."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write to a metadata store did. `rows_written` is what D1 bills, `changes` what changed."""

    changes: int = 0
    rows_written: int = 0
    requests: int = 0

    def __add__(self, other: "WriteResult") -> "WriteResult":
        return WriteResult(
            self.changes + other.changes, self.rows_written + other.rows_written, self.requests + other.requests
        )


class Searchable(Protocol):
    """What a search asks of an index, whole or in shards."""

    @property
    def dim(self) -> int: ...

    @property
    def deepest(self) -> int:
        """The most that `top_k` may be."""
        ...

    def query(
        self, vector: "NDArray[np.float32]", top_k: int, *, where: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """Nearest vectors by cosine, best first: `vector_id`, `score` (1 = same direction).

        `where` is Vectorize's filter: {property: value} or {property: {"$gte": value}}, joined by AND.
        """
        ...

    def get(self, vector_ids: Sequence[str]) -> pl.DataFrame:
        """The stored vectors among these ids, in any order, with the columns of `vector_schema`."""
        ...


class Readable(Protocol):
    """What a search asks of a metadata store, whole or in shards."""

    def query(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """Run one reading statement."""
        ...


class VectorIndex(Searchable, Protocol):
    """Vectors of one model. Writes are asynchronous: they return a mutation id, and `info` says how far it got.

    Every call raises PermanentError for what breaks a limit and TransientError for what may pass later.
    """

    @property
    def name(self) -> str: ...

    @property
    def upserts_at_once(self) -> int:
        """How many upserts may be under way together: while one is on the line, the next is encoded."""
        ...

    @property
    def ids_per_get(self) -> int:
        """How many ids one `get` takes."""
        ...

    @property
    def count_lags(self) -> bool:
        """Whether its own count is true only some minutes later."""
        ...

    @property
    def store_key(self) -> str:
        """Names this very index in the ledger: backend, account and name, so that two never share a record."""
        ...

    def create(self) -> None:
        """Make sure the index and its metadata indexes exist. They cover only vectors upserted afterwards."""
        ...

    def metadata_indexes(self) -> list[str]: ...

    def upsert(self, vectors: pl.DataFrame) -> str:
        """Write whole vectors (columns of `vector_schema`), replacing those with the same id; a mutation id."""
        ...

    def delete(self, vector_ids: Sequence[str]) -> str:
        """Remove vectors; unknown ids are ignored; a mutation id."""
        ...

    def info(self) -> IndexInfo: ...

    def ids(self) -> Iterator[str]:
        """Every id in the index, in no order."""
        ...

    def optimize(self) -> None:
        """Tidy up after a publish; nothing to do for a hosted index."""
        ...

    def purge(self) -> None:
        """Have nothing left in any file of what was deleted; nothing to do for a hosted index. Alone meanwhile."""
        ...


class MetadataStore(Readable, Protocol):
    """Tables with D1's SQL and semantics, keyed by one text id each (`tables.TABLES`)."""

    @property
    def name(self) -> str:
        """What the database is called where it lives."""
        ...

    @property
    def store_key(self) -> str:
        """Names this very database in the ledger."""
        ...

    def exists(self) -> bool:
        """Whether there is one; asking makes none."""
        ...

    def migrate(self) -> None:
        """Bring the schema up to date; nothing happens when it is."""
        ...

    def bookmark(self) -> str:
        """Names the present state, to which a bad publish can be undone; empty where there is no such thing."""
        ...

    def upsert(self, table: str, rows: pl.DataFrame) -> WriteResult:
        """Write rows (the table's columns, others are ignored); rows that did not change cost nothing."""
        ...

    def delete(self, table: str, ids: Sequence[str]) -> WriteResult: ...

    def count(self, table: str) -> int: ...

    def purge(self) -> None:
        """Have nothing left in any file of what was deleted; nothing to do for a hosted database."""
        ...


CLOCK_MARGIN = timedelta(seconds=60)  # how far the service's clock and ours may differ


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait for a mutation: Vectorize's median is below 30 s, its 99th percentile below 2 min."""

    timeout_s: float = 600.0
    poll_s: float = 2.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], datetime] = _utc_now


def await_mutation(index: VectorIndex, mutation: str, wait: Wait) -> int:
    """Return when it is processed, or (with another writer about) one certainly written later; how often it looked."""
    submitted, looks = wait.clock(), 0
    while True:
        info, looks = index.info(), looks + 1
        later = info.processed_up_to_at and info.processed_up_to_at > submitted + CLOCK_MARGIN
        if info.processed_up_to_mutation == mutation or later:
            return looks
        if wait.clock() - submitted >= timedelta(seconds=wait.timeout_s):
            raise TransientError(f"{index.store_key}: mutation {mutation} not visible after {wait.timeout_s:.0f} s")
        wait.sleep(wait.poll_s)
