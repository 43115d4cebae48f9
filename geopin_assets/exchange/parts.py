"""The files of a province: written cell by cell, whoever has the cells, with a hash of each capture's vectors.

Used for publications and for copies of them, which therefore hold the same. Not here: which cells (`snapshot.py`,
`copies.py`), or what changed (`publish.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl

from geopin_assets.exchange.files import CAPTURES, Writer, new_file, vectors_of
from geopin_assets.exchange.items import ITEM_SCHEMA, vector_file_schema
from geopin_assets.exchange.manifest import Part
from geopin_assets.exchange.snapshot import Content
from geopin_assets.files.object_store import ObjectStore

See = Callable[[Content, pl.DataFrame], None]
"""Is told what was written of each cell: items."""


class _AsItWas(Exception):
    """Leaves what is being written unwritten."""


def write_part(
    store: ObjectStore,
    name: str,
    sequence: int,
    dim: int,
    contents: Iterable[Content],
    see: See,
    is_new: Callable[[], bool],
) -> Part | None:
    """The files of a province. None, and nothing is written, where all that was seen is not new."""
    try:
        with ExitStack() as stack:
            captures, vectors = (
                stack.enter_context(new_file(store, f"{folder}/{name}-{sequence:06d}.parquet", kind))
                for folder, kind in (("captures", CAPTURES), ("vectors", vectors_of(dim)))
            )
            counts = Counter[str]()
            for content in contents:
                items = _write_cell(content, captures.writer, vectors.writer, vector_file_schema(dim))
                counts.update(counts_of(items))
                see(content, items)
            if not is_new():
                raise _AsItWas
            return Part(captures=captures.finish(), vectors=vectors.finish(), counts=dict(counts))
    except _AsItWas:
        return None


def counts_of(items: pl.DataFrame) -> dict[str, int]:
    """Captures, panoramas and vectors."""
    panoramas, vectors = items.select(pl.col("is_pano").sum(), pl.col("vectors").sum()).row(0)
    return {"captures": items.height, "panoramas": int(panoramas), "vectors": int(vectors)}


def _write_cell(content: Content, captures: Writer, vectors: Writer, schema: pl.Schema) -> pl.DataFrame:
    """The items of a cell."""
    hashes, counts = dict[str, Any](), Counter[str]()
    owned = content.captures.select("capture_id")
    for rows in content.vectors():
        kept = of_cell(rows.join(owned, on="capture_id", how="semi", maintain_order="left"), content.cell_id, schema)
        _note(kept, hashes, counts)
        vectors.write(kept)
    found = pl.DataFrame(
        [(id_, count, hashes[id_].hexdigest()) for id_, count in counts.items()],
        schema={"capture_id": pl.String(), "vectors": pl.Int32(), "vectors_hash": pl.String()},
        orient="row",
    )
    items = content.captures.join(found, on="capture_id", how="left", maintain_order="left").with_columns(
        pl.col("vectors").fill_null(0), pl.col("vectors_hash").fill_null("")
    )
    items = items.select(ITEM_SCHEMA.names())
    captures.write(items)
    return items


def of_cell(rows: pl.DataFrame, cell_id: str, schema: pl.Schema) -> pl.DataFrame:
    """Rows of a file of vectors."""
    return rows.with_columns(cell_id=pl.lit(cell_id)).select(schema.names())


def vectors_hashes(rows: Iterable[pl.DataFrame]) -> Mapping[str, tuple[int, str]]:
    """How many vectors each capture has in these rows, and their hash."""
    hashes, counts = dict[str, Any](), Counter[str]()
    for some in rows:
        _note(some, hashes, counts)
    return {id_: (count, hashes[id_].hexdigest()) for id_, count in counts.items()}


def _note(rows: pl.DataFrame, hashes: dict[str, Any], counts: Counter[str]) -> None:
    """View by view, so that it does not matter where a row group ends."""
    vectors = np.ascontiguousarray(rows["embedding"].to_numpy())
    about = rows.select("capture_id", "view", "left_out", "heading_deg", "image_version")
    for vector, (capture_id, *said) in zip(vectors, about.iter_rows(), strict=True):
        if capture_id not in hashes:
            hashes[capture_id] = blake2b(digest_size=8)
        hashes[capture_id].update(repr(said).encode())
        hashes[capture_id].update(vector)
        counts[capture_id] += 1
