"""Which vectors the index must hold: those of one model, for captures that the catalog holds in that very cell.

Not here: publishing them (`publish.py`) or comparing them with the index (`integrity.py`).
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from geopin_assets.cells import cell_block
from geopin_assets.defs.resources import Storage
from geopin_assets.embedding.protocol import Model
from geopin_assets.index.protocol import vector_schema
from geopin_assets.index.streams import Desired

_PUBLISHED = ["vector_id", "capture_id", "source", "embedding"]


def all_desired(storage: Storage, model: Model) -> pl.DataFrame:
    """All vectors that the index of a model must hold: embedded, and still in the catalog in that cell.

    Columns vector_id, capture_id, cell_id.
    """
    cell_ids = [path.stem for path in storage.vectors(model).paths()]
    stored = _stored(storage, cell_ids, model, ["vector_id", "capture_id"])
    places = storage.catalog().sightings().select("capture_id", "cell_id")
    return stored.join(places, on=["capture_id", "cell_id"])


def desired_views(storage: Storage, cell_ids: Sequence[str], models: Iterable[Model]) -> pl.DataFrame:
    """What the metadata says of vectors: those of every model that is searched or about to be.

    Ids and bearings of a capture's views do not depend on the model. Columns vector_id, capture_id, view,
    heading_deg, cell_id.
    """
    columns = ["vector_id", "capture_id", "view", "heading_deg"]
    stored = pl.concat([_stored(storage, cell_ids, model, columns) for model in models])
    places = storage.catalog().captures(cell_ids).select("capture_id", "cell_id")
    return stored.join(places, on=["capture_id", "cell_id"]).unique("vector_id", keep="first", maintain_order=True)


def desired_vectors(storage: Storage, cell_ids: Sequence[str], model: Model) -> Desired:
    """Vectors of one model for the captures that the catalog holds in these cells: `vector_schema` and `cell_id`.

    As they are now: a file that is replaced afterwards is read on as it was, because what is sent must be what the
    ledger says was sent. A frame is a row group, 16 MB.
    """
    files, schema = storage.vectors(model), vector_schema(model.dim)
    stored = {cell_id: files.cell(cell_id).snapshot(_PUBLISHED) for cell_id in cell_ids}
    places = (
        storage.catalog()
        .captures(cell_ids)
        .select("capture_id", "cell_id", captured_year=pl.col("captured_at").dt.year().cast(pl.Int32))
        .partition_by("cell_id", as_dict=True)
    )

    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame(schema=schema | {"cell_id": pl.String()})
        for (cell_id,), of_cell in places.items():
            block = pl.lit(cell_block(cell_id)).alias("cell_block")
            for rows in stored[cell_id]():
                joined = rows.join(of_cell, on="capture_id").with_columns(block)
                yield joined.select(*schema, "cell_id").cast({"embedding": schema["embedding"]})

    return frames


def _stored(storage: Storage, cell_ids: Sequence[str], model: Model, columns: list[str] | None = None) -> pl.DataFrame:
    """Columns of these cells' vectors, and the cell they are stored in.

    A capture that moved is still in the file of its old cell until that is embedded again.
    """
    files = storage.vectors(model)
    frames = [files.cell(cell_id).read(columns).with_columns(cell_id=pl.lit(cell_id)) for cell_id in cell_ids]
    return pl.concat([files.cell("").read(columns).with_columns(cell_id=pl.lit("")), *frames])
