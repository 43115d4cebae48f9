"""Layers of a million captures: `python -m geopin_assets_tests.benchmarks.layers [--screenshot FILE]`.

Time, memory and bytes of both archives; a second run of a quarter as many says how they grow. With `--country` they are
in all cells, and drawn while they are asked for: what is measured is the memory of the layers alone. With
`--screenshot` the map is opened in headless Chromium, through the door of `geopin ui`.
"""

import argparse
import resource
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from geopin_assets.cells import pages
from geopin_assets.quality.coverage import Expectations, find_gaps
from geopin_assets.quality.layers import Layers, write_layers
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine
from geopin_assets_tests.quality.drives import Country, drives
from geopin_assets_tests.quality.factories import coverage_by_cell
from geopin_assets_tests.quality.test_layers import NOW, URL, written

PEAK_GB = 2.5


def drawn(captures: int, folder: Path, *, is_country: bool = False) -> tuple[Layers, Cost]:
    write = of_country(captures) if is_country else partial(written, drives(captures))
    started = Cost.now()
    made = write(folder)
    cost = Cost.now() - started
    print(
        f"{made.captures:>9,} captures: {cost.wall_s:.0f} s, {cost.cpu_s:.0f} s of CPU,"
        f" {made.tiles:,} tiles, {made.bytes / 1e6:.1f} MB; {peak_mb():.0f} MB of memory at most"
    )
    return made, cost


def of_country(captures: int) -> Callable[[Path], Layers]:
    """What draws them into a folder."""
    country = Country(captures)
    cells = pages(list(country.counts), country.counts, 100_000)
    coverage = pl.concat([coverage_by_cell(country.captures(some)) for some in cells])
    crawled = coverage.select("source", "cell_id", is_complete=pl.lit(True))
    gaps = find_gaps(coverage, crawled, Expectations(now=NOW))
    return lambda folder: write_layers(country.captures, country.counts, coverage, gaps, folder, URL)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def photograph(folder: Path, file: Path) -> None:
    """The page at two zooms, one beside the other's name."""
    from geopin_assets_tests.cli.test_door import Behind, opened
    from geopin_assets_tests.ui.browser import browser_page

    with opened(Behind(folder)) as behind, browser_page(folder) as page:
        for place, name in (("#13.2/52.37/4.895", file), ("#9.3/52.2/4.8", file.with_stem(f"{file.stem}_wide"))):
            page.goto("about:blank")
            page.goto(f"http://127.0.0.1:{behind.port}/reports/layers/index.html{place}")
            page.locator("#source option").nth(3).wait_for(state="attached")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(1500)
            page.screenshot(path=name)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--country", action="store_true", help="in all cells, drawn while they are asked for")
    parser.add_argument("--screenshot", type=Path)
    chosen = parser.parse_args(arguments)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="geopin-bench-") as folder:
        figures = []
        for captures, name in ((chosen.captures // 4, "quarter"), (chosen.captures, "layers")):
            made, cost = drawn(captures, Path(folder) / name, is_country=chosen.country)
            each_us = cost.cpu_s / max(made.captures, 1) * 1e6
            figures.append(Figure(f"drawing {captures:,} captures, each", each_us, "µs of CPU"))
            figures.append(Figure(f"their layers, {captures:,}", made.bytes / max(made.captures, 1), "bytes a capture"))
        figures.append(Figure("memory of drawing", peak_mb() / 1000, "GB", at_most=PEAK_GB))
        if chosen.screenshot:
            photograph(Path(folder), chosen.screenshot)
    return figures


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
