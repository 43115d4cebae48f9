"""What each source's crawl costs in requests: `python -m geopin_assets_tests.benchmarks.workload`.

Two invented countries are crawled over the stand-ins with the real limits: one without any capture, which shows how
many cells a request covers, and one with a dense town, which shows how many captures a request brings. Beside them
stands what the sources state and `geopin plan` reckons with (`Source.costs`).
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from geopin_assets.cells import cell
from geopin_assets.grid import Cell
from geopin_assets.regions import region
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.crawl_cost import stated_requests
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.sources.invented import Place, Truth, opened

EMPTY_REGION = "fr"
TOWN = "nh-amsterdam"
ELSEWHERE = (5.69, 50.85)  # one capture in Maastricht: the source has something, only not here
REAL_LIMITS = {"GEOPIN_PANORAMAX_LIMIT": "1000"}


def streets(cells: Sequence[Cell], captures: int, rng: random.Random) -> Iterator[Place]:
    """Captures along a grid of streets, most of them in few cells, as in towns."""
    for _ in range(captures):
        box = cells[min(int(rng.expovariate(12) * len(cells)), len(cells) - 1)].bbox
        line, along = (rng.randrange(12) + 0.5) / 12, rng.random()
        x, y = (line, along) if rng.random() < 0.5 else (along, line)
        yield box.west + x * (box.east - box.west), box.south + y * (box.north - box.south)


def requests(source: type[Source], cells: Sequence[Cell], places: Sequence[Place]) -> tuple[int, int]:
    """(requests, captures) of crawling cells once."""
    totals: Counter[str] = Counter()
    with opened(source, Truth.at(source, places).sandbox(), REAL_LIMITS, deadline_s=60) as crawler:
        for where in cells:
            crawl = crawl_cell(crawler, where)
            totals["requests"] += crawl.report.requests
            totals["captures"] += len(crawl.captures)
    return totals["requests"], totals["captures"]


def measure(source: type[Source], captures: int, cells: int | None) -> tuple[float, float]:
    """(cells per request in an empty country, captures per additional request in a town)."""
    country = [cell(cell_id) for cell_id in region(EMPTY_REGION)[:cells]]
    empty, _ = requests(source, country, [ELSEWHERE])
    cells_per_request = len(country) / max(empty, 1)
    town = [cell(cell_id) for cell_id in region(TOWN)[:cells]]
    taken, found = requests(source, town, list(streets(town, captures, random.Random(7))))
    return cells_per_request, found / max(taken - len(town) / cells_per_request, 1)


def stated(source: type[Source]) -> tuple[float, float]:
    """The same two figures, as the source states them for all its kinds of requests together."""
    per_cell = sum(stated_requests(cost, 1, 0) for cost in source.costs)
    per_capture = sum(stated_requests(cost, 0, 1) for cost in source.costs)
    return 1 / per_cell if per_cell else float("inf"), 1 / per_capture if per_capture else float("inf")


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print both figures, measured and stated, one line a source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=20_000)
    parser.add_argument("--cells", type=int, help="of the country and of the town; all by default")
    options = parser.parse_args(arguments)
    figures = []
    print(f"{'source':18} {'cells/request':>14} {'stated':>8} {'captures/request':>17} {'stated':>8}")
    for source in SOURCES:
        if source.asks_a_server:
            cells, captures = measure(source, options.captures, options.cells)
            said_cells, said_captures = stated(source)
            print(f"{source.name:18} {cells:14.2f} {said_cells:8.2f} {captures:17.0f} {said_captures:8.0f}")
            figures.append(Figure(f"captures a request, {source.name}", captures))
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
