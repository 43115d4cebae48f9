"""How many requests a complete crawl of capped boxes takes: `python -m geopin_assets_tests.benchmarks.splitting`.

`minimum` is (4 L - 1) / 3 for the tree's L leaves, the fewest that dividing by four allows; `floor` is
ceil(records / limit), what a server with paging would take.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from math import ceil

from geopin_assets.grid import Bbox
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.splitting import Capacity, fetch_complete
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.sources.capped_server import CappedServer, Point

CELL = Bbox(4.8936, 52.37, 4.9229, 52.388)
MIN_SIDE_DEG = 2e-5
LIMIT = 1000


def distributions(records: int, rng: random.Random) -> dict[str, list[Point]]:
    """Ways in which the captures of a cell lie."""

    def inside(x: float, y: float) -> tuple[float, float]:
        x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        return CELL.west + x * (CELL.east - CELL.west), CELL.south + y * (CELL.north - CELL.south)

    def streets() -> tuple[float, float]:
        line, along = rng.randrange(12), rng.random()
        return inside((line + 0.5) / 12, along) if rng.random() < 0.5 else inside(along, (line + 0.5) / 12)

    places = {
        "even": lambda: inside(rng.random(), rng.random()),
        "a grid of streets": streets,
        "one square": lambda: inside(rng.gauss(0.31, 0.02), rng.gauss(0.67, 0.02)),
        "one street": lambda: inside(rng.random(), 0.4321),
        "edges of the boxes": lambda: inside(rng.randrange(17) / 16, rng.randrange(17) / 16),
        "one spot": lambda: inside(0.3, 0.3),
    }
    return {name: [(n, *place()) for n in range(records)] for name, place in places.items()}


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print requests, leaves and ratios, one line a distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    records = parser.parse_args(arguments).records
    figures = []
    print(f"{records} records in a cell, at most {LIMIT} an answer")
    print(f"{'distribution':20} {'requests':>8} {'leaves':>7} {'ratio':>6} {'minimum':>8} {'floor':>6} {'complete':>9}")
    for name, points in distributions(records, random.Random(1)).items():
        server, report = CappedServer(points, LIMIT), CrawlReport()
        found = list(
            fetch_complete(
                CELL,
                server.fetch,
                capacity=Capacity(LIMIT, lambda report: LIMIT),
                min_side_deg=MIN_SIDE_DEG,
                report=report,
                key=lambda point: point[0],
            )
        )
        requests = len(server.asked)
        leaves = requests - report.splits
        complete = "yes" if len(found) == records else f"reported {len(report.incomplete)}"
        print(
            f"{name:20} {requests:8} {leaves:7} {requests / leaves:6.3f} {(4 * leaves - 1) // 3:8} "
            f"{ceil(records / LIMIT):6} {complete:>9}"
        )
        is_said = len(found) == records or not report.is_complete
        figures += [
            Figure(f"requests, {name}", requests / leaves, beside="boxes that were not divided", at_most=1.34),
            Figure(f"all found, or said to be incomplete, {name}", int(is_said), at_least=1),
        ]
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
