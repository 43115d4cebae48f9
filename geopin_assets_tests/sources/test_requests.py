"""How many requests a complete crawl takes, against the fewest that the API's rules allow."""

import random
from collections.abc import Callable, Sequence
from math import ceil

import pytest

from geopin_assets.grid import Bbox, Cell, bounds
from geopin_assets.sandbox.state import Fault
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapillary.tiles import widened
from geopin_assets.sources.tiles import tiles_of
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.invented import Place, Truth, opened, stand_in_of

ROWS, COLUMNS = range(84, 92), range(48, 56)  # four blocks of 4 x 4 cells, all within the survey of Amsterdam
CELLS = [Cell(f"r{row:03d}c{column:03d}", bounds(row, column)) for row in ROWS for column in COLUMNS]
LIMITS = {"GEOPIN_PANORAMAX_LIMIT": "100", "GEOPIN_MAPILLARY_SPLIT_AT": "100"}
CAPTURES = 6000
ENOUGH = {"wikimedia_commons": CAPTURES}  # whose few requests more a block show in a smaller town

every_server = pytest.mark.parametrize("source", list(filter(stand_in_of, SOURCES)), ids=lambda source: source.name)


def town(captures: int = CAPTURES) -> list[Place]:
    """Captures along streets, most of them around the middle."""
    rng, places = random.Random(11), []
    while len(places) < captures:
        row, column = (rng.gauss(axis.start + len(axis) / 2, 1.8) for axis in (ROWS, COLUMNS))
        if int(row) in ROWS and int(column) in COLUMNS:
            box, line, along = bounds(int(row), int(column)), (rng.randrange(9) + 0.5) / 9, rng.random()
            x, y = (line, along) if rng.random() < 0.5 else (along, line)
            places.append((box.west + x * (box.east - box.west), box.south + y * (box.north - box.south)))
    return places


def within(box: Bbox, places: Sequence[Place]) -> list[Place]:
    return [(x, y) for x, y in places if box.west <= x <= box.east and box.south <= y <= box.north]


def divided(box: Bbox, places: Sequence[Place], limit: int) -> int:
    """Requests for one box of a server without pages: itself, and its quarters while an answer is full."""
    inside = within(box, places)
    return 1 + (sum(divided(quarter, inside, limit) for quarter in box.quarters()) if len(inside) >= limit else 0)


def pages(box: Bbox, places: Sequence[Place], size: int) -> int:
    return max(1, ceil(len(within(box, places)) / size))


def blocks(side: int) -> list[Bbox]:
    corners = [(row, column) for row in ROWS[::side] for column in COLUMNS[::side]]
    return [
        Bbox(low.west, low.south, high.east, high.north)
        for low, high in ((bounds(r, c), bounds(r + side - 1, c + side - 1)) for r, c in corners)
    ]


def commons(box: Bbox, places: Sequence[Place]) -> int:
    """As `divided` for 450 of 500, then thumbnails for 50 pages at a time."""
    return divided(box, places, 450) + ceil(len(within(box, places)) / 50)


# Europeana's last page does not say that it is the last: its cursor leads to one more, empty, answer.
FEWEST: dict[str, Callable[[Sequence[Place]], int]] = {
    "mapillary": lambda where: sum(divided(widened(cell.bbox), where, 100) for cell in CELLS),
    "kartaview": lambda where: sum(pages(box, where, 1000) for box in blocks(4)),
    "panoramax": lambda where: sum(divided(cell.bbox, where, 100) for cell in CELLS),
    "mapilio": lambda where: len({tile for cell in CELLS for tile in tiles_of(cell.bbox, 14)}) + 1,
    "amsterdam": lambda where: sum(pages(cell.bbox, where, 1000) for cell in CELLS),
    "wikimedia_commons": lambda where: sum(commons(box, where) for box in blocks(4)),
    "flickr": lambda where: sum(pages(box, where, 250) for box in blocks(2)) + 1,
    "europeana": lambda where: sum(pages(box, where, 100) + bool(within(box, where)) for box in blocks(4)),
    "stac": lambda where: sum(pages(cell.bbox, where, 100) for cell in CELLS),
}


def requests(source: type[Source], where: Sequence[Place], *faults: Fault) -> int:
    """Requests of a crawl that finds everything."""
    truth, total = Truth.at(source, where), 0
    with opened(source, truth.sandbox(*faults), LIMITS, deadline_s=60) as crawler:
        for cell in CELLS:
            crawl, (must, may) = crawl_cell(crawler, cell), truth.ids(cell.bbox)
            assert must <= {capture.source_capture_id for capture in crawl.captures} <= may
            total += crawl.report.requests
    return total


@every_server
def test_a_crawl_takes_hardly_more_requests_than_it_must(source: type[Source]):
    where = town(ENOUGH.get(source.name, examples(1600, CAPTURES)))
    fewest, taken = FEWEST[source.name](where), requests(source, where)
    print(f"{source.name}: {taken} requests, {fewest} at least, ratio {taken / fewest:.3f}")
    assert taken <= 1.05 * fewest


@every_server
def test_every_fifth_request_failing_costs_at_most_half_as_many_again(source: type[Source]):
    where = town(examples(500, CAPTURES // 4))
    calm, faulty = requests(source, where), requests(source, where, Fault(source=source.name, status=500, share=0.2))
    assert calm <= faulty <= 1.5 * calm
