"""The one way our Parquet files are written and read: a checksum on every page, checked by whoever reads.

Without them a flipped bit is read as other data, without an error, by polars, DuckDB and pyarrow alike: 3 of 5
positions of a 36 kB file. Here: frames, metadata that travels in the same file, and files opened row group by row
group. Not here: what the columns are, or what follows from damage (`damage.py` says what it is). Importing this
imports neither polars nor pyarrow.

DuckDB and polars' scans do not look at the checksums: whoever hands a file to them checks it first, if it matters.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from geopin_assets.files.atomic import replacing
from geopin_assets.files.damage import reading

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.parquet as pq


def write_frame(path: Path, frame: "pl.DataFrame", metadata: Mapping[str, str] | None = None) -> Path:
    """Replace `path`, whole or not at all; returns it. Raises StorageFullError and ConfigurationError."""
    with replacing(path) as partial:
        put_frame(partial, frame, metadata)
    return path


def put_frame(path: "Path | BinaryIO", frame: "pl.DataFrame", metadata: Mapping[str, str] | None = None) -> None:
    """Write a file that someone else puts in its place."""
    import pyarrow.parquet as pq

    table = frame.to_arrow()
    if metadata:
        table = table.replace_schema_metadata(dict(metadata))
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def frame_bytes(frame: "pl.DataFrame", metadata: Mapping[str, str] | None = None) -> bytes:
    """A file as bytes: for whoever puts it somewhere on a condition."""
    put_frame(buffer := BytesIO(), frame, metadata)
    return buffer.getvalue()


def read_frame(path: Path, columns: Sequence[str] | None = None) -> "pl.DataFrame":
    """All rows. Raises DamagedFileError, FileNotFoundError."""
    import polars as pl

    with reading(str(path)):
        return pl.DataFrame(opened(path).read(columns=None if columns is None else list(columns)))


def read_metadata(path: Path) -> dict[str, str]:
    """What was written with the rows. Raises DamagedFileError, FileNotFoundError."""
    import polars as pl

    with reading(str(path)):
        return pl.read_parquet_metadata(path)


def opened(path: Path) -> "pq.ParquetFile":
    """For reading piece by piece, checked. Raises DamagedFileError; so may the reading, inside `damage.reading`."""
    import pyarrow.parquet as pq

    with reading(str(path)):
        return pq.ParquetFile(path, page_checksum_verification=True)


def check(path: Path) -> None:
    """Read everything, and keep nothing. Raises DamagedFileError, FileNotFoundError."""
    with reading(str(path)):
        for _ in opened(path).iter_batches():
            continue
