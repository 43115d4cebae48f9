"""Files of a publication: written in row groups of a bounded size, and read as a stranger's.

Here: Parquet whose rows are in the order of cells, its hash, and reading it cell by cell. Before anything is read, the
size, the hash, the columns and what the footer says of row groups must be what the manifest and the format say. Not
here: what the rows mean (`items.py`).
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from geopin_assets.errors import PayloadError
from geopin_assets.exchange.items import ARROW_SCHEMA as ITEMS
from geopin_assets.exchange.items import FILE_METADATA, SHOWN, from_table, to_table, vector_file_schema
from geopin_assets.exchange.manifest import FileEntry
from geopin_assets.files.damage import reading
from geopin_assets.files.object_store import ObjectStore

GROUP_ROWS = 16_384
_GROUP_BYTES = 256 * 1024 * 1024
CRAWLS = pl.Schema(
    {"source": pl.String(), "cell_id": pl.String(), "seen_at": pl.Datetime("us", "UTC"), "is_complete": pl.Boolean()}
)
"""When each source was last seen in each cell; complete: what is not among its captures there was not there then."""
REMOVALS = pl.Schema({"capture_id": pl.String(), "cell_id": pl.String(), "reason": pl.String()})
"""Captures that are not in that cell any more. They go first: one that moved comes back with what was added."""
TAKEDOWNS = pl.Schema({"capture_id": pl.String(), "taken_down_at": pl.Datetime("us", "UTC"), "is_undone": pl.Boolean()})


def arrow_schema(frame: pl.Schema) -> pa.Schema:
    """Of a file of frames: plain strings, lists of a fixed size."""
    return pa.schema(
        [(name, _plain(field)) for name, field in zip(frame, frame.to_frame().to_arrow().schema, strict=True)]
    )


def _plain(field: pa.Field) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(field.type) or pa.types.is_string_view(field.type) else field.type


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file holds, and how its rows are turned into what is in it and back."""

    schema: pa.Schema
    encode: Callable[[pl.DataFrame], pa.Table]
    decode: Callable[[pa.Table], pl.DataFrame]
    metadata: Mapping[bytes, bytes]


def frames_of(schema: pl.Schema) -> Kind:
    """Frames as they are."""
    arrow = arrow_schema(schema)
    return Kind(
        arrow,
        lambda rows: rows.select(schema.names()).to_arrow().cast(arrow),
        lambda table: pl.DataFrame(table).cast(schema),
        {},
    )


CAPTURES = Kind(ITEMS, to_table, from_table, FILE_METADATA)


def vectors_of(dim: int) -> Kind:
    """Vectors of so many dimensions."""
    return frames_of(vector_file_schema(dim))


class Writer:
    """Appends frames to a file; a row group is written as soon as it is full."""

    def __init__(self, file: pq.ParquetWriter, kind: Kind) -> None:
        self._file, self._kind = file, kind
        self._waiting: list[pl.DataFrame] = []
        self._height = self.rows = 0

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        if rows.height:
            self._waiting.append(rows)
            self._height, self.rows = self._height + rows.height, self.rows + rows.height
        if self._height >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            rows = pl.concat(self._waiting)
            self._file.write_table(self._kind.encode(rows), row_group_size=GROUP_ROWS)
            self._waiting, self._height = [], 0


@contextmanager
def writing(path: Path, kind: Kind) -> Iterator[Writer]:
    """A file at `path`."""
    schema = kind.schema.with_metadata(dict(kind.metadata) or None)
    vectors = {"embedding.list.element": "none"} if "embedding" in schema.names else {}
    columns = dict.fromkeys(_leaves(schema), "zstd") | vectors
    with pq.ParquetWriter(path, schema, compression=columns, write_page_checksum=True) as file:
        writer = Writer(file, kind)
        yield writer
        writer.flush()


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a store that is being written. What ends its context with an exception leaves nothing."""

    key: str
    path: Path
    writer: Writer
    _open: ExitStack

    def finish(self) -> FileEntry:
        """Complete it, and say what it is."""
        self._open.close()
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(key=self.key, bytes=self.path.stat().st_size, sha256=digest, rows=self.writer.rows)


@contextmanager
def new_file(store: ObjectStore, key: str, kind: Kind) -> Iterator[NewFile]:
    """A file at `key`, put there when it is finished and the context ends."""
    with store.replacing(key) as path, ExitStack() as stack:
        yield NewFile(key, path, stack.enter_context(writing(path, kind)), stack)


def write_whole(store: ObjectStore, key: str, rows: pl.DataFrame, kind: Kind) -> FileEntry:
    """All rows of a file."""
    with new_file(store, key, kind) as file:
        file.writer.write(rows)
        return file.finish()


@cache
def _leaves(schema: pa.Schema) -> list[str]:
    with pa.BufferOutputStream() as sink:
        pq.write_table(schema.empty_table(), sink)
        found = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [found.column(number).path for number in range(len(found))]


@contextmanager
def checked(store: ObjectStore, file: FileEntry, kind: Kind) -> Iterator["CheckedFile"]:
    """A file for reading. Raises PayloadError where it is not there, or not what its manifest says."""
    what = store.address(file.key)
    with ExitStack() as stack:
        if (found := store.find(file.key)) is None:
            raise PayloadError(f"{what}: missing; if it was published anew meanwhile, repeat this")
        if found.bytes != file.bytes:
            raise PayloadError(f"{what}: {found.bytes} bytes, not {file.bytes}")
        opened = stack.enter_context(stack.enter_context(store.as_file(file.key, most=file.bytes)).open("rb"))
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
            raise PayloadError(f"{what}: it is damaged, or another file: its hash is not that of the manifest")
        opened.seek(0)
        with reading(what):
            parquet = stack.enter_context(pq.ParquetFile(opened, page_checksum_verification=True))
        _check_footer(parquet, file, kind, what)
        yield CheckedFile(parquet, kind, what)


def columns_of(store: ObjectStore, file: FileEntry, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some columns of items, a row group at a time: little more than they travels. Of a publication of ours only: pages
    are checked, not the whole. Raises PayloadError, NoSuchObjectError.
    """
    shown = {SHOWN[name]: name for name in names}
    with reading(store.address(file.key)), store.opened(file.key) as opened:
        parquet = pq.ParquetFile(opened, page_checksum_verification=True, pre_buffer=True)
        for number in range(parquet.num_row_groups):
            yield pl.DataFrame(_valid(parquet.read_row_group(number, list(shown)))).rename(shown)


def _check_footer(parquet: pq.ParquetFile, file: FileEntry, kind: Kind, what: str) -> None:
    if not parquet.schema_arrow.equals(kind.schema):
        raise PayloadError(f"{what}: other columns than the format has")
    if parquet.metadata.num_rows != file.rows:
        raise PayloadError(f"{what}: {parquet.metadata.num_rows} rows, not {file.rows}")
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        if group.num_rows > GROUP_ROWS or group.total_byte_size > _GROUP_BYTES:
            raise PayloadError(f"{what}: row groups larger than the format has")


class CheckedFile:
    """Rows by cell, whose rows are together."""

    def __init__(self, parquet: pq.ParquetFile, kind: Kind, what: str) -> None:
        self._parquet, self._kind, self.what = parquet, kind, what
        sizes = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self._last: tuple[int, pl.DataFrame] | None = None

    @cached_property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Where the rows of each cell begin and end. Raises PayloadError where they are not together."""
        column = next(name for name in self._kind.schema.names if name.endswith("cell_id"))
        found: dict[str, tuple[int, int]] = {}
        row, last = 0, ""
        for number in range(self._parquet.num_row_groups):  # all at once are 1 GB of a large province
            with reading(self.what):
                ids = pl.Series(_valid(self._parquet.read_row_group(number, [column]))[column], dtype=pl.String)
            for length, cell_id in ids.rle().struct.unnest().iter_rows():
                if cell_id is None or (cell_id in found and cell_id != last):
                    raise PayloadError(f"{self.what}: the rows of a cell are not together")
                first, _ = found.get(cell_id, (row, row))
                found[cell_id] = first, row + length
                row, last = row + length, cell_id
        return found

    def of(self, cell_id: str) -> Iterator[pl.DataFrame]:
        """The rows of a cell, a row group at a time; nothing for one that is not in it."""
        start, stop = self.cells.get(cell_id, (0, 0))
        number = bisect_right(self._starts, start) - 1
        while start < stop:
            first, after = self._starts[number : number + 2]
            yield self._group(number).slice(start - first, min(stop, after) - start)
            start, number = after, number + 1

    def all_of(self, cell_id: str) -> pl.DataFrame:
        """The same at once: of captures, not of vectors."""
        return pl.concat([self._empty, *self.of(cell_id)])

    def all(self) -> pl.DataFrame:
        """Everything: of what is small."""
        return pl.concat([self._empty, *map(self._group, range(self._parquet.num_row_groups))])

    @property
    def _empty(self) -> pl.DataFrame:
        return self._kind.decode(self._kind.schema.empty_table())

    def _group(self, number: int) -> pl.DataFrame:
        if self._last is None or self._last[0] != number:
            with reading(self.what):
                table = _valid(self._parquet.read_row_group(number))
            self._last = number, self._kind.decode(table)
        return self._last[1]


def _valid(table: pa.Table) -> pa.Table:
    """Polars takes text for UTF-8, and any other ends the process."""
    table.validate(full=True)
    return table
