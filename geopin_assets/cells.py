"""The cells that exist: their ids in partition order, places, land and population, and their names in words.

Here: the frozen data files `data/cells.csv` and `data/places.csv`, read once, and look-ups in them. Not here: the
arithmetic of the grid (`grid.py`), sets of cells by name or shape (`regions.py`), or how the files are made
(`data/build_cells.py`).

A cell id is `{province}-{place}-r{row:03d}c{column:03d}`, e.g. `nh-amsterdam-r090c051`: a province and a place are
each one contiguous range of the order. Abroad and at sea the province is `be`, `de`, `sea`.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import pairwise

from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import COLUMNS, ROWS, Bbox, Cell, edge_lat, edge_lon, row_column, rows_columns


@dataclass(frozen=True, slots=True)
class CellFacts:
    """A cell and what is known about it before anything was crawled."""

    cell: Cell
    row: int
    column: int
    is_land: bool
    """Touches Dutch land (large inland water is not land)."""
    population: int
    """Inhabitants, estimated from the places around (GeoNames)."""
    province: str
    """Two-letter code of a Dutch province, or `be`, `de`, `sea`."""
    place: str
    """Slug of the nearest larger place, unique within its province."""


@dataclass(frozen=True, slots=True)
class Place:
    """A populated place, quarters included. `province` as in cell ids."""

    name: str
    lon: float
    lat: float
    population: int
    province: str


BLOCK_CELLS = 10
"""Side of a block, in cells: the coarse place that searches may filter by, and that shards hold whole."""
PLACES_ATTRIBUTION = "Places © GeoNames (CC BY 4.0)"


def place_slug(name: str) -> str:
    """A place's name as it appears in cell ids: lower case, [a-z0-9-], without accents."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")


def _text(file: str) -> list[str]:
    return files("geopin_assets.data").joinpath(file).read_text(encoding="utf-8").splitlines()[1:]


def _lines(file: str) -> Iterator[list[str]]:
    return csv.reader(_text(file))


_ID = re.compile(r"(?P<province>[a-z]{1,10})-(?P<place>[a-z0-9-]{1,100})-r(?P<row>\d{3})c(?P<column>\d{3})")


@cache
def _rows() -> tuple[tuple[str, int, int, bool, int], ...]:
    """(cell_id, row, column, is_land, population) in partition order."""
    return tuple(
        (key, int(row), int(column), land == "1", int(people)) for key, row, column, land, people in _lines("cells.csv")
    )


@cache
def places() -> tuple[Place, ...]:
    """All Dutch places of 500 inhabitants or more, largest first."""
    return tuple(
        Place(name, float(lon), float(lat), int(people), province)
        for name, lon, lat, people, province in _lines("places.csv")
    )


@cache
def cell_ids() -> tuple[str, ...]:
    """All cell ids in partition order."""
    return tuple(line.partition(",")[0] for line in _text("cells.csv"))


@cache
def all_cells() -> tuple[CellFacts, ...]:
    """All cells in partition order."""
    lons = tuple(pairwise(edge_lon(column) for column in range(COLUMNS + 1)))
    lats = tuple(pairwise(edge_lat(row) for row in range(ROWS + 1)))
    found = []
    for cell_id, row, column, is_land, population in _rows():
        (west, east), (south, north) = lons[column], lats[row]
        province, _, place = cell_id[:-9].partition("-")
        cell = Cell(cell_id, Bbox(west, south, east, north))
        found.append(CellFacts(cell, row, column, is_land, population, province, place))
    return tuple(found)


@cache
def _by_id() -> dict[str, CellFacts]:
    return {facts.cell.cell_id: facts for facts in all_cells()}


@cache
def _by_position() -> dict[tuple[int, int], Cell]:
    return {(facts.row, facts.column): facts.cell for facts in all_cells()}


def cell_facts(cell_id: str) -> CellFacts:
    """Facts of one cell. Raises ConfigurationError, with similar ids, for an id that does not exist."""
    try:
        return _by_id()[cell_id]
    except KeyError:
        similar = get_close_matches(cell_id, cell_ids(), n=3)
        hint = f"; did you mean {', '.join(similar)}?" if similar else ""
        raise ConfigurationError(f"no such cell: {cell_id!r}{hint}") from None


def stored_facts(cell_id: str) -> CellFacts:
    """Facts of a cell of which something is stored: one that left the grid is where its id says, with nobody in it.

    Raises ConfigurationError for what was never the id of a cell.
    """
    left = None if cell_id in _by_id() else _ID.fullmatch(cell_id)
    if left is None:
        return cell_facts(cell_id)
    row, column = int(left["row"]), int(left["column"])
    box = Bbox(edge_lon(column), edge_lat(row), edge_lon(column + 1), edge_lat(row + 1))
    return CellFacts(Cell(cell_id, box), row, column, False, 0, left["province"], left["place"])


def is_id(text: str) -> bool:
    """Whether it could be the id of a cell, of this grid or one before: what lies beside files of cells may not."""
    return _ID.fullmatch(text) is not None


def left_grid(ids: Iterable[str]) -> list[str]:
    """Those among the ids of which something is stored that are no cells any more, since the grid was changed."""
    return sorted({id_ for id_ in ids if id_ not in _by_id()})


def cell_block(cell_id: str) -> str:
    """The block of 10 x 10 cells (about 20 x 20 km) that holds a cell, e.g. `r09c05`."""
    facts = stored_facts(cell_id)
    return f"r{facts.row // BLOCK_CELLS:02d}c{facts.column // BLOCK_CELLS:02d}"


def pages(cell_ids: Sequence[str], counts: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Cells in their order, so many together that their `counts` stay within `limit`; a larger one comes alone."""
    page: list[str] = []
    total = 0
    for cell_id in cell_ids:
        total += counts.get(cell_id, 0)
        if page and total > limit:
            yield page
            page, total = [], counts.get(cell_id, 0)
        page.append(cell_id)
    if page:
        yield page


def cell(cell_id: str) -> Cell:
    """The cell of an id. Raises ConfigurationError for an id that does not exist."""
    return cell_facts(cell_id).cell


def cell_at(lon: float, lat: float) -> Cell | None:
    """The one cell that holds a position, or None outside the grid."""
    position = row_column(lon, lat)
    return _by_position()[position] if position else None


def cells_in(bbox: Bbox) -> Iterator[Cell]:
    """All cells that intersect a box."""
    return (_by_position()[place] for place in rows_columns(bbox) if place in _by_position())


PROVINCES = {
    "dr": "Drenthe",
    "fl": "Flevoland",
    "fr": "Friesland",
    "ge": "Gelderland",
    "gr": "Groningen",
    "li": "Limburg",
    "nb": "North Brabant",
    "nh": "North Holland",
    "ov": "Overijssel",
    "ut": "Utrecht",
    "ze": "Zeeland",
    "zh": "South Holland",
}
ELSEWHERE = {"be": "Belgium", "de": "Germany", "sea": "At sea"}
"""What the first word of a cell id means where it is no Dutch province."""


def place_name(slug: str) -> str:
    """A place's name with its capitals; abroad and at sea made from the slug."""
    return _by_slug().get(slug, slug.replace("-", " ").title())


@cache
def _by_slug() -> dict[str, str]:
    return {place_slug(place.name): place.name for place in reversed(places())}
