"""Regions: sets of cells by name or shape, their contiguous ranges, and GeoJSON of them.

Here: how people say where ("amsterdam", "nh", "around:52.37,4.89,10") and which cells that is. Not
here: the cells themselves (`cells.py`) or what is done with them.

A spec is one of these, or several joined by `+`:

    all · land                  every cell · every cell touching Dutch land
    nh · be · de · sea          a province by its two letters · abroad · at sea
    nh-amsterdam · Amsterdam    a place, with or without its province
    nh-amsterdam-r090c051       one cell
    bbox:W,S,E,N                cells that a box touches, degrees
    around:LAT,LON,KM           cells within a distance of a position
    at:LAT,LON                  the cell that holds a position
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Any

from geopin_assets.cells import CellFacts, all_cells, cell_at, cell_facts, cell_ids, place_slug
from geopin_assets.errors import ConfigurationError
from geopin_assets.geo import distance_m
from geopin_assets.grid import Bbox, bounds, rows_columns

MAX_RADIUS_KM = 1000.0
ALSO_CALLED = {"the-hague": "den-haag", "s-gravenhage": "den-haag", "den-bosch": "s-hertogenbosch"}


def region(spec: str) -> tuple[str, ...]:
    """Cell ids of a region in partition order, each once. Raises ConfigurationError when the spec means nothing."""
    chosen: set[str] = set()
    for part in spec.split("+"):
        chosen.update(_part(part.strip()))
    return in_order(chosen)


def in_order(ids: Collection[str]) -> tuple[str, ...]:
    """Distinct cell ids in partition order. Raises ConfigurationError for an id that does not exist."""
    try:
        return tuple(sorted(set(ids), key=_order().__getitem__))
    except KeyError as error:
        cell_facts(error.args[0])  # raises with similar ids
        raise


def ranges(ids: Collection[str], limit: int | None = None) -> list[tuple[str, ...]]:
    """The cells as contiguous runs of the partition order, each at most `limit` long (a backfill run is one range)."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: a range holds at least one cell")
    order = _order()
    runs: list[list[str]] = []
    for cell_id in in_order(ids):
        is_next = runs and order[cell_id] == order[runs[-1][-1]] + 1
        if is_next and (limit is None or len(runs[-1]) < limit):
            runs[-1].append(cell_id)
        else:
            runs.append([cell_id])
    return [tuple(run) for run in runs]


def to_geojson(ids: Iterable[str]) -> dict[str, Any]:
    """A FeatureCollection with one square per cell, in the order given."""
    return {"type": "FeatureCollection", "features": [_feature(cell_facts(cell_id)) for cell_id in ids]}


def _feature(facts: CellFacts) -> dict[str, Any]:
    box = facts.cell.bbox
    ring = [[box.west, box.south], [box.east, box.south], [box.east, box.north], [box.west, box.north]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "cell_id": facts.cell.cell_id,
            "province": facts.province,
            "place": facts.place,
            "is_land": facts.is_land,
            "population": facts.population,
        },
    }


@cache
def _order() -> dict[str, int]:
    return {cell_id: i for i, cell_id in enumerate(cell_ids())}


@cache
def _named() -> dict[str, tuple[str, ...]]:
    """Cells by province, `province-place` and place; two places of one name are both meant. A province comes first."""
    names: dict[str, list[str]] = {}
    for facts in all_cells():
        for name in (facts.place, f"{facts.province}-{facts.place}"):
            names.setdefault(name, []).append(facts.cell.cell_id)
    provinces: dict[str, list[str]] = {}
    for facts in all_cells():
        provinces.setdefault(facts.province, []).append(facts.cell.cell_id)
    return {name: tuple(ids) for name, ids in (names | provinces).items()}


def _part(part: str) -> Iterable[str]:
    kind, colon, numbers = part.partition(":")
    if colon:
        return _shape(part, kind.strip().lower(), numbers)
    name = ALSO_CALLED.get(place_slug(part), place_slug(part))
    if name == "all":
        return cell_ids()
    if name == "land":
        return (facts.cell.cell_id for facts in all_cells() if facts.is_land)
    if name in _order():
        return (name,)
    return _named()[name] if name in _named() else _unknown_region(part, name)


def _shape(part: str, kind: str, numbers: str) -> Iterable[str]:
    values = _numbers(part, numbers)
    match kind, values:
        case "bbox", [west, south, east, north]:
            return _touching(_bbox(part, west, south, east, north))
        case "around", [lat, lon, radius_km] if abs(lat) <= 90 and abs(lon) <= 180 and 0 <= radius_km <= MAX_RADIUS_KM:
            return _around(lat, lon, radius_km)
        case "at", [lat, lon]:
            if found := cell_at(lon, lat):
                return (found.cell_id,)
            raise ConfigurationError(f"region {part!r}: outside the grid (latitude comes first)")
    raise ConfigurationError(f"region {part!r}: write bbox:W,S,E,N, around:LAT,LON,KM or at:LAT,LON")


def _numbers(part: str, text: str) -> list[float]:
    try:
        values = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"region {part!r}: expected numbers separated by commas") from error
    if not all(map(isfinite, values)):
        raise ConfigurationError(f"region {part!r}: not a finite number")
    return values


def _bbox(part: str, west: float, south: float, east: float, north: float) -> Bbox:
    try:
        return Bbox(west, south, east, north)
    except ValueError as error:
        raise ConfigurationError(f"region {part!r}: {error}") from error


def _touching(box: Bbox) -> Iterable[str]:
    middles = (bounds(row, column).center for row, column in rows_columns(box))
    return (found.cell_id for lon, lat in middles if (found := cell_at(lon, lat)))


def _around(lat: float, lon: float, radius_km: float) -> Iterable[str]:
    """Cells whose nearest point is within the radius."""
    for facts in all_cells():
        box = facts.cell.bbox
        near_lon, near_lat = min(max(lon, box.west), box.east), min(max(lat, box.south), box.north)
        if distance_m(lon, lat, near_lon, near_lat) <= radius_km * 1000:
            yield facts.cell.cell_id


def _unknown_region(part: str, name: str) -> Iterable[str]:
    similar = get_close_matches(name, [*_named(), "all", "land"], n=3) or get_close_matches(name, cell_ids(), n=3)
    hint = f"; did you mean {', '.join(similar)}?" if similar else ""
    raise ConfigurationError(
        f"no region {part!r}{hint} (a province, a place, a cell id, land, all, bbox:, around:, at:)"
    )
