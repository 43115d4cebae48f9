"""Many small objects read as few: what was read of each is remembered in blocks, by the version that it was read from.

    {folder}/known/{block}.parquet    rows of every object of the block, with the object's key and version

A list says which version of an object there is; of those that a block does not know in that version the rows are read
again, and the block is written anew once enough has changed. So an object stays the unit of writing, nobody who writes
one knows of blocks, and a block that is lost or old costs reading, never truth. Not here: what the rows are.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import polars as pl

from geopin_assets.errors import DamagedFileError
from geopin_assets.files import parquet
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore, Stored

KEY, _VERSION = "of_key", "of_version"
BLOCKS = "known"
"""The folder of them."""
_FEWEST, _SHARE = 50, 0.02
"""So many objects read anew, and such a share of a block, are worth another block."""

Read = Callable[[str], pl.DataFrame]
"""The rows of an object by its key; none where it cannot be read."""


def compacted(
    objects: ObjectStore,
    folder: str,
    stored: Iterable[Stored],
    read: Read,
    schema: pl.Schema,
    *,
    block: Callable[[str], str] = lambda key: "all",
) -> Iterator[pl.DataFrame]:
    """Rows of all objects, block by block: `schema`, and the object's key as KEY, in no order.

    `block`: in which one an object is remembered; keys of a block follow each other. An object without rows is read
    each time.
    """
    for name, some in groupby(stored, key=lambda one: block(one.key)):
        yield _of_block(objects, place_of(folder, name), list(some), read, schema)


def place_of(folder: str, block: str) -> str:
    """The object that a block of a folder is."""
    return f"{folder}/{BLOCKS}/{block}.parquet"


def _of_block(objects: ObjectStore, place: str, stored: list[Stored], read: Read, schema: pl.Schema) -> pl.DataFrame:
    noted = pl.Schema({**schema, KEY: pl.String(), _VERSION: pl.String()})
    there = pl.DataFrame(
        [(one.key, one.version) for one in stored], {KEY: pl.String, _VERSION: pl.String}, orient="row"
    )
    known = _known(objects, place, noted) if len(stored) >= _FEWEST else noted.to_frame()
    known = known.join(there, on=[KEY, _VERSION], how="semi")
    new = there.filter(~pl.col(KEY).is_in(known[KEY].unique().implode()))
    with ThreadPoolExecutor(objects.readers) as pool:
        fresh = zip(new.iter_rows(), pool.map(read, new[KEY]), strict=True)
        named = [rows.with_columns(pl.lit(key).alias(KEY), pl.lit(v).alias(_VERSION)) for (key, v), rows in fresh]
    rows = pl.concat([known, *(one.select(noted.names()) for one in named)])
    if new.height >= max(_FEWEST, _SHARE * len(stored)):
        objects.put(place, parquet.frame_bytes(rows))
    return rows.drop(_VERSION)


def _known(objects: ObjectStore, place: str, schema: pl.Schema) -> pl.DataFrame:
    try:
        with objects.as_file(place) as path:
            return parquet.read_frame(path, schema.names()).cast(schema)
    except (NoSuchObjectError, FileNotFoundError, DamagedFileError, pl.exceptions.PolarsError):
        return schema.to_frame()
