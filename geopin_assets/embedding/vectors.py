"""The stored vectors of a cell: their columns, and building rows from what a model returned.

Not here: which captures are embedded (`plan.py`), embedding them (`pipeline.py`).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.capture import vector_id
from geopin_assets.embedding.panorama import YAW_STEP_DEG
from geopin_assets.embedding.wanted import WantedImage


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
    images: Sequence[WantedImage], views: Sequence[int], vectors: NDArray[np.float16], model_id: str
) -> pl.DataFrame:
    """Rows of `embedding_schema`: row i of `vectors` is view `views[i]` of `images[i]`."""
    return pl.DataFrame(
        {
            "vector_id": [vector_id(image.capture_id, view) for image, view in zip(images, views, strict=True)],
            "capture_id": [image.capture_id for image in images],
            "source": [image.source for image in images],
            "view": views,
            "center_deg": pl.Series([image.center_deg for image in images], dtype=pl.Float64),
            "model_id": [model_id] * len(images),
            "image_version": [image.image_version for image in images],
            "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float16, vectors.shape[1])),
        },
        schema_overrides={"view": pl.Int16},
    ).select(*(heading_of_view() if name == "heading_deg" else name for name in embedding_schema(vectors.shape[1])))
