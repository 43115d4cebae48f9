"""Blocks of cells: asked once, complete for each cell, counted once."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.grid import Bbox, bounds
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.blocks import Blocks
from geopin_assets_tests.depth import examples
from geopin_assets_tests.sources.capped_server import CappedServer, Point


def blocks_on(server: CappedServer, rows: int = 4, columns: int = 4) -> Blocks[Point]:
    def fetch(box: Bbox, report: CrawlReport) -> list[Point]:
        report.requests += 1
        return server.fetch(box)

    return Blocks(
        "flickr", fetch, lambda point: None if point[0] < 0 else (point[1], point[2]), rows=rows, columns=columns
    )


@settings(max_examples=examples(20, 400), deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    corner=st.tuples(st.integers(0, 140), st.integers(0, 120)),
)
def test_every_record_is_in_exactly_its_own_cell(seed: int, rows: int, columns: int, corner: tuple[int, int]):
    rng = random.Random(seed)
    cells = [bounds(corner[0] + r, corner[1] + c) for r in range(5) for c in range(5)]
    edges = [(cell.west, cell.south) for cell in cells]
    inside = [
        (rng.uniform(cells[0].west, cells[-1].east), rng.uniform(cells[0].south, cells[-1].north)) for _ in range(60)
    ]
    server = CappedServer([(n, lon, lat) for n, (lon, lat) in enumerate(edges + inside)], 1000)
    blocks = blocks_on(server, rows, columns)
    found = {cell: blocks.records(cell, CrawlReport()) for cell in cells}
    for cell, records in found.items():
        assert sorted(records) == sorted(p for p in server.points if cell.contains(p[1], p[2]))
    assert len(server.asked) == len(set(server.asked)) <= (5 // rows + 2) * (5 // columns + 2)


def test_threads_share_one_request_and_its_cost_is_on_one_report():
    server = CappedServer([(n, 4.9, 52.38) for n in range(9)], 1000)
    blocks, reports = blocks_on(server), [CrawlReport() for _ in range(16)]
    cells = [bounds(88 + n // 4, 52 + n % 4) for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(blocks.records, cells, reports))
    assert len(server.asked) == 1
    assert sum(report.requests for report in reports) == 1


def test_a_record_without_a_place_is_counted_once():
    server = CappedServer([(-1, 4.9, 52.38)], 1000)
    blocks = blocks_on(server)
    found = [blocks.records(bounds(88 + n // 4, 52 + n % 4), CrawlReport()) for n in range(16)]
    assert sum(map(len, found)) == 1


def test_an_incomplete_part_is_on_the_report_of_the_cells_it_touches_only():
    part = bounds(89, 53)

    def fetch(box: Bbox, report: CrawlReport) -> list[Point]:
        report.miss(part)
        return []

    blocks: Blocks[Point] = Blocks("flickr", fetch, lambda point: (point[1], point[2]))
    touched = set()
    for row in range(88, 92):
        for column in range(52, 56):
            report = CrawlReport()
            blocks.records(bounds(row, column), report)
            touched |= {(row, column)} if report.incomplete else set()
    assert touched == {(89, 53)}


def test_a_failure_is_not_kept():
    failing = [True]

    def fetch(box: Bbox, report: CrawlReport) -> list[Point]:
        report.requests += 1
        if failing[0]:
            raise TransientError("down")
        return [(1, 4.9, 52.38)]

    blocks: Blocks[Point] = Blocks("flickr", fetch, lambda point: (point[1], point[2]))
    report = CrawlReport()
    with pytest.raises(TransientError):
        blocks.records(bounds(90, 52), report)
    assert report.requests == 1
    failing[0] = False
    assert blocks.records(bounds(90, 52), report) == [(1, 4.9, 52.38)]


def test_a_box_larger_than_a_block_or_outside_the_grid_is_asked_whole():
    server = CappedServer([(1, 4.9, 52.38), (2, 4.7, 52.3)], 1000)
    wide = Bbox(4.6, 52.2, 5.0, 52.5)
    assert len(blocks_on(server).records(wide, CrawlReport())) == 2
    assert blocks_on(server).around(Bbox(10, 40, 10.1, 40.1)) == Bbox(10, 40, 10.1, 40.1)


@pytest.mark.parametrize(("lost", "good", "fails", "is_doubtful"), [
    (3, 2, True, False), (9, 0, True, False), (2, 1, False, True), (1, 0, False, True), (3, 4, False, False),
])  # fmt: skip
def test_a_block_that_lost_its_positions_is_empty_for_none_of_its_cells(
    lost: int, good: int, fails: bool, is_doubtful: bool
):
    points = [(-n - 1, 4.9, 52.38) for n in range(lost)] + [(n, 4.9, 52.38) for n in range(good)]
    server = CappedServer(points, 1000)
    blocks = blocks_on(server)
    for cell in (bounds(90, 52), bounds(88, 55), bounds(91, 54)):
        report = CrawlReport()
        if fails:
            with pytest.raises(PayloadError, match=f"flickr: {lost} of {lost + good} records .* without a position"):
                blocks.records(cell, report)
        else:
            blocks.records(cell, report)
            assert report.is_doubtful == is_doubtful
    assert len(server.asked) == 1
