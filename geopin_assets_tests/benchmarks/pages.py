"""How long the pages of the UI take with 20,000 cells and a quarter of history.

`python -m geopin_assets_tests.benchmarks.pages`, or `make bench-ui`; about 6 minutes, 4 GB of disk.

A real webserver, headless Chromium, an instance whose event log is written by SQL. For each page: seconds until the
browser has asked for everything, and the slowest of its GraphQL answers; then the same with one week of history, the
baseline of the ratio. The daemon does not run. Every page is opened three times; the median is printed.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import dagster as dg
from playwright.sync_api import Page, Response

from geopin_assets.cells import cell_ids
from geopin_assets.definitions import defs
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.simulated import SimulatedLog
from geopin_assets_tests.ui.browser import CHROMIUM, browser_page
from geopin_assets_tests.ui.live_dagster import instance_at, live_dagster, prepare_home

WEEKS = 13
TIMES = 3
IDLE_S = 0.5  # how long Playwright listens before it calls the network idle
LOOKED_AT = "raw/panoramax"
PAGES = {
    "lineage": "/asset-groups",
    "catalog of assets": "/assets",
    "asset": f"/assets/{LOOKED_AT}",
    "its partitions": f"/assets/{LOOKED_AT}?view=partitions",
    "one partition": f"/assets/{LOOKED_AT}?view=partitions&partition=nh-amsterdam-r090c051",
    "its events": f"/assets/{LOOKED_AT}?view=events",
    "merged captures": "/assets/catalog/captures?view=partitions",
    "automation": "/automation",
    "runs": "/runs",
}


@dataclass
class Answers:
    """GraphQL answers of one page: operation -> seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, response: Response) -> None:
        if response.url.endswith("/graphql") or "/graphql?" in response.url:
            asked = json.loads(response.request.post_data or "{}")
            operation = asked.get("operationName") or "unnamed"
            response.finished()
            took_s = response.request.timing["responseEnd"] / 1000
            self.seconds[operation] = max(took_s, self.seconds.get(operation, 0.0))

    @property
    def slowest(self) -> tuple[str, float]:
        return max(self.seconds.items(), key=lambda pair: pair[1], default=("none", 0.0))


@dataclass(frozen=True)
class Timing:
    """A page: seconds to idle, and its slowest answer."""

    idle_s: float
    operation: str
    answer_s: float


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=WEEKS)
    parser.add_argument("--cells", type=int, default=len(cell_ids()))
    parser.add_argument("--pages", type=int, default=len(PAGES))
    parser.add_argument("--times", type=int, default=TIMES)
    options = parser.parse_args(arguments)
    if CHROMIUM is None:
        print("no Chromium in PATH: apt-get install chromium")
        return []
    logging.disable(logging.WARNING)
    cells, pages, weeks = cell_ids()[: options.cells], dict(list(PAGES.items())[: options.pages]), options.weeks
    print(f"{len(cells):,} cells, {len(_cell_assets())} assets; seconds to idle, after 1 and {weeks} weeks")
    measured = {week: timings(week, cells, pages, options.times) for week in sorted({1, weeks})}
    short, long, figures = measured[1], measured[weeks], []
    print(f"{'page':20} {'1 week':>8} {f'{weeks} weeks':>9} {'ratio':>6}   slowest GraphQL answer")
    for page, after in long.items():
        before = short[page]
        ratio = after.idle_s / before.idle_s
        answer = f"{after.answer_s:.2f} s {after.operation}"
        print(f"{page:20} {before.idle_s:8.2f} {after.idle_s:9.2f} {ratio:6.2f}   {answer}", flush=True)
        figures.append(Figure(f"{page} after {weeks} weeks", ratio, beside="after one week"))
    return figures


def timings(weeks: int, cells: Sequence[str], pages: Mapping[str, str], times: int) -> dict[str, Timing]:
    with tempfile.TemporaryDirectory() as folder:
        home = prepare_home(Path(folder) / "home")
        with instance_at(home) as instance:
            size_mb = _fill(instance, home, weeks, cells)
        print(f"week 1 to {weeks}: {size_mb:,.0f} MB of events", flush=True)
        variables = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(Path(folder) / "data")}
        with live_dagster(home, variables, has_daemon=False) as dagster, browser_page(Path(folder)) as page:
            return {name: _timed(page, dagster.url + path, times) for name, path in pages.items()}


def _cell_assets() -> list[dg.AssetKey]:
    graph = defs.resolve_asset_graph()
    return sorted(key for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned)


def _fill(instance: dg.DagsterInstance, home: Path, weeks: int, cells: Sequence[str]) -> float:
    """Every cell of every asset once a week. Payloads only where a page reads them: the last week of two assets."""
    now = datetime.now(UTC)
    lean, whole = (SimulatedLog(instance, is_lean=is_lean) for is_lean in (True, False))
    for week in range(weeks, 0, -1):
        for key in _cell_assets():
            has_payload = week == 1 and key.to_user_string() in (LOOKED_AT, "catalog/captures")
            (whole if has_payload else lean).run(key, cells, now - timedelta(days=7 * week - 6))
    return sum(file.stat().st_size for file in home.rglob("*.db*")) / 1e6


def _timed(page: Page, url: str, times: int) -> Timing:
    loads = [_load(page, url) for _ in range(times)]
    _, slowest = min(loads, key=lambda load: abs(load[0] - median(seconds for seconds, _ in loads)))
    return Timing(median(seconds for seconds, _ in loads), *slowest)


def _load(page: Page, url: str) -> tuple[float, tuple[str, float]]:
    answers, started_s = Answers(), perf_counter()
    page.on("response", answers.note)
    page.goto(url, wait_until="networkidle")
    seconds = perf_counter() - started_s - IDLE_S
    page.remove_listener("response", answers.note)
    return seconds, answers.slowest


if __name__ == "__main__":
    main(sys.argv[1:])
