"""Streets of an OpenStreetMap extract, and how old the newest image of each piece of them is.

The figure that mapping projects quote: the share of street kilometers with an image within 25 m and so many years, by
municipality. Streets and municipalities are those of the extract. A street is cut into pieces of about 20 m; what is
near the middle of a piece shows it. Here: reading an extract (with the extra `streets`), and measuring. Not here: which
extract (GEOPIN_STREETS), or the layer of it (`layers.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import cos, radians
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from geopin_assets.cells import all_cells, cells_in, pages, stored_facts
from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import EARTH_RADIUS_M
from geopin_assets.grid import CELL_LAT_DEG, CELL_LON_DEG, SOUTH, WEST, Bbox

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

NEAR_M, PIECE_M = 25.0, 20.0
HIGHWAYS = frozenset(
    {"trunk", "primary", "secondary", "tertiary", "unclassified", "residential", "living_street", "pedestrian", "road"}
)
"""Where people live, shop and drive; their links are part of them. Not motorways, paths or driveways."""
STREETS_ATTRIBUTION = "Streets © OpenStreetMap contributors (ODbL)"
STREETS_SCHEMA = pl.Schema(
    {
        "municipality": pl.String(),
        "street_km": pl.Float64(),
        "shown_km": pl.Float64(),
        "recent_km": pl.Float64(),
        "shown_share": pl.Float64(),
        "recent_share": pl.Float64(),
        "newest": pl.Datetime("us", "UTC"),
    }
)
"""Kilometers, and the share of them, with an image within NEAR_M, and with a recent one; the total comes last."""
_CAPTURES_AT_ONCE = 250_000
_MARGIN_DEG = 0.0005
_UNKNOWN, _NEVER = np.int64(-1), np.int64(-2)
"""An image without a date, and no image; else microseconds."""


@dataclass(frozen=True, slots=True)
class Street:
    """A way of the extract: its corners as lon, lat."""

    name: str
    line: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Extract:
    """What is used of an OpenStreetMap file."""

    streets: Sequence[Street]
    municipalities: Sequence[tuple[str, "BaseGeometry"]]


@dataclass(frozen=True, slots=True)
class Measured:
    """`by_municipality`: STREETS_SCHEMA, largest first, the total last. `lines`: runs of pieces of one year."""

    by_municipality: pl.DataFrame
    lines: Sequence[tuple["BaseGeometry", dict[str, Any]]]


def read_extract(file: Path) -> Extract:
    """Streets, and areas of admin_level 8, of a file that osmium reads (.osm.pbf, .osm).

    Raises ConfigurationError without osmium, or without the file.
    """
    try:
        import osmium
    except ImportError as error:
        raise ConfigurationError("GEOPIN_STREETS needs the extra `streets`: pip install osmium") from error
    if not file.is_file():
        raise ConfigurationError(f"GEOPIN_STREETS: there is no file {file}")
    boundaries, shapes = osmium.filter.TagFilter(("boundary", "administrative")), osmium.geom.WKBFactory()
    found, areas = list[Street](), list[tuple[str, "BaseGeometry"]]()
    wanted = osmium.filter.KeyFilter("highway", "boundary")
    things: Iterable[Any] = osmium.FileProcessor(str(file)).with_areas(boundaries).with_filter(wanted)
    for thing in things:
        if thing.is_area() and thing.tags.get("admin_level") == "8" and "name" in thing.tags:
            areas.append((thing.tags["name"], shapely.from_wkb(shapes.create_multipolygon(thing))))
        elif thing.is_way() and thing.tags.get("highway", "").removesuffix("_link") in HIGHWAYS:
            corners = [(node.lon, node.lat) for node in thing.nodes if node.location.valid()]
            if len(corners) > 1:
                found.append(Street(thing.tags.get("name", ""), np.array(corners)))
    return Extract(found, areas)


def measure(
    extract: Extract, captures_of: Callable[[Sequence[str]], pl.DataFrame], *, now: datetime, max_age_years: float
) -> Measured:
    """How far the streets are shown. `captures_of`: lon, lat and captured_at of some cells."""
    cut = [_pieces(street.line) for street in extract.streets]
    middles = np.concatenate([np.empty((0, 2)), *(middle for middle, _ in cut)])
    length_m = np.concatenate([np.empty(0), *(np.full(len(middle), each_m) for middle, each_m in cut)])
    newest = _newest(middles, captures_of)
    oldest = (now - timedelta(days=365.25 * max_age_years)).timestamp() * 1e6
    pieces = pl.DataFrame(
        {
            "municipality": _municipality_of(middles, extract.municipalities),
            "km": length_m / 1000,
            "newest": newest,
        },
        schema={"municipality": pl.String, "km": pl.Float64, "newest": pl.Int64},
    )
    return Measured(_summed(pieces, oldest), list(_lines(extract.streets, [len(m) for m, _ in cut], newest)))


def _pieces(line: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The middle of each piece, and how long each is."""
    along_m = _along_m(line)
    count = max(1, int(np.ceil(along_m[-1] / PIECE_M)))
    return _at(line, along_m, (np.arange(count) + 0.5) * along_m[-1] / count), float(along_m[-1] / count)


def _along_m(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each corner is from the first."""
    steps = np.diff(_meters(line, float(line[0, 1])), axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def _at(line: NDArray[np.float64], along_m: NDArray[np.float64], at_m: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.interp(at_m, along_m, line[:, 0]), np.interp(at_m, along_m, line[:, 1])], axis=1)


def _meters(lon_lat: NDArray[np.float64], lat0: float) -> NDArray[np.float64]:
    return np.radians(lon_lat) * (EARTH_RADIUS_M * cos(radians(lat0)), EARTH_RADIUS_M)


def _newest(middles: NDArray[np.float64], captures_of: Callable[[Sequence[str]], pl.DataFrame]) -> NDArray[np.int64]:
    """For each place the shutter time of the newest image within NEAR_M."""
    newest = np.full(len(middles), _NEVER)
    places = {(facts.row, facts.column): facts.cell.cell_id for facts in all_cells()}
    rows = np.floor((middles[:, 1] - SOUTH) / CELL_LAT_DEG).astype(int)
    columns = np.floor((middles[:, 0] - WEST) / CELL_LON_DEG).astype(int)
    inside: dict[str, list[int]] = {}
    for n, place in enumerate(zip(rows, columns, strict=True)):
        if place in places:
            inside.setdefault(places[place], []).append(n)
    for some in pages(sorted(inside), {cell_id: len(found) for cell_id, found in inside.items()}, _CAPTURES_AT_ONCE):
        captures = captures_of(_around(some))
        numbers = np.array([n for cell_id in some for n in inside[cell_id]])
        if captures.height:
            newest[numbers] = _newest_near(middles[numbers], captures)
    return newest


def _newest_near(middles: NDArray[np.float64], captures: pl.DataFrame) -> NDArray[np.int64]:
    lat0 = float(middles[:, 1].mean())
    tree = shapely.STRtree(shapely.points(_meters(captures.select("lon", "lat").to_numpy(), lat0)))
    piece, near = tree.query(shapely.points(_meters(middles, lat0)), predicate="dwithin", distance=NEAR_M)
    taken_at = captures["captured_at"].dt.timestamp("us").fill_null(int(_UNKNOWN)).to_numpy()
    newest = np.full(len(middles), _NEVER)
    np.maximum.at(newest, piece, taken_at[near])
    return newest


def _around(cell_ids: Sequence[str]) -> list[str]:
    """The cells, and those that something within NEAR_M of them lies in."""
    boxes = [stored_facts(cell_id).cell.bbox for cell_id in cell_ids]
    m = _MARGIN_DEG
    wide = (Bbox(box.west - m, box.south - m, box.east + m, box.north + m) for box in boxes)
    return sorted({cell.cell_id for box in wide for cell in cells_in(box)})


def _municipality_of(middles: NDArray[np.float64], municipalities: Sequence[tuple[str, "BaseGeometry"]]) -> list[str]:
    names = [""] * len(middles)
    tree = shapely.STRtree([area for _, area in municipalities])
    for place, area in tree.query(shapely.points(middles), predicate="intersects").T:
        names[place] = municipalities[area][0]
    return names


def _summed(pieces: pl.DataFrame, oldest_us: float) -> pl.DataFrame:
    def km(of: pl.Expr) -> pl.Expr:
        return pl.col("km").filter(of).sum()

    newest = pl.col("newest")
    figures = {
        "street_km": pl.col("km").sum(),
        "shown_km": km(newest > int(_NEVER)),
        "recent_km": km(newest >= oldest_us),
        "newest": newest.filter(newest > 0).max().cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    }
    by_name = pieces.group_by("municipality").agg(**figures).sort("street_km", "municipality", descending=[True, False])
    total = pieces.select(municipality=pl.lit("all"), **figures)
    shares = {name: pl.col(f"{name}_km") / pl.col("street_km") for name in ("shown", "recent")}
    table = pl.concat([by_name, total]).with_columns(**{f"{name}_share": share for name, share in shares.items()})
    return table.with_columns(pl.selectors.float().fill_nan(0.0)).select(STREETS_SCHEMA.names()).cast(STREETS_SCHEMA)


def _lines(
    streets: Sequence[Street], counts: Sequence[int], newest: NDArray[np.int64]
) -> Iterator[tuple["BaseGeometry", dict[str, Any]]]:
    """Each street in runs of pieces whose newest image is of one day."""
    first = 0
    for street, count in zip(streets, counts, strict=True):
        of_street, along_m = newest[first : first + count], _along_m(street.line)
        first += count
        days = np.where(of_street < 0, of_street, of_street // 86_400_000_000)
        breaks = [0, *(np.flatnonzero(np.diff(days)) + 1), count]
        for begin, end in pairwise(breaks):
            ends_m = np.array([begin, end]) * along_m[-1] / count
            corners = street.line[(along_m > ends_m[0]) & (along_m < ends_m[1])]
            edges = _at(street.line, along_m, ends_m)
            line = shapely.linestrings(np.concatenate([edges[:1], corners, edges[1:]]))
            yield line, {"name": street.name or None} | _said(int(of_street[begin]))


def _said(newest_us: int) -> dict[str, Any]:
    if newest_us < 0:
        return {"is_shown": newest_us == int(_UNKNOWN), "date": None, "year": None}
    day = datetime.fromtimestamp(newest_us / 1e6, UTC).date()
    return {"is_shown": True, "date": day.isoformat(), "year": day.year}
