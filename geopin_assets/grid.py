"""The grid: boxes and the ~2 km cells that tile the Netherlands' bounding box.

Here: Bbox, Cell and the arithmetic between positions, rows, columns and bounds. Not here: which
cells exist as partitions, their names, land and population (`cells.py`, from the frozen data file).

Cells are equal-angle: 0.018 degrees of latitude by 0.0293 of longitude, 2.00 x 2.00 km at 52.1 N.
They are half-open, [west, east) x [south, north), so every position belongs to exactly one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor

WEST, SOUTH, EAST, NORTH = 3.37, 50.75, 7.21, 53.47
CELL_LON_DEG, CELL_LAT_DEG = 0.0293, 0.018
COLUMNS, ROWS = 132, 152  # the last row and column reach a little beyond the bounding box


@dataclass(frozen=True, slots=True)
class Bbox:
    """A box in degrees WGS84, half-open: its west and south edges belong to it, east and north do not."""

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        """Raises ValueError for a box that is empty, reversed, or not on Earth (swapped coordinates)."""
        if not (-180 <= self.west < self.east <= 180 and -90 <= self.south < self.north <= 90):
            raise ValueError(f"not a box west,south,east,north in degrees: {self}")

    def __str__(self) -> str:
        return f"{self.west:.6f},{self.south:.6f},{self.east:.6f},{self.north:.6f}"

    def contains(self, lon: float, lat: float) -> bool:
        return self.west <= lon < self.east and self.south <= lat < self.north

    def intersects(self, other: "Bbox") -> bool:
        return (
            self.west < other.east and other.west < self.east and self.south < other.north and other.south < self.north
        )

    @property
    def center(self) -> tuple[float, float]:
        """(lon, lat) of the middle."""
        return (self.west + self.east) / 2, (self.south + self.north) / 2

    def quarters(self) -> "tuple[Bbox, Bbox, Bbox, Bbox]":
        """The four boxes that tile this one exactly."""
        lon, lat = self.center
        return (
            Bbox(self.west, self.south, lon, lat),
            Bbox(lon, self.south, self.east, lat),
            Bbox(self.west, lat, lon, self.north),
            Bbox(lon, lat, self.east, self.north),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One crawl square = one partition. `cell_id` is the partition key, e.g. `nh-amsterdam-r090c051`."""

    cell_id: str
    bbox: Bbox


def edge_lon(column: int) -> float:
    """West edge of a column; rounded, so that neighbors share the very same float."""
    return round(WEST + column * CELL_LON_DEG, 4)


def edge_lat(row: int) -> float:
    """South edge of a row; rounded, so that neighbors share the very same float."""
    return round(SOUTH + row * CELL_LAT_DEG, 4)


def bounds(row: int, column: int) -> Bbox:
    """Bounds of the cell at (row, column), counted from the south-west corner."""
    return Bbox(edge_lon(column), edge_lat(row), edge_lon(column + 1), edge_lat(row + 1))


def row_column(lon: float, lat: float) -> tuple[int, int] | None:
    """(row, column) of the one cell that holds a position, or None outside the grid (or for NaN)."""
    if not (WEST <= lon < edge_lon(COLUMNS) and SOUTH <= lat < edge_lat(ROWS)):
        return None
    row, column = floor((lat - SOUTH) / CELL_LAT_DEG), floor((lon - WEST) / CELL_LON_DEG)
    row += (lat >= edge_lat(row + 1)) - (lat < edge_lat(row))  # division and rounded edges may differ by one ulp
    column += (lon >= edge_lon(column + 1)) - (lon < edge_lon(column))
    return row, column


def rows_columns(bbox: Bbox) -> Iterator[tuple[int, int]]:
    """All (row, column) whose cells intersect a box, in row-major order."""
    first_row, last_row = floor((bbox.south - SOUTH) / CELL_LAT_DEG) - 1, floor((bbox.north - SOUTH) / CELL_LAT_DEG) + 1
    first_column = floor((bbox.west - WEST) / CELL_LON_DEG) - 1
    last_column = floor((bbox.east - WEST) / CELL_LON_DEG) + 1
    for row in range(max(first_row, 0), min(last_row, ROWS - 1) + 1):
        for column in range(max(first_column, 0), min(last_column, COLUMNS - 1) + 1):
            if bounds(row, column).intersects(bbox):
                yield row, column
