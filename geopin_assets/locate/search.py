"""The nearest captures to the views of one image, with everything that a reader must be shown beside them.

Here: searching every view, one row per capture, and where a search looks. Not here: embedding the image, or what an
answer is made of them (`locator.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from geopin_assets.cells import cell_block
from geopin_assets.errors import PermanentError
from geopin_assets.geo import distance_m
from geopin_assets.index.limits import MAX_TOP_K
from geopin_assets.index.protocol import Readable, Searchable

_ROWS_SQL = """
SELECT vectors.vector_id, vectors.view, vectors.heading_deg, captures.capture_id, captures.source, lon, lat,
       captured_at, heading_from, creator, captures.license, licenses.url AS license_url, attribution, page_url,
       thumbnail_url, covered_by, doubts.trust, cell_id, is_pano
FROM json_each(?1) AS hit
CROSS JOIN vectors ON vectors.vector_id = hit.value
CROSS JOIN captures ON captures.capture_id = vectors.capture_id
LEFT JOIN doubts ON doubts.capture_id = captures.capture_id
LEFT JOIN licenses ON licenses.license = captures.license
"""  # CROSS keeps the order of the joins: the ids lead, and no plan can scan the (billed) tables
MATCH_SCHEMA = {
    **{"rank": pl.Int64, "score": pl.Float64, "capture_id": pl.String, "source": pl.String},
    **{"lon": pl.Float64, "lat": pl.Float64, "heading_deg": pl.Float64, "captured_at": pl.String},
    "heading_from": pl.String,
    **{"creator": pl.String, "license": pl.String, "license_url": pl.String, "attribution": pl.String},
    **{"page_url": pl.String, "thumbnail_url": pl.String, "covered_by": pl.String, "cell_id": pl.String},
    "trust": pl.Float64,
    **{"vector_id": pl.String, "view": pl.Int64, "is_pano": pl.Boolean, "distance_m": pl.Float64},
}
"""Columns of a match. `score` is a cosine, `heading_deg` the direction of the matching view and `heading_from` what
the capture's direction is known from (docs/schema.md), `captured_at` ISO 8601 UTC, `covered_by` a JSON list of the
sources that show this place, `trust` null for whom nobody contradicts, `distance_m` how far it is from
the best match."""
_COUNTED_HERE = ("rank", "score", "distance_m")
_COUNTED_AGAIN = ("rank", "distance_m")
_ROW_SCHEMA = {n: t for n, t in MATCH_SCHEMA.items() if n not in _COUNTED_HERE}
_BLOCKS_A_FILTER = 180
"""So many fit into the bytes that a filter may have."""

Where = Mapping[str, Any]
"""A filter of the index: see `Searchable.query`."""
Circle = tuple[float, float, float]
"""Longitude, latitude, and radius in meters."""


@dataclass(frozen=True, slots=True)
class Area:
    """Where to look: cells, and a circle within them."""

    cells: frozenset[str]
    near: Circle | None = None

    def filters(self) -> Iterator[Where]:
        """What the index can be asked: the blocks of cells."""
        blocks = sorted(set(map(cell_block, self.cells)))
        for first in range(0, len(blocks), _BLOCKS_A_FILTER):
            yield {"cell_block": {"$in": blocks[first : first + _BLOCKS_A_FILTER]}}

    def holds(self, cell_id: str, lon: float, lat: float) -> bool:
        return cell_id in self.cells and (self.near is None or distance_m(lon, lat, *self.near[:2]) <= self.near[2])


def search(
    views: NDArray[np.float32],
    index: Searchable,
    store: Readable,
    top: int = MAX_TOP_K,
    *,
    where: Where | None = None,
    area: Area | None = None,
    hidden: Circle | None = None,
) -> pl.DataFrame:
    """The `top` best captures for one image, best first, with the columns of MATCH_SCHEMA.

    `views` holds the image's unit vectors, float32 [V, dim]: one for a photo, several for a panorama.
    Every view is searched; of a capture only the best pair of views counts. A vector whose row is
    not (or no longer) in the store is passed over: the two stores change one after the other. The index knows blocks of
    cells, 20 km wide: where an `area` is smaller, it is asked deeper until nothing more alike can be inside.
    `hidden`: as if nothing in this circle were indexed, among the MAX_TOP_K most alike. Raises PermanentError for
    vectors of another dimension.
    """
    return looked(views, index, store, top, where=where, area=area, hidden=hidden)[0]


def looked(
    views: NDArray[np.float32],
    index: Searchable,
    store: Readable,
    top: int = MAX_TOP_K,
    *,
    where: Where | None = None,
    area: Area | None = None,
    hidden: Circle | None = None,
) -> tuple[pl.DataFrame, bool]:
    """The same, and whether the index was asked so deep that nothing more alike can be there."""
    if views.ndim != 2 or views.shape[1] != index.dim or not len(views):
        raise PermanentError(f"an image is [views, {index.dim}], not {views.shape}: is it from the index's model?")
    filters = [dict(where or {}) | dict(part) for part in (area.filters() if area else ({},))]
    deep = MAX_TOP_K
    while True:
        answers = [index.query(view, deep, where=each or None) for view in views for each in filters]
        found = _outside(_inside(_best(pl.concat(answers), store), area), hidden)
        cut = [float(answer["score"][-1]) for answer in answers if answer.height == deep]
        is_whole = not cut or found.filter(pl.col("score") >= max(cut)).height >= top
        if area is None or is_whole or deep >= index.deepest:
            return _ranked(found.head(top)), is_whole
        deep = min(10 * deep, index.deepest)


def _best(hits: pl.DataFrame, store: Readable) -> pl.DataFrame:
    """One row per capture, its best pair of views; best first."""
    hits = hits.group_by("vector_id").agg(pl.col("score").max())
    matches = hits.join(_rows(hits["vector_id"], store), on="vector_id")
    best = matches.sort("score", "vector_id", descending=[True, False])
    return best.unique("capture_id", keep="first", maintain_order=True)


def _inside(matches: pl.DataFrame, area: Area | None) -> pl.DataFrame:
    if area is None:
        return matches
    return matches.filter([area.holds(*place) for place in matches.select("cell_id", "lon", "lat").iter_rows()])


def _outside(matches: pl.DataFrame, hidden: Circle | None) -> pl.DataFrame:
    if hidden is None or matches.is_empty():
        return matches
    lon, lat, within_m = hidden
    places = matches.select("lon", "lat").iter_rows()
    return matches.filter([distance_m(lon, lat, *place) > within_m for place in places])


def _ranked(best: pl.DataFrame) -> pl.DataFrame:
    lons, lats = best["lon"], best["lat"]
    away_m = [distance_m(lons[0], lats[0], lon, lat) for lon, lat in zip(lons, lats, strict=True)]
    numbered = best.with_row_index("rank", offset=1).with_columns(
        pl.col("rank").cast(pl.Int64), distance_m=pl.Series(away_m, dtype=pl.Float64)
    )
    return numbered.select(list(MATCH_SCHEMA))


def reordered(matches: pl.DataFrame, inliers: Mapping[str, int]) -> pl.DataFrame:
    """The matches whose points were counted by that count, before all others."""
    points = pl.col("capture_id").replace_strict(dict(inliers), default=-1, return_dtype=pl.Int64)
    return renumbered(matches.sort(points, descending=True, maintain_order=True))


def renumbered(matches: pl.DataFrame) -> pl.DataFrame:
    """Matches in another order: ranks and distances from the best match anew."""
    return _ranked(matches.drop(*_COUNTED_AGAIN))


def _rows(vector_ids: pl.Series, store: Readable) -> pl.DataFrame:
    rows = store.query(_ROWS_SQL, (orjson.dumps(vector_ids.to_list()).decode(),))
    return rows.cast(_ROW_SCHEMA) if rows.height else pl.DataFrame(schema=_ROW_SCHEMA)  # type: ignore[arg-type]
