"""Layers for maps: every capture, and every cell with its gaps, as vector tiles in PMTiles archives.

`captures.pmtiles` holds a point for each capture at the largest zoom; below it the newest of its source and kind in
every two pixels, and how many that one stands for: a street is a line of dots that say how old its newest image is.
`cells.pmtiles` holds crawled cells, and as a layer of their own those that fall short; `streets.pmtiles`, where an
extract is configured, streets by the age of their newest image. Beside each is its TileJSON, and `index.html`, a map
that needs nothing else. All of it are files: any server that answers ranges will do.

Here: what the layers say. Not here: tiles (`tiles.py`), what a gap is (`coverage.py`), or the map (`pages.py`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import shapely

from geopin_assets.cells import place_name, stored_facts
from geopin_assets.files.atomic import write_bytes, write_text
from geopin_assets.grid import Bbox
from geopin_assets.quality.pages import page
from geopin_assets.quality.streets import STREETS_ATTRIBUTION
from geopin_assets.quality.tiles import (
    EXTENT,
    MAX_ZOOM,
    Archive,
    Feature,
    Tile,
    archive,
    newest_of_each_bin,
    on_grid,
    point_tiles,
    shape_tiles,
)

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

LAYER_COLUMNS = (
    *("capture_id", "source", "lon", "lat", "captured_at", "heading_deg", "is_pano"),
    *("license", "attribution", "page_url", "not_indexed_because"),
)
"""What a layer is drawn from."""
FOLDER = "layers"
_CELL_SIZED = 12
"""The zoom of tiles as large as a cell."""
_ONLY_WHOLE = ("license", "attribution", "page_url", "not_indexed_because")
"""What is said of a capture at the largest zoom only; its id, too, but that keeps an order."""
CELL_ZOOMS, STREET_ZOOMS = range(4, 11), range(10, MAX_ZOOM + 1)
_ARCHIVES = (
    ("captures", ("captures",), (0, MAX_ZOOM)),
    ("cells", ("cells", "gaps"), (CELL_ZOOMS[0], CELL_ZOOMS[-1])),
    ("streets", ("streets",), (STREET_ZOOMS[0], STREET_ZOOMS[-1])),
)
_KIND = ("source", "is_pano")
_ATTRIBUTION = f"each image by its own license and attribution; {STREETS_ATTRIBUTION}"
_FIELDS: dict[str, dict[str, str]] = {
    "captures": {
        "source": "String",
        "kind": "String: flat or pano",
        "date": "String: of the newest, YYYY-MM-DD; absent if unknown",
        "year": "Number: the same",
        "heading_deg": "Number: direction of view, clockwise from true north; absent if unknown",
        "n": "Number: how many captures the point stands for",
        "capture_id": "String: at the largest zoom, as the four below",
        "license": "String",
        "attribution": "String: must be shown with the image",
        "page_url": "String: page of the image",
        "not_indexed_because": "String: why the index does without it",
    },
    "cells": {
        "cell_id": "String",
        "place": "String",
        "population": "Number",
        "captures": "Number",
        "sources": "String: those that have captures, between commas",
        "newest": "String: YYYY-MM-DD",
    },
    "streets": {
        "name": "String",
        "is_shown": "Boolean: an image within 25 m",
        "date": "String: of the newest of them, YYYY-MM-DD; absent if unknown",
        "year": "Number: the same",
    },
    "gaps": {"cell_id": "String", "place": "String", "population": "Number", "reasons": "String: between commas"},
}


@dataclass(frozen=True, slots=True)
class Layers:
    """What was written."""

    page: Path
    captures: int
    tiles: int
    bytes: int


def write_layers(
    captures_of: Callable[[Sequence[str]], pl.DataFrame],
    counts: Mapping[str, int],
    coverage: pl.DataFrame,
    gaps: pl.DataFrame,
    folder: Path,
    url: str,
    streets: Sequence[tuple["BaseGeometry", dict[str, Any]]] = (),
    *,
    at_once: int = 250_000,
) -> Layers:
    """Write the archives, their TileJSON and the map into `folder`, which is served at `url`.

    `captures_of`: LAYER_COLUMNS of some cells; `counts`: captures by cell; `coverage`, `gaps` as in `coverage.py`;
    `streets` as in `streets.py`. `at_once`: captures that are held at once; but a tile as large as a cell is read
    whatever it holds.
    """
    bounds = _bounds([*counts, *gaps["cell_id"]])
    tiles, has_cells = 0, bool(coverage.height or gaps.height)
    if counts:
        beside = ["captures", *(["cells"] if has_cells else ()), *(["streets"] if streets else ())]
        with archive(folder / "captures.pmtiles", bounds, _about("captures") | {"archives": beside}) as made:
            _Captures(made, captures_of, at_once).add((0, 0, 0), _on_tiles(counts))
            tiles += made.tiles
    if has_cells:
        with archive(folder / "cells.pmtiles", bounds, _about("cells", "gaps")) as made:
            _add_cells(made, coverage, gaps)
            tiles += made.tiles
    if streets:
        with archive(folder / "streets.pmtiles", bounds, _about("streets")) as made:
            _add_streets(made, streets)
            tiles += made.tiles
    for name, layers, zooms in _ARCHIVES if streets else _ARCHIVES[:2]:
        about = _tilejson(name, layers, zooms, bounds, url)
        write_bytes(folder / f"{name}.json", json.dumps(about, indent=1).encode())
    written = write_text(folder / "index.html", page("layers"))
    size = sum(file.stat().st_size for file in folder.glob("*.pmtiles"))
    return Layers(written, sum(counts.values()), tiles, size)


@dataclass(frozen=True, slots=True)
class _Captures:
    """The archive of captures, tile by tile down to where few enough are left to be read at once, then up again."""

    made: Archive
    captures_of: Callable[[Sequence[str]], pl.DataFrame]
    at_once: int

    def add(self, tile: Tile, cells: pl.DataFrame) -> pl.DataFrame:
        """A tile and all below it; returns what is in it, newest first, as few as its zoom shows."""
        if tile[0] == _CELL_SIZED or cells["captures"].sum() <= self.at_once:
            return self._read(tile, cells)
        inside = ((part, cells.filter(_overlaps(part))) for part in _quarters(tile))
        found = [self.add(part, some) for part, some in inside if some.height]
        return self._tiles(_newest_first(pl.concat(found)), range(tile[0], tile[0] - 1, -1))

    def _read(self, tile: Tile, cells: pl.DataFrame) -> pl.DataFrame:
        points = on_grid(self.captures_of(cells["cell_id"].to_list())).with_columns(n=pl.lit(1, pl.Int64))
        side = EXTENT << (MAX_ZOOM - tile[0])
        inside = points.filter(pl.col("x") // side == tile[1], pl.col("y") // side == tile[2])
        return self._tiles(_newest_first(inside), range(MAX_ZOOM, tile[0] - 1, -1))

    def _tiles(self, points: pl.DataFrame, zooms: range) -> pl.DataFrame:
        for zoom in zooms:
            if zoom < MAX_ZOOM:
                points = newest_of_each_bin(points.drop(_ONLY_WHOLE, strict=False), _KIND, zoom)
            for tile, features in point_tiles(points, zoom, _said_whole if zoom == MAX_ZOOM else _said):
                self.made.add(tile, {"captures": features})
        return points


def _newest_first(points: pl.DataFrame) -> pl.DataFrame:
    return points.sort("captured_at", "capture_id", descending=True, nulls_last=True)


def _on_tiles(counts: Mapping[str, int]) -> pl.DataFrame:
    """cell_id, captures, and from where to where each cell is on the grid: west, north, east, south."""
    boxes = [stored_facts(cell_id).cell.bbox for cell_id in counts]
    first, last = (
        on_grid(pl.DataFrame(corners, schema=("lon", "lat"), orient="row"))
        for corners in ([(box.west, box.north) for box in boxes], [(box.east, box.south) for box in boxes])
    )
    cells = pl.DataFrame({"cell_id": list(counts), "captures": list(counts.values())})
    edges = [first["x"].alias("west"), first["y"].alias("north"), last["x"].alias("east"), last["y"].alias("south")]
    return cells.with_columns(edges).sort("cell_id")


def _overlaps(tile: Tile) -> pl.Expr:
    side = EXTENT << (MAX_ZOOM - tile[0])
    _, x, y = tile
    return pl.all_horizontal(
        *(pl.col("west") // side <= x, pl.col("east") // side >= x),
        *(pl.col("north") // side <= y, pl.col("south") // side >= y),
    )


def _quarters(tile: Tile) -> Iterator[Tile]:
    zoom, x, y = tile
    return ((zoom + 1, 2 * x + right, 2 * y + down) for down in (0, 1) for right in (0, 1))


def _said(points: pl.DataFrame) -> pl.DataFrame:
    return points.select(
        "source",
        pl.when("is_pano").then(pl.lit("pano")).otherwise(pl.lit("flat")).alias("kind"),
        date=pl.col("captured_at").dt.strftime("%Y-%m-%d"),
        year=pl.col("captured_at").dt.year().cast(pl.Int64),
        heading_deg=pl.col("heading_deg").round(0),
        n=pl.col("n"),
    )


def _said_whole(points: pl.DataFrame) -> pl.DataFrame:
    named = points.select("capture_id", *_ONLY_WHOLE)
    return pl.concat([_said(points), named], how="horizontal")


def _add_cells(made: Archive, coverage: pl.DataFrame, gaps: pl.DataFrame) -> None:
    cells, short = list(_cells(coverage)), list(_gaps(gaps))
    for zoom in CELL_ZOOMS:
        tiles: dict[Tile, dict[str, list[Feature]]] = {}
        for layer, said in (("cells", cells), ("gaps", short)):
            shapes = [_square(str(one["cell_id"])) for one in said]
            for tile, features in shape_tiles(shapes, said, zoom) if said else ():
                tiles.setdefault(tile, {})[layer] = features
        for tile, layers in tiles.items():
            made.add(tile, layers)


def _add_streets(made: Archive, streets: Sequence[tuple["BaseGeometry", dict[str, Any]]]) -> None:
    shapes, said = [shape for shape, _ in streets], [facts for _, facts in streets]
    for zoom in STREET_ZOOMS:
        for tile, features in shape_tiles(shapes, said, zoom):
            made.add(tile, {"streets": features})


def _cells(coverage: pl.DataFrame) -> Iterator[dict[str, Any]]:
    grouped = coverage.sort("source").group_by("cell_id", maintain_order=True)
    summed = grouped.agg(pl.col("captures").sum(), pl.col("source").str.join(","), pl.col("newest").max())
    for cell_id, captures, sources, newest in summed.iter_rows():
        date = f"{newest:%Y-%m-%d}" if newest else None
        yield _known(cell_id) | {"captures": captures, "sources": sources, "newest": date}


def _gaps(gaps: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for cell_id, reasons in (
        gaps.group_by("cell_id", maintain_order=True).agg(pl.col("reason").str.join(",")).iter_rows()
    ):
        yield _known(cell_id) | {"reasons": reasons}


def _known(cell_id: str) -> dict[str, Any]:
    facts = stored_facts(cell_id)
    return {"cell_id": cell_id, "place": place_name(facts.place), "population": facts.population}


def _square(cell_id: str) -> "shapely.Polygon":
    box = stored_facts(cell_id).cell.bbox
    return shapely.box(box.west, box.south, box.east, box.north)


def _bounds(cell_ids: Sequence[str]) -> Bbox:
    boxes = [stored_facts(cell_id).cell.bbox for cell_id in cell_ids] or [Bbox(3.3, 50.7, 7.3, 53.6)]
    sides = zip(*((box.west, box.south, box.east, box.north) for box in boxes), strict=True)
    return Bbox(*(choose(side) for choose, side in zip((min, min, max, max), sides, strict=True)))


def _about(*layers: str) -> dict[str, Any]:
    """GDAL, and QGIS with it, takes a field for a number only if nothing but that is said of it."""
    types = {layer: {name: said.partition(":")[0] for name, said in _FIELDS[layer].items()} for layer in layers}
    return {"name": "GeoPin", "attribution": _ATTRIBUTION, "vector_layers": _vector_layers(types)}


def _vector_layers(fields: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    return [{"id": layer, "fields": of_layer} for layer, of_layer in fields.items()]


def _tilejson(name: str, layers: Sequence[str], zooms: tuple[int, int], bounds: Bbox, url: str) -> dict[str, Any]:
    """As readers of PMTiles understand it: MapLibre with the pmtiles protocol, for one."""
    return {
        "tilejson": "3.0.0",
        "name": f"GeoPin {name}",
        "tiles": [f"pmtiles://{url}/{name}.pmtiles/{{z}}/{{x}}/{{y}}"],
        "minzoom": zooms[0],
        "maxzoom": zooms[1],
        "bounds": [bounds.west, bounds.south, bounds.east, bounds.north],
        "attribution": _ATTRIBUTION,
        "vector_layers": _vector_layers({layer: _FIELDS[layer] for layer in layers}),
    }
