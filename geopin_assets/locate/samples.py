"""Published captures as questions: a sample of every source, with the vectors that are stored of them.

People ask with flat photos, so of a panorama one view is drawn. Here: drawing, the same every time for the same index.
Not here: asking (`evaluation.py`).
"""

from collections.abc import Iterator
from random import Random

import numpy as np
import polars as pl

from geopin_assets.cells import cell_block
from geopin_assets.embedding.protocol import Model
from geopin_assets.geo import EARTH_RADIUS_M
from geopin_assets.locate.evaluation import Neighbor, Question
from geopin_assets.platform.index_state import desired_rows
from geopin_assets.platform.parts import Storage

_CELLS_AT_ONCE = 20
SAME_SIGHT_M = 10.0
"""Two views from places no farther apart show much the same, if they look the same way."""


def draw_questions(storage: Storage, model: Model, most: int, seed: int = 0) -> Iterator[Question]:
    """At most so many captures that have a vector, from cells in random order, the sources in turn."""
    files, random = storage.vectors(model), Random(seed)  # noqa: S311 (a sample)
    cell_ids = sorted(files.cell_ids())
    random.shuffle(cell_ids)
    per_cell = max(1, -(-most // max(1, len(cell_ids))))
    left = most
    for first in range(0, len(cell_ids), _CELLS_AT_ONCE):
        batch = cell_ids[first : first + _CELLS_AT_ONCE]
        rows = desired_rows(storage, batch)
        for cell_id, in_cell in rows.group_by("cell_id", maintain_order=True):
            stored = files.cell(str(cell_id[0])).read(["capture_id", "view", "heading_deg", "embedding"])
            for question in _of_cell(in_cell.drop("heading_deg").join(stored, on="capture_id"), per_cell, random):
                yield question
                left -= 1
                if not left:
                    return


class Around:
    """Views of one cell: what other sources show from the place of each, in its direction and in others."""

    def __init__(self, rows: pl.DataFrame) -> None:
        """Columns lon, lat, heading_deg (of the view), source and embedding; the others are told of neighbors."""
        self._rows = rows.drop("embedding")
        self._source = rows["source"].to_numpy()
        self._east_m = EARTH_RADIUS_M * np.radians(rows["lon"].to_numpy()) * np.cos(np.radians(rows["lat"].to_numpy()))
        self._north_m = EARTH_RADIUS_M * np.radians(rows["lat"].to_numpy())
        self._heading = rows["heading_deg"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        self._vectors = np.array(rows["embedding"].to_list(), dtype=np.float32)

    def beside(self, n: int) -> tuple[Neighbor, ...]:
        """Of each other source the view most like that in row n, among those that show the same and among the rest."""
        off_deg = np.abs((self._heading - self._heading[n] + 180) % 360 - 180)
        off_m = np.hypot(self._east_m - self._east_m[n], self._north_m - self._north_m[n])
        near = np.flatnonzero((off_m <= SAME_SIGHT_M) & (self._source != self._source[n]) & ~np.isnan(off_deg))
        alike = self._vectors[near] @ self._vectors[n]
        best: dict[tuple[str, bool], Neighbor] = {}
        for k in np.argsort(-alike, kind="stable"):
            other = int(near[k])
            neighbor = Neighbor(self._rows.row(other, named=True), float(alike[k]), float(off_deg[other]))
            best.setdefault((self._source[other], neighbor.shows_the_same), neighbor)
        return tuple(best.values())


def _of_cell(rows: pl.DataFrame, most: int, random: Random) -> Iterator[Question]:
    """Up to `most`, each source as often as the others as long as it has captures."""
    order, around = list(range(rows.height)), Around(rows)
    random.shuffle(order)
    shuffled = rows.with_row_index("number")[order].unique("capture_id", keep="first", maintain_order=True)
    turns = shuffled.with_columns(turn=pl.int_range(pl.len()).over("source")).sort("turn", maintain_order=True)
    for row in turns.head(most).iter_rows(named=True):
        group = f"{row['creator'] or row['source']}|{cell_block(row['cell_id'])}"
        views = np.array([row.pop("embedding")], dtype=np.float32)
        yield Question(row, group, views, around.beside(row.pop("number")))
