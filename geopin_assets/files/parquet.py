"""The one way our Parquet files are written and read: checksums of each page and of the whole, checked by readers.

Without them a flipped bit is read as other data, without an error, by polars, DuckDB and pyarrow alike: 3 of 5
positions of a 36 kB file; and with those of pages alone, 30 of 1,032 (headers and the footer have none). Here: frames,
metadata that travels in the same file, and files opened row group by row group. Not here: what the columns are, or
what follows from damage (`damage.py` says what it is). Importing this imports neither polars nor pyarrow.

DuckDB and polars' scans do not look at the checksums: whoever hands a file to them checks it first, if it matters.
"""

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.atomic import replacing
from geopin_assets.files.damage import reading, set_aside

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.parquet as pq

    from geopin_assets.files.object_store import ObjectStore

_log = logging.getLogger(__name__)
_END_BYTES = 32_768
"""More than the metadata of most files; often all of one."""
_DICTIONARY_BYTES = 16_384
"""What a column may say of values that come back; one that says more, as ids do, is written as it is."""
_KEY, _DIGITS = "geopin_check", 32
"""In the metadata: a hash of the whole file, taken with noughts in its place."""


def write_frame(path: Path, frame: "pl.DataFrame", metadata: Mapping[str, str] | None = None) -> Path:
    """Replace `path`, whole or not at all; returns it. Raises StorageFullError and ConfigurationError."""
    with replacing(path) as partial:
        partial.write_bytes(frame_bytes(frame, metadata))
    return path


def frame_bytes(frame: "pl.DataFrame", metadata: Mapping[str, str] | None = None) -> bytes:
    """A file that someone else puts in its place; pages have checksums, and so has all of it."""
    import pyarrow.parquet as pq

    table = frame.to_arrow().replace_schema_metadata({**(metadata or {}), _KEY: "0" * _DIGITS})
    pq.write_table(
        table,
        buffer := BytesIO(),
        compression="zstd",
        write_page_checksum=True,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
    )
    content = bytearray(buffer.getvalue())
    place = content.rfind(b"0" * _DIGITS, content.rfind(_KEY.encode()))
    content[place : place + _DIGITS] = _hash(bytes(content))
    return bytes(content)


def _hash(content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGITS // 2).hexdigest().encode()


def read_frame(path: Path, columns: Sequence[str] | None = None) -> "pl.DataFrame":
    """All rows. Raises DamagedFileError, FileNotFoundError."""
    import polars as pl

    with reading(str(path)):
        return pl.DataFrame(opened(path).read(columns=None if columns is None else list(columns)))


def read_whole(path: Path, columns: Sequence[str]) -> tuple["pl.DataFrame", dict[str, str]]:
    """Those of the columns that there are, and what was written with the rows; of one reading, as it may be replaced.

    What the checksum of the whole has proven polars reads, in half of the CPU that checking each page takes too.
    Raises DamagedFileError, FileNotFoundError.
    """
    import polars as pl
    import pyarrow.parquet as pq

    with reading(str(path)):
        content = path.read_bytes()
        about = pl.read_parquet_metadata(BytesIO(content))
        if told := about.pop(_KEY, None):
            _check_whole(content, told.encode(), path)
            there = set(pl.read_parquet_schema(BytesIO(content)))
            wanted = [name for name in columns if name in there]
            return pl.read_parquet(BytesIO(content), columns=wanted, parallel="none", use_statistics=False), about
        file = pq.ParquetFile(BytesIO(content), page_checksum_verification=True)
        return pl.DataFrame(file.read(columns=list(columns), use_threads=False)), about


def _check_whole(content: bytes, told: bytes, path: Path) -> None:
    if _hash(content.replace(told, b"0" * _DIGITS)) != told:
        raise DamagedFileError(f"{path}: its checksum is not that of what is in it")


def read_if_there(path: Path, schema: "pl.Schema") -> "pl.DataFrame":
    """The columns of a schema, of a file that any version wrote: what it lacks is null. Empty where there is no file.

    Of what goes on whatever became of it: a damaged file is set aside, said in the log, and begun anew.
    """
    import polars as pl

    try:
        found = read_frame(path)
        return pl.concat([schema.to_frame(), found], how="diagonal").select(schema.names())
    except FileNotFoundError:
        return schema.to_frame()
    except (DamagedFileError, pl.exceptions.PolarsError) as error:
        _log.warning("%s: set aside as %s", error, set_aside(path))
        return schema.to_frame()


def read_metadata(path: Path) -> dict[str, str]:
    """What was written with the rows. Raises DamagedFileError, FileNotFoundError."""
    import polars as pl

    with reading(str(path)):
        found = pl.read_parquet_metadata(path)
        found.pop(_KEY, None)
        return found


def read_columns(objects: "ObjectStore", key: str, columns: Sequence[str]) -> "pl.DataFrame":
    """Some columns of an object, of which little more travels. Their pages are checked, not the whole.

    Raises DamagedFileError, NoSuchObjectError, and ConflictError where it is replaced meanwhile.
    """
    import polars as pl
    import pyarrow.parquet as pq

    with reading(objects.address(key)), objects.opened(key) as file:
        parts = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=True)
        return pl.DataFrame(parts.read(columns=list(columns), use_threads=False))


def metadata_of(objects: "ObjectStore", key: str) -> dict[str, str]:
    """The same of an object, of which only the end is read. Raises DamagedFileError, NoSuchObjectError."""
    import polars as pl

    with reading(objects.address(key)):
        end = objects.get_end(key, _END_BYTES)
        if (length := int.from_bytes(end[-8:-4], "little") + 8) > len(end):
            end = objects.get_end(key, length)
        found = pl.read_parquet_metadata(BytesIO(end))
        found.pop(_KEY, None)
        return found


def opened(path: Path) -> "pq.ParquetFile":
    """For reading piece by piece, checked. Raises DamagedFileError; so may the reading, inside `damage.reading`."""
    import pyarrow.parquet as pq

    with reading(str(path)):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if told := (file.metadata.metadata or {}).get(_KEY.encode()):
            _check_whole(path.read_bytes(), told, path)
        return file


def check(path: Path) -> None:
    """Read everything, and keep nothing. Raises DamagedFileError, FileNotFoundError."""
    with reading(str(path)):
        for _ in opened(path).iter_batches():
            continue
