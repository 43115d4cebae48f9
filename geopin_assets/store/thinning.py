"""Thinning: which captures of a cell the index does without, because another one shows the same.

Along a drive there is an image every few meters: neighbors of one sequence that look the same way show nearly the
same, and each costs a vector (a panorama twelve). So of one sequence and direction of view one is kept within so many
meters, the newest first. Other drives, creators and sources are never thinned by each other: they show a place in
another light, and are what finds it. A keeper whose image was given up keeps nothing: what only it stood for is wanted
again, and nothing else changes by that. One that has no vector yet keeps nothing yet: what has one, and is to leave for
it, stays until then (`standing_in`), so that the index has no hole in between.

Here: the decision, which follows from a cell's canonical captures, the distance and what was given up, and from nothing
else, and writing it into the catalog. Not here: when that is (`merge.py`, `catalog.py`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import cos, degrees, floor, radians
from typing import Protocol

import duckdb
import polars as pl

from geopin_assets.capture import NotIndexed
from geopin_assets.geo import EARTH_RADIUS_M, distance_m
from geopin_assets.store.database import frame

SAME_DIRECTION_DEG = 30.0
"""Half of what a usual camera sees: beyond that a neighbor shows other houses."""
THINNING_COLUMNS = (
    *("capture_id", "source", "lon", "lat", "captured_at"),
    *("heading_deg", "is_pano", "sequence_id", "creator"),
)
"""What the decision is made from."""
_WITHOUT = "not_indexed_because is not null"
_SEQUENCE = ("source", "creator", "sequence_id", "is_pano")
_NEIGHBORS = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
_View = tuple[str, float, float, float | None]
"""capture_id, lon, lat, heading_deg."""


_DECIDED_FROM = f"""select rowid as row_id, cell_id, {", ".join(THINNING_COLUMNS)}, not_indexed_because as was,
    (capture_id, cell_id, image_version) in (
        select (capture_id, cell_id, image_version) from embedding_failures where next_try_at is null) as is_given_up
from captures where cell_key = ?"""  # noqa: S608


def decide(db: duckdb.DuckDBPyConnection, cell_keys: Iterable[int], within_m: float) -> None:
    """Bring `not_indexed_because` up to date in the cells with these keys."""
    for key in cell_keys:
        captures = frame(db, _DECIDED_FROM, [key])
        reason = decided(captures, within_m, set(captures.filter("is_given_up")["capture_id"]))
        changed = captures.select("row_id", "cell_id", "was", reason=reason).filter(
            ~pl.col("reason").eq_missing(pl.col("was"))
        )
        if changed.height:
            db.register("decided", changed)
            db.execute("insert into unwritten_cells select distinct cell_id from decided")
            db.execute(
                "update captures set not_indexed_because = d.reason from decided d where captures.rowid = d.row_id"
            )


class Asked(Protocol):
    """The catalog."""

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Run a read-only query."""
        ...


def not_indexed_counts(catalog: Asked) -> dict[str, int]:
    """How many captures the index does without, by reason."""
    sql = f"select not_indexed_because, count(*) from captures where {_WITHOUT} group by all order by all"  # noqa: S608
    return dict(catalog.query(sql).iter_rows())


def drives(catalog: Asked, at_least: int) -> pl.DataFrame:
    """What thinning is decided from, of cells drawn by chance until they hold so many captures.

    The number stands in the question: to hand DuckDB a parameter imports pandas, 0.3 s.
    """
    cells = "select cell_id, count(*) as captures from captures group by cell_id"
    drawn = f"select cell_id, sum(captures) over (order by hash(cell_id)) - captures as before from ({cells})"  # noqa: S608
    columns = ", ".join([*THINNING_COLUMNS, "cell_id"])
    some = f"(from ({drawn}) where before < {at_least:d})"
    sql = f"select {columns} from captures semi join {some} using (cell_id) order by all"  # noqa: S608
    return catalog.query(sql)


def thinned_m(db: duckdb.DuckDBPyConnection) -> float:
    """The distance that all cells were thinned by."""
    found = db.execute("from thinning").fetchone()
    return float(found[0]) if found else 0.0


def decided(captures: pl.DataFrame, within_m: float, given_up: Collection[str] = ()) -> pl.Series:
    """Why the index does without each capture, null where it wants it.

    `captures`: canonical ones of any number of cells, with their `cell_id`; cells do not know of each other.
    `given_up`: those whose image will never be had.
    """
    thinned: set[str] = set()
    if within_m > 0:
        for views in _sequences(captures):
            thinned.update(_thinned(views, within_m, given_up))
    is_thinned = captures["capture_id"].is_in(pl.Series(list(thinned), dtype=pl.String).implode())
    reason = pl.when(is_thinned).then(pl.lit(NotIndexed.THINNED.value)).otherwise(None)
    return captures.select(reason.alias("not_indexed_because").cast(pl.String)).to_series()


def standing_in(captures: pl.DataFrame, within_m: float, held: Collection[str]) -> set[str]:
    """Of captures that the index does without, those it must not be without yet: nothing that stands for them is held.

    `held`: what has a vector. Nothing else stands in.
    """
    thinned = decided(captures, within_m).is_not_null()
    if not thinned.any():
        return set()
    lasting = decided(captures, within_m, set(captures["capture_id"]).difference(held)).is_null()
    return set(captures.filter(thinned & lasting)["capture_id"]).intersection(held)


def _sequences(captures: pl.DataFrame) -> Iterator[list[_View]]:
    """The images of each sequence in each cell, newest first; what belongs to no sequence is not thinned."""
    ordered = (
        captures.filter(pl.col("sequence_id").is_not_null(), pl.len().over("cell_id", *_SEQUENCE) > 1)
        .sort("captured_at", "capture_id", descending=[True, False], nulls_last=True)
        .group_by("cell_id", *_SEQUENCE, maintain_order=True)
        .agg("capture_id", "lon", "lat", "heading_deg")
    )
    for ids, lons, lats, headings in ordered.select("capture_id", "lon", "lat", "heading_deg").iter_rows():
        yield list(zip(ids, lons, lats, headings, strict=True))


def _thinned(views: list[_View], within_m: float, given_up: Collection[str]) -> Iterable[str]:
    keepers, thinned = _Keepers(within_m, views), []
    for view in views:
        if not keepers.add_unless_near(view):
            thinned.append(view)
    if not any(keeper[0] in given_up for keeper in keepers.all):
        return (view[0] for view in thinned)
    lasting = _Keepers(within_m, views)
    for keeper in keepers.all:
        if keeper[0] not in given_up:
            lasting.add(keeper)
    return [view[0] for view in thinned if view[0] in given_up or not lasting.add_unless_near(view)]


def kept(captures: pl.DataFrame, within_m: float) -> tuple[int, int]:
    """How many captures would be left to the index, and how many of them are panoramas; see `decided`."""
    left = captures.filter(decided(captures, within_m).is_null())
    return left.height, int(left["is_pano"].sum())


@dataclass
class _Keepers:
    """Those of one sequence, found by where they are: the work per image does not grow with their number."""

    within_m: float
    views: list[_View]
    all: list[_View] = field(default_factory=list)
    _at: defaultdict[tuple[int, int], list[_View]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Squares at least so wide, wherever they lie: only which distances are looked at depends on them."""
        narrowest = cos(radians(min(89.0, max(abs(view[2]) for view in self.views) + 0.1)))
        self._lat_step = degrees(1.001 * self.within_m / EARTH_RADIUS_M)
        self._lon_step = self._lat_step / narrowest

    def add(self, view: _View) -> None:
        self.all.append(view)
        self._at[self._square(view)].append(view)

    def add_unless_near(self, view: _View) -> bool:
        """Whether it was added: no keeper that looks the same way is within the distance."""
        x, y = self._square(view)
        for dx, dy in _NEIGHBORS:
            for keeper in self._at.get((x + dx, y + dy), ()):
                if _is_same_way(view[3], keeper[3]) and distance_m(*view[1:3], *keeper[1:3]) < self.within_m:
                    return False
        self.add(view)
        return True

    def _square(self, view: _View) -> tuple[int, int]:
        return floor(view[1] / self._lon_step), floor(view[2] / self._lat_step)


def _is_same_way(heading_deg: float | None, other_deg: float | None) -> bool:
    """Images of one sequence whose direction nobody knows look as each other do, and as no other."""
    if heading_deg is None or other_deg is None:
        return heading_deg is other_deg
    return abs((heading_deg - other_deg + 180) % 360 - 180) <= SAME_DIRECTION_DEG
