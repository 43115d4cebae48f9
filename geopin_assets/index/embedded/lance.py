"""The embedded vector index: LanceDB behind Vectorize's semantics.

Here: storage and search, exact below APPROXIMATE_FROM; a write is durable when the call returns. Not here: limits
(`limits.py`), frames and names (`protocol.py`). LanceDB because it has upsert by id, SQL prefilter, exact search, and
several processes can read and write one index. It costs 1.4 s to import: done at the first call.

A metadata index is a column `indexed_{property}`, filled by the upserts that follow its creation:
as in Vectorize, vectors written before it are never found by a filter on it.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import polars as pl

from geopin_assets.capture import MAX_DIM
from geopin_assets.errors import DamagedFileError, PermanentError
from geopin_assets.files.damage import reading
from geopin_assets.index import limits
from geopin_assets.index.protocol import METADATA, IndexInfo, vector_schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

P = ParamSpec("P")
T = TypeVar("T")
MAX_SMALL_FRAGMENTS = 32  # each upsert adds one; merging them rewrites data, so not after every small publish
KEEP_OLD_VERSIONS = timedelta(hours=1)  # a reader may still be using one
APPROXIMATE_FROM = 200_000
"""Vectors from which on compacting makes lists of them, of which a search reads the nearest, as the service does."""
LISTS_READ = 40
_ALL_OLD_VERSIONS = timedelta(milliseconds=1)
_OPERATORS = {
    "$eq": "=",
    "$ne": "!=",
    "$lt": "<",
    "$lte": "<=",
    "$gt": ">",
    "$gte": ">=",
    "$in": "IN",
    "$nin": "NOT IN",
}


def _understood(method: "Callable[Concatenate[LanceIndex, P], T]") -> "Callable[Concatenate[LanceIndex, P], T]":
    """What the disk or Lance says of the files becomes the project's error, whatever it came as."""

    @wraps(method)
    def typed(self: "LanceIndex", *arguments: P.args, **named: P.kwargs) -> T:
        with _told(f"the index {self.name}"):
            return method(self, *arguments, **named)

    return typed


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever Lance says of files is damage that names `what`; a schema without our columns is, too."""
    try:
        with reading(what):
            yield
    except (RuntimeError, ValueError, KeyError) as error:
        raise DamagedFileError(f"{what}: {error}") from error


class LanceIndex:
    """A VectorIndex in a folder."""

    upserts_at_once = 1
    count_lags = False
    deepest = 1_000_000
    ids_per_get = 1_000
    """Each get looks through all ids, 32 bytes a vector, whether for twenty or for so many."""

    def __init__(self, folder: Path, name: str, dim: int, *, approximate_from: int = APPROXIMATE_FROM) -> None:
        if not 1 <= dim <= MAX_DIM:
            raise PermanentError(f"{dim} dimensions; between 1 and {MAX_DIM}")
        self._folder, self.name, self.dim, self._approximate_from = folder, name, dim, approximate_from
        self._newest: tuple[str, datetime] | None = None
        self._opened: tuple[tuple[int, int], Any] | None = None

    @property
    def store_key(self) -> str:
        return f"lance:{self.name}"

    @_understood
    def create(self) -> None:
        """Raises PermanentError when an index of this name has another dimension: its configuration is for life."""
        if not self._exists():
            columns = vector_schema(self.dim) | {f"indexed_{name}": kind for name, kind in METADATA.items()}
            self._database.create_table(self.name, schema=pl.DataFrame(schema=columns).to_arrow().schema, exist_ok=True)
        table = self._table()
        if (found := table.schema.field("embedding").type.list_size) != self.dim:
            raise PermanentError(f"the index {self.name} has {found} dimensions, not {self.dim}")
        there = _indexed(table)
        for missing in [name for name in METADATA if name not in there]:
            self.create_metadata_index(missing)

    @_understood
    def create_metadata_index(self, property_name: str) -> None:
        """Make a property of METADATA filterable for the vectors upserted from now on."""
        kind = "string" if METADATA[property_name] == pl.String else "int"
        try:
            self._table().add_columns({f"indexed_{property_name}": f"cast(null as {kind})"})
        except (OSError, RuntimeError, ValueError):
            if property_name not in self.metadata_indexes():  # else another process was faster
                raise

    @_understood
    def metadata_indexes(self) -> list[str]:
        return _indexed(self._table())

    @_understood
    def upsert(self, vectors: pl.DataFrame) -> str:
        limits.check_vectors(vectors, vector_schema(self.dim), self.dim)
        table = self._table()
        indexed = [_as_indexed(name).alias(f"indexed_{name}") for name in _indexed(table)]
        rows = vectors.with_columns(indexed).to_arrow()
        merge = table.merge_insert("vector_id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows)
        return self._mutated()

    @_understood
    def delete(self, vector_ids: Sequence[str]) -> str:
        limits.check_ids(vector_ids, limits.IDS_PER_DELETE)
        if len(vector_ids):
            self._table().delete(f"vector_id IN {_sql(vector_ids)}")
        return self._mutated()

    @_understood
    def get(self, vector_ids: Sequence[str]) -> pl.DataFrame:
        limits.check_ids(vector_ids, self.ids_per_get)
        columns = list(vector_schema(self.dim))
        if not len(vector_ids):
            return pl.DataFrame(schema=vector_schema(self.dim))
        return self._table().search().where(f"vector_id IN {_sql(vector_ids)}").select(columns).to_polars()

    @_understood
    def query(
        self, vector: "NDArray[np.float32]", top_k: int, *, where: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        limits.check_top_k(top_k, self.deepest)
        limits.check_query_vector(vector, self.dim)
        table = self._table()
        limits.check_filter(where or {}, _indexed(table) if where else ())
        search = table.search(vector.astype("float32")).distance_type("cosine").limit(top_k)
        search = search.select(["vector_id", "_distance"]).nprobes(LISTS_READ)
        found = (search.where(_where(where)) if where else search).to_polars()
        return found.select("vector_id", (1 - pl.col("_distance")).cast(pl.Float64).alias("score"))

    @_understood
    def info(self) -> IndexInfo:
        mutation, at = self._newest or (None, None)
        return IndexInfo(self.dim, self._table().count_rows(), mutation, at)

    def ids(self) -> Iterator[str]:
        """Batch by batch: all of them are more than need to be in memory."""
        batches = self._batches()
        while (batch := self._next(batches)) is not None:
            yield from batch.column("vector_id").to_pylist()

    @_understood
    def _batches(self) -> "Iterator[Any]":
        return iter(self._table().search().select(["vector_id"]).limit(None).to_batches())

    @_understood
    def _next(self, batches: "Iterator[Any]") -> Any:
        return next(batches, None)

    @_understood
    def optimize(self) -> None:
        """Compact once there are many small fragments."""
        if self._table().stats()["fragment_stats"]["num_small_fragments"] > MAX_SMALL_FRAGMENTS:
            self.compact()

    @_understood
    def compact(self) -> None:
        """Merge small fragments, drop versions nobody reads any more, and divide many vectors into lists.

        Not while somebody else writes. What is written later is searched whole beside the lists, until the next time.
        """
        if not self._exists():
            return
        table = self._table()
        table.optimize(cleanup_older_than=KEEP_OLD_VERSIONS)
        if table.count_rows() >= self._approximate_from and not table.list_indices():
            from lancedb.index import IvfFlat

            lists = IvfFlat(distance_type="cosine", num_partitions=round(table.count_rows() ** 0.5))
            table.create_index("embedding", config=lists)

    @_understood
    def purge(self) -> None:
        """Write what is left anew where something was deleted: a deletion only hides, and its log names the ids."""
        if not self._exists():
            return
        table = self._table()
        table.optimize(cleanup_older_than=_ALL_OLD_VERSIONS, delete_unverified=True)
        if any((self._folder / f"{self.name}.lance" / "_deletions").glob("*")):
            self._database.create_table(self.name, data=table.search().to_batches(), mode="overwrite")
            self._table().optimize(cleanup_older_than=_ALL_OLD_VERSIONS, delete_unverified=True)

    @cached_property
    def _database(self) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        return _connected(self._folder)

    def _exists(self) -> bool:
        try:
            self._table()
        except PermanentError:
            return False
        return True

    def _table(self) -> Any:
        """Opened anew only when something was written or another folder lies there: that is a quarter of a search. What
        clocks are too coarse to tell, a table sees: it looks for newer versions itself, but for no other folder."""
        try:
            found = (self._folder / f"{self.name}.lance" / "_versions").stat()
        except FileNotFoundError:
            return self._open()
        if self._opened is None or self._opened[0] != (found.st_ino, found.st_mtime_ns):
            self._opened = (found.st_ino, found.st_mtime_ns), self._open()
        return self._opened[1]

    def _open(self) -> Any:
        try:
            return self._database.open_table(self.name)
        except ValueError as error:
            raise PermanentError(f"there is no index {self.name} yet: publish a region first") from error

    def _mutated(self) -> str:
        self._newest = str(uuid.uuid4()), datetime.now(UTC)
        return self._newest[0]


def indexes_in(folder: Path, prefix: str) -> dict[str, int]:
    """The indexes in a folder whose names begin so, with their dimensions."""
    names = sorted(path.stem for path in folder.glob(f"{prefix}*.lance"))
    return {name: _dimension(folder, name) for name in names}


def _dimension(folder: Path, name: str) -> int:
    with _told(f"the index {name}"):
        return int(_connected(folder).open_table(name).schema.field("embedding").type.list_size)


def read_all(path: Path) -> None:
    """Every vector of an index, which is a folder. Raises DamagedFileError."""
    with _told(str(path)):
        for _ in _connected(path.parent).open_table(path.stem).search().to_batches():
            continue


def _indexed(table: Any) -> list[str]:
    """The properties that filters find, as the table's columns say."""
    return [column.removeprefix("indexed_") for column in table.schema.names if column.startswith("indexed_")]


def _connected(folder: Path) -> Any:
    import lancedb

    return lancedb.connect(folder, read_consistency_interval=timedelta(0))


def _as_indexed(property_name: str) -> pl.Expr:
    """What a filter sees of a property: strings up to 64 bytes."""
    column = pl.col(property_name)
    if METADATA[property_name] != pl.String:
        return column
    return column.cast(pl.Binary).bin.slice(0, limits.INDEXED_STRING_BYTES).cast(pl.String, strict=False)


def _where(where: Mapping[str, Any]) -> str:
    """Vectorize's filter as SQL over the indexed columns."""
    terms = []
    for name, condition in where.items():
        for operator, value in (condition if isinstance(condition, Mapping) else {"$eq": condition}).items():
            terms.append(f"indexed_{name} {_OPERATORS[operator]} {_sql(value)}")
    return " AND ".join(terms)


def _sql(value: Any) -> str:
    """A literal: strings quoted, sequences in parentheses."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | float):
        return repr(value)
    return "(" + ", ".join(map(_sql, value)) + ")"
