"""The files of a province: written cell by cell, whoever has the cells, with a hash of each capture's vectors.

Used for publications and for copies of them, which therefore hold the same. Not here: which cells (`snapshot.py`,
`copies.py`), or what changed (`publish.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl

from geopin_assets.exchange.files import CAPTURES, Writer, new_file, vectors_of
from geopin_assets.exchange.items import ITEM_SCHEMA, vector_file_schema
from geopin_assets.exchange.manifest import ModelFacts, Part, hash_of
from geopin_assets.exchange.snapshot import Content
from geopin_assets.files.object_store import ObjectStore

See = Callable[[Content, pl.DataFrame], None]
"""Is told what was written of each cell: items."""


class _AsItWas(Exception):
    """Leaves what is being written unwritten."""


def write_part(
    store: ObjectStore,
    name: str,
    stamp: str,
    model: ModelFacts,
    contents: Iterable[Content],
    see: See,
    is_new: Callable[[], bool],
) -> Part | None:
    """The files of a province. None, and nothing is written, where all that was seen is not new."""
    try:
        with ExitStack() as stack:
            captures, vectors = (
                stack.enter_context(new_file(store, f"{folder}/{name}-{stamp}.parquet", kind))
                for folder, kind in (("captures", CAPTURES), ("vectors", vectors_of(model.dim)))
            )
            counts = Counter[str]()
            for content in contents:
                items = _write_cell(content, captures.writer, vectors.writer, model)
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


def _write_cell(content: Content, captures: Writer, vectors: Writer, model: ModelFacts) -> pl.DataFrame:
    """The items of a cell."""
    hashes, schema = Hashes(model), vector_file_schema(model.dim)
    owned = content.captures.select("capture_id")
    for rows in content.vectors():
        kept = of_cell(rows.join(owned, on="capture_id", how="semi", maintain_order="left"), content.cell_id, schema)
        hashes.add(kept)
        vectors.write(kept)
    found = pl.DataFrame(
        [(id_, *counted) for id_, counted in hashes.found().items()],
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


class Hashes:
    """A hash of each capture's vectors of a model: view by view, so that it does not matter where a row group ends."""

    def __init__(self, model: ModelFacts) -> None:
        self._salt = hash_of(model.model_id.encode()).encode()
        self._hashes: dict[str, Any] = {}
        self._counts = Counter[str]()

    def add(self, rows: pl.DataFrame) -> None:
        """Rows of vectors, those of a capture in the order of its views."""
        vectors = np.ascontiguousarray(rows["embedding"].to_numpy())
        about = rows.select("capture_id", "view", "left_out", "heading_deg", "image_version")
        for vector, (capture_id, *said) in zip(vectors, about.iter_rows(), strict=True):
            if capture_id not in self._hashes:
                self._hashes[capture_id] = blake2b(digest_size=8, key=self._salt)
            self._hashes[capture_id].update(repr(said).encode())
            self._hashes[capture_id].update(vector)
            self._counts[capture_id] += 1

    def found(self) -> dict[str, tuple[int, str]]:
        """How many vectors each capture has, and their hash."""
        return {id_: (count, self._hashes[id_].hexdigest()) for id_, count in self._counts.items()}
