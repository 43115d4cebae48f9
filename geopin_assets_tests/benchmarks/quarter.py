"""A quarter of automatic refresh of all cells and sources: `python -m geopin_assets_tests.benchmarks.quarter`.

Also `make bench-refresh`. The event log is written by SQL; what the conditions ask for is crawled two hours later, on
a simulated clock. A line is a week: seconds of one look at all sources together (CPU of this process: mean, most; by
the clock, in which a server works too: most), cells asked for, contiguous ranges, runs of 250, most runs that one
source asks for at once, the age in days of the oldest cell, and cells that were crawled early. Then one source fails
for ten days and recovers, a new source is filled in one province, and the layers below are looked at. `--weeks 13` is
a quarter, as in `make bench-refresh`; `--cells 2000` is a part of the country, `--sources europeana panoramax` are
those two. `--weeks 52 --unwatched 50 --purge` is a year of which maintenance leaves 90 days: of the first fifty weeks
the log is written, with as many events as crawling every cell of every source once a week leaves, and nobody looks;
with `--calm` no source fails and none is added. `--postgres` is the same in a Postgres that is started for it. The
targets are 3 s for all sources and no cell older than 9 days.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from geopin_assets.cells import cell_facts, cell_ids
from geopin_assets.definitions import defs
from geopin_assets.regions import ranges
from geopin_assets.sources import SOURCES
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.refresh import Refresh, Tick
from geopin_assets_tests.scale.servers import postgres
from geopin_assets_tests.simulated import SimulatedLog, stored_in

KEPT = timedelta(days=90)
NEW, FAILING = "europeana", "panoramax"
TARGET_S = 3.0
PURGED_EVERY = 8
"""Weeks, while nobody looks: in the end as much is left."""
LAYERS = ("catalog/captures", "index/embeddings", "publish/d1")
COLUMNS = ("CPU s", "most", "clock", "cells", "ranges", "runs", "at once", "oldest", "early")
HEAD = " " * 28 + "".join(f"{name:>9}" for name in COLUMNS)


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weeks", type=int, default=3)
    parser.add_argument("--unwatched", type=int, default=0, help="of these, at the beginning, without a look")
    parser.add_argument("--calm", action="store_true", help="nothing but weeks, and the layers below")
    parser.add_argument("--cells", type=int, default=len(cell_ids()))
    parser.add_argument("--sources", nargs="+", default=[source.name for source in SOURCES])
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--purge", action="store_true")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        address = stack.enter_context(postgres()) if options.postgres else ""
        settings = stored_in(address) if address else {}
        instance = stack.enter_context(dg.instance_for_test(settings, temp_dir=folder))
        refresh = Refresh(SimulatedLog(instance, is_lean=True), datetime(2026, 8, 24, tzinfo=UTC), options.sources)
        cells, kept = cell_ids()[: options.cells], KEPT if options.purge else timedelta.max
        print("Postgres" if address else "SQLite", "with 90 days of history" if options.purge else "with all history")
        looks = quarter(refresh, cells, options.weeks, kept, options.unwatched)
        if not options.calm:
            troubles(refresh, cells)
        looks += layers_below(refresh, cells)
        return [replace(figure, what=f"{figure.what}, Postgres") for figure in looks] if address else looks


def quarter(
    refresh: Refresh, cells: Sequence[str], weeks: int, kept: timedelta = timedelta.max, unwatched: int = 0
) -> list[Figure]:
    """Every source but one is complete at the start."""
    for source in refresh.sources:
        if source != NEW:
            refresh.backfill(source, cells)
    print(f"{len(refresh.sources) - 1} sources, {len(cells)} cells each\n{HEAD}")
    looks = (0.0, 0.0)
    for week in range(weeks):
        if week < unwatched:
            refresh.pass_unwatched_week(cells)
        else:
            looks = show(f"week {week + 1}", refresh.pass_days(7))
        if kept < timedelta.max and (week % PURGED_EVERY == 0 or week >= unwatched - 1):
            refresh.log.purge(refresh.now - kept)
    what = f"a look at all sources after {weeks} weeks"
    return [
        Figure(what, looks[0], "s of CPU", at_most=TARGET_S),
        Figure(f"{what}, the longest", looks[1], "s by the clock", at_most=TARGET_S),
    ]


def troubles(refresh: Refresh, cells: Sequence[str]) -> None:
    """What may happen."""
    refresh.failing.add(FAILING)
    show(f"{FAILING} fails, 10 d", refresh.pass_days(10))
    refresh.failing.clear()
    for day in range(4):
        show(f"and recovers, day {day + 1}", refresh.pass_days(1))
    refresh.backfill(NEW, [cell for cell in cells if cell_facts(cell).province == cells[0][:2]])
    for week in range(2):
        show(f"{NEW} added, week {week + 1}", refresh.pass_days(7))


def show(name: str, ticks: list[Tick]) -> tuple[float, float]:
    """A line; CPU seconds of a look, and the most by the clock."""
    looks, clock = defaultdict[datetime, float](float), defaultdict[datetime, float](float)
    for tick in ticks:
        looks[tick.when] += tick.cpu_s
        clock[tick.when] += tick.wall_s
    oldest = max(tick.oldest_days for tick in ticks)
    numbers = [sum(tick.ranges for tick in ticks), sum(tick.runs for tick in ticks), max(tick.runs for tick in ticks)]
    cpu_s = f"{sum(looks.values()) / len(looks):9.2f}{max(looks.values()):9.2f}{max(clock.values()):9.2f}"
    asked, early = sum(len(tick.asked) for tick in ticks), sum(tick.early for tick in ticks)
    counts = "".join(f"{number:9,}" for number in (asked, *numbers))
    print(f"{name:<28}{cpu_s}{counts}{oldest:9.2f}{early:9,}", flush=True)
    return sum(looks.values()) / len(looks), max(clock.values())


def layers_below(refresh: Refresh, cells: Sequence[str]) -> list[Figure]:
    """CPU of a look at a layer: the first, which reads everything; without changes; after 1 % changed, twice.

    After the first change Dagster reads the status of every cell above once; later it adds what is new.
    """
    columns, figures = ("first", "quiet", "changed", "again", "cells", "runs"), []
    print("\n" + " " * 28 + "".join(f"{name:>9}" for name in columns))
    for layer in LAYERS:
        key = dg.AssetKey(layer.split("/"))
        parents = sorted(defs.resolve_asset_graph().get(key).parent_keys)
        for done in (*parents, key):
            refresh.log.run(done, cells, refresh.now)
        cursor, seconds, asked = None, [], set()
        for changed in ((), (), cells[::100], cells[50::100]):
            refresh.now += timedelta(minutes=10)
            refresh.log.run(key, asked, refresh.now)
            refresh.log.run(parents[0], dict.fromkeys(changed, f"changed at {refresh.now}"), refresh.now)
            cursor, cpu_s, asked = look(refresh, key, cursor)
            seconds.append(cpu_s)
        runs = len(ranges(asked, defs.resolve_asset_graph().get(key).backfill_policy.max_partitions_per_run))
        print(f"{layer:<28}" + "".join(f"{cpu_s:9.2f}" for cpu_s in seconds) + f"{len(asked):9,}{runs:9}", flush=True)
        figures.append(Figure(f"a look at {layer}, 1 % changed", seconds[-1], "s of CPU", at_most=TARGET_S))
    return figures


def look(refresh: Refresh, key: dg.AssetKey, cursor: object) -> tuple[object, float, set[str]]:
    started_s = time.process_time()
    result = dg.evaluate_automation_conditions(
        defs,
        refresh.log.instance,
        asset_selection=dg.AssetSelection.assets(key),
        evaluation_time=refresh.now,
        cursor=cursor,  # type: ignore[arg-type]
    )
    return result.cursor, time.process_time() - started_s, set(result.get_requested_partitions(key))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
