"""The stored vectors of a cell: their columns, and building rows from what a model returned.

Not here: which captures are embedded (`plan.py`), embedding them (`pipeline.py`).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.capture import vector_id
from geopin_assets.embedding.panorama import YAW_STEP_DEG


def embedding_schema(dim: int) -> pl.Schema:
    """Columns of the stored vectors of a model of `dim` dimensions."""
    return pl.Schema(
        {
            "vector_id": pl.String(),
            "capture_id": pl.String(),
            "source": pl.String(),
            "view": pl.Int16(),
            "heading_deg": pl.Float64(),
            "model_id": pl.String(),
            "image_version": pl.String(),
            "embedding": pl.Array(pl.Float16(), dim),
        }
    )


EMBEDDING_SCHEMA = embedding_schema(512)


def heading_of_view() -> pl.Expr:
    """Bearing of each view, clockwise from the image center; null when the capture's is unknown."""
    return ((pl.col("center_deg") + YAW_STEP_DEG * pl.col("view")) % 360.0).alias("heading_deg")


def vector_rows(
    keys: Sequence[str], views: Sequence[int], vectors: NDArray[np.float16], captures: pl.DataFrame, model_id: str
) -> pl.DataFrame:
    """Rows of `embedding_schema`: row i of `vectors` is view `views[i]` of capture `keys[i]`."""
    dim = vectors.shape[1]
    about = captures.select(
        "capture_id",
        "source",
        pl.col("image_version").fill_null(""),
        pl.col("heading_deg").cast(pl.Float64).alias("center_deg"),
    )
    rows = pl.DataFrame(
        {
            "vector_id": [vector_id(key, view) for key, view in zip(keys, views, strict=True)],
            "capture_id": keys,
            "view": views,
            "embedding": vectors,
        },
        schema={
            "vector_id": pl.String,
            "capture_id": pl.String,
            "view": pl.Int16,
            "embedding": pl.Array(pl.Float16, dim),
        },
    )
    rows = rows.join(about, on="capture_id", how="left")
    return rows.with_columns(heading_of_view(), pl.lit(model_id).alias("model_id")).select(
        embedding_schema(dim).names()
    )
