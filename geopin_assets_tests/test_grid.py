"""The grid's arithmetic: one cell for every position, shared edges, boxes and their cells."""

from math import inf, nan, nextafter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geopin_assets.grid import (
    COLUMNS,
    EAST,
    NORTH,
    ROWS,
    SOUTH,
    WEST,
    Bbox,
    bounds,
    edge_lat,
    edge_lon,
    row_column,
    rows_columns,
)

rows = st.integers(0, ROWS - 1)
columns = st.integers(0, COLUMNS - 1)
lons = st.floats(WEST, EAST, exclude_max=True)
lats = st.floats(SOUTH, NORTH, exclude_max=True)


@given(lon=lons, lat=lats)
@example(lon=WEST, lat=SOUTH)
@example(lon=nextafter(EAST, 0), lat=nextafter(NORTH, 0))
def test_every_position_of_the_bounding_box_has_one_cell_that_contains_it(lon: float, lat: float) -> None:
    position = row_column(lon, lat)
    assert position is not None
    row, column = position
    assert 0 <= row < ROWS and 0 <= column < COLUMNS
    around = [(r, c) for r in (row - 1, row, row + 1) for c in (column - 1, column, column + 1)]
    assert [p for p in around if bounds(*p).contains(lon, lat)] == [position]


def test_every_edge_and_the_floats_beside_it_fall_into_the_right_column_and_row() -> None:
    for column in range(COLUMNS):
        edge = edge_lon(column)
        assert row_column(edge, 52.0) == (69, column)
        assert row_column(nextafter(edge_lon(column + 1), 0), 52.0) == (69, column)
        before = row_column(nextafter(edge, 0), 52.0)
        assert before == ((69, column - 1) if column else None)
    for row in range(ROWS):
        edge = edge_lat(row)
        assert row_column(5.0, edge) == (row, 55)
        assert row_column(5.0, nextafter(edge_lat(row + 1), 0)) == (row, 55)
        before = row_column(5.0, nextafter(edge, 0))
        assert before == ((row - 1, 55) if row else None)


@given(row=rows, column=columns)
def test_bounds_go_back_to_the_same_row_and_column(row: int, column: int) -> None:
    box = bounds(row, column)
    assert row_column(box.west, box.south) == (row, column)
    assert row_column(*box.center) == (row, column)
    assert row_column(nextafter(box.east, 0), nextafter(box.north, 0)) == (row, column)


@given(row=st.integers(0, ROWS - 2), column=st.integers(0, COLUMNS - 2))
def test_neighbors_share_an_edge_and_no_position(row: int, column: int) -> None:
    here, east, north = bounds(row, column), bounds(row, column + 1), bounds(row + 1, column)
    assert here.east == east.west and here.north == north.south
    assert not here.intersects(east) and not here.intersects(north)
    assert not here.contains(here.east, here.south) and not here.contains(here.west, here.north)


@pytest.mark.parametrize(
    ("lon", "lat"), [(nan, 52), (5, nan), (inf, 52), (5, -inf), (3.3, 52), (7.3, 52), (5, 50.7), (5, 53.5), (52.1, 5.1)]
)
def test_a_position_outside_the_grid_has_no_cell(lon: float, lat: float) -> None:
    assert row_column(lon, lat) is None


@given(
    west=st.floats(WEST - 1, EAST + 0.5),
    south=st.floats(SOUTH - 1, NORTH + 0.5),
    width=st.floats(0.001, 0.3),
    height=st.floats(0.001, 0.2),
    at=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_the_cells_of_a_box_are_those_that_intersect_it(
    west: float, south: float, width: float, height: float, at: tuple[float, float]
) -> None:
    box = Bbox(west, south, west + width, south + height)
    found = list(rows_columns(box))
    assert found == sorted(set(found))
    assert all(bounds(*position).intersects(box) for position in found)
    lon, lat = west + at[0] * width, south + at[1] * height
    assert (row_column(lon, lat) in found) == (row_column(lon, lat) is not None)


@given(row=rows, column=columns)
def test_the_cells_of_a_cells_own_box_are_that_cell_alone(row: int, column: int) -> None:
    assert list(rows_columns(bounds(row, column))) == [(row, column)]


@given(lon=lons, lat=lats, row=rows, column=columns)
def test_quarters_tile_their_box(lon: float, lat: float, row: int, column: int) -> None:
    box = bounds(row, column)
    assert sum(quarter.contains(lon, lat) for quarter in box.quarters()) == box.contains(lon, lat)
    assert sum(quarter.contains(*box.center) for quarter in box.quarters()) == 1


@pytest.mark.parametrize(
    "edges",
    [
        (5, 52, 5, 53),
        (5, 52, 4, 53),
        (5, 53, 6, 52),
        (52, 5, 53, 181),
        (5, -91, 6, 52),
        (-181, 5, 6, 52),
        (nan, 5, 6, 7),
    ],
)
def test_a_box_that_is_empty_reversed_or_not_on_earth_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="not a box"):
        Bbox(*edges)
