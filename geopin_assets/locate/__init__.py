"""Where was this photo taken? The nearest captures in the published index.

Here: searching with the views of one image and putting each match's row beside it. Not here:
embedding the image, judging how much to trust the answer, or printing it.
"""

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from geopin_assets.errors import PermanentError
from geopin_assets.geo import distance_m
from geopin_assets.index.limits import MAX_TOP_K
from geopin_assets.index.protocol import Readable, Searchable

_ROWS_SQL = """
SELECT vectors.vector_id, vectors.heading_deg, captures.capture_id, source, lon, lat, captured_at,
       license, attribution, creator, page_url
FROM json_each(?1) AS hit
CROSS JOIN vectors ON vectors.vector_id = hit.value
CROSS JOIN captures ON captures.capture_id = vectors.capture_id
"""  # CROSS keeps the order of the joins: the ids lead, and no plan can scan the (billed) tables
MATCH_SCHEMA = {
    **{"rank": pl.Int64, "score": pl.Float64, "capture_id": pl.String, "source": pl.String},
    **{"lon": pl.Float64, "lat": pl.Float64, "heading_deg": pl.Float64, "captured_at": pl.String},
    **{"license": pl.String, "attribution": pl.String, "creator": pl.String, "page_url": pl.String},
    "distance_m": pl.Float64,
}
"""Columns of a match. `score` is a cosine, `heading_deg` the direction of the matching view, `captured_at` ISO 8601
UTC, `distance_m` how far the capture is from the best match."""
_COUNTED_HERE = ("rank", "score", "distance_m")
_ROW_SCHEMA = {"vector_id": pl.String} | {n: t for n, t in MATCH_SCHEMA.items() if n not in _COUNTED_HERE}


def locate(views: NDArray[np.float32], index: Searchable, store: Readable, top: int = 10) -> pl.DataFrame:
    """The `top` best captures for one image, best first, with the columns of MATCH_SCHEMA.

    `views` holds the image's unit vectors, float32 [V, dim]: one for a photo, several for a panorama.
    Every view is searched; of a capture only the best pair of views counts. A vector whose row is
    not (or no longer) in the store is passed over: the two stores change one after the other.
    Raises PermanentError for vectors of another dimension.
    """
    if views.ndim != 2 or views.shape[1] != index.dim or not len(views):
        raise PermanentError(f"an image is [views, {index.dim}], not {views.shape}: is it from the index's model?")
    hits = pl.concat([index.query(view, MAX_TOP_K) for view in views])
    hits = hits.group_by("vector_id").agg(pl.col("score").max())
    matches = hits.join(_rows(hits["vector_id"], store), on="vector_id")
    best = matches.sort("score", "vector_id", descending=[True, False]).unique(
        "capture_id", keep="first", maintain_order=True
    )
    best = best.head(top).with_row_index("rank", offset=1)
    lons, lats = best["lon"], best["lat"]
    away_m = [distance_m(lons[0], lats[0], lon, lat) for lon, lat in zip(lons, lats, strict=True)]
    best = best.with_columns(pl.col("rank").cast(pl.Int64), distance_m=pl.Series(away_m, dtype=pl.Float64))
    return best.select(list(MATCH_SCHEMA))


def _rows(vector_ids: pl.Series, store: Readable) -> pl.DataFrame:
    rows = store.query(_ROWS_SQL, (orjson.dumps(vector_ids.to_list()).decode(),))
    return rows.cast(_ROW_SCHEMA) if rows.height else pl.DataFrame(schema=_ROW_SCHEMA)  # type: ignore[arg-type]
