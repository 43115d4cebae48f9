"""`geopin run` and `geopin demo`: a region through the whole graph, and an account of it. Work is in `defs/`.

Here too: what the steps of a run in this process print: how far each is, its account, its failures and its checks.
Not here: the terminal and tables (`console.py`).
"""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
from rich.table import Table

from geopin_assets.cli.console import (
    console,
    dagster_home,
    progress_bar,
    progress_lines,
    say_waits,
    stand_ins,
    terminal,
)
from geopin_assets.cli.listings import print_status
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.running.home import open_instance
from geopin_assets.defs.running.local_run import LayerResult, crawl_side_by_side, raw_key, run_region
from geopin_assets.defs.running.materialize import Advance, Progress
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.object_store import ObjectStore
from geopin_assets.platform.parts import Storage
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES

_FAILURES_SHOWN = 5
_OF_FOLDERS = frozenset(raw_key(source.name) for source in SOURCES if not source.asks_a_server)


class ConsoleProgress(Progress):
    """Progress of the steps of this process on its terminal, or as lines where there is none.

    Lines too without `has_bars`: several processes have one terminal, and it has room for one live display.
    """

    has_bars: bool = True

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        label = context.asset_key.to_user_string()
        follow = progress_bar if self.has_bars else progress_lines
        with follow(label, total, unit) as advance:
            yield advance


def print_layer(result: LayerResult) -> None:
    """One line for a finished layer, and one for each of its first failures."""
    shown = ("partition_row_count", *sorted(set(result.totals) - {"partition_row_count"}))
    totals = ", ".join(f"{result.totals[name]} {_word(name)}" for name in shown if result.totals[name])
    cells = f"{result.cells} cells" if result.cells else "nothing to show" if not totals else ""
    failed = f", {result.failed_count} FAILED" if result.failed_count else ""
    console.print(f"{result.asset:22} {', '.join(filter(None, (cells, totals)))}{failed}")
    for where, error in list(result.failed.items())[:_FAILURES_SHOWN]:
        console.print(f"  failed {where}: {error}")
    if result.asset in _OF_FOLDERS:
        print_left_out(result)


def print_left_out(result: LayerResult) -> None:
    """What a folder's owner can mend: counts by reason, and the first of each with file and line."""
    for reason, count in sorted(result.left_out.items()):
        console.print(f"  left out: {count} {reason}")
        examples = result.examples.get(reason, [])
        for record in examples:
            console.print(f"    {record}", markup=False, highlight=False, soft_wrap=True)
        if count > len(examples):
            console.print(f"    and {count - len(examples)} more")


def print_checks(results: Sequence[LayerResult]) -> None:
    """Every check with its verdict and what it found."""
    table = Table("check", "on", "verdict", "found", box=None, pad_edge=False)
    for check in (check for result in results for check in result.checks):
        verdict = "passed" if check.passed else check.severity.value.lower()
        table.add_row(check.check_name, check.asset_key.to_user_string(), verdict, check.description or "")
    console.print(table)


def _word(name: str) -> str:
    return {"partition_row_count": "rows"}.get(name, name.replace("_", " "))


def run_and_report(
    settings: Settings,
    region: str,
    sources: Sequence[str],
    *,
    is_demo: bool = False,
    max_removals: int | None = None,
) -> int:
    """Run a region and print what happened. Returns the exit code: 1 when a cell failed, or a check as an error."""
    names, cell_ids = _chosen(settings, sources), cells_of(region)
    dagster_home()
    terminal()
    console.print(f"profile {settings.profile}: {len(cell_ids)} cells of {region}, {', '.join(names)}\n")
    with stand_ins(settings, asks_for_all=is_demo), open_instance() as instance:
        results = []
        crawl = None if settings.is_sandbox else partial(crawl_side_by_side, _definitions_without_bars)
        defs = build_definitions(progress=ConsoleProgress())
        for result in run_region(defs, instance, cell_ids, names, crawl=crawl, max_removals=max_removals):
            results.append(result)
            print_layer(result)
    _print_account(settings, results)
    if is_demo:
        _print_next_steps(settings)
        return int(any(result.failed_count for result in results))  # the city has gaps: that a check fails is the show
    return int(_has_failed(results))


def _definitions_without_bars() -> dg.Definitions:
    """For one of several processes that share a terminal."""
    say_waits()
    return build_definitions(progress=ConsoleProgress(has_bars=False))


def _chosen(settings: Settings, wanted: Sequence[str]) -> list[str]:
    """The sources to crawl. Raises ConfigurationError for one that was named and does not exist or cannot run."""
    unknown = sorted(set(wanted) - {s.name for s in SOURCES})
    if unknown:
        raise ConfigurationError(f"no source {', '.join(unknown)}; registered: {', '.join(s.name for s in SOURCES)}")
    names = []
    for source in SOURCES:
        reason = source.disabled_reason(settings)
        if reason is None and (not wanted or source.name in wanted):
            names.append(source.name)
        elif reason and source.name in wanted:
            raise ConfigurationError(f"{source.name} is switched off: {reason}")
        elif reason and not wanted:
            console.print(f"{source.name} is switched off: {reason}")
    return names


def _has_failed(results: Sequence[LayerResult]) -> bool:
    return any(
        result.failed_count or any(not c.passed and c.severity == dg.AssetCheckSeverity.ERROR for c in result.checks)
        for result in results
    )


def _print_account(settings: Settings, results: Sequence[LayerResult]) -> None:
    totals = {result.asset: result.totals for result in results}
    console.print()
    print_status(settings)
    embedded, vectors, rows = totals["index/embeddings"], totals["publish/vectorize"], totals["publish/d1"]
    console.print(f"\nthis run: {embedded['embedded']} images embedded, {embedded['reused']} reused")
    for what, report in (("vectors", vectors), ("rows", rows)):
        console.print(
            f"          {report['upserted']} {what} published, {report['deleted']} deleted,"
            f" {report['unchanged']} unchanged"
        )
    console.print()
    print_checks(results)
    console.print(f"\ncoverage map: {_link(Storage().quality())}")


def _print_next_steps(settings: Settings) -> None:
    photo = next(iter(sorted((settings.data_dir / "queries").glob("*.jpg"))), Path("PHOTO.jpg"))
    console.print("\nnext:")
    console.print("  make ui                                    lineage, partitions, checks and the map in the browser")
    console.print(f"  .venv/bin/geopin locate {shlex.quote(_short(photo))}   where was this taken?")
    console.print(
        "  GEOPIN_PROFILE=live .venv/bin/geopin run --region nh-amsterdam     real sources, see README: Going live"
    )


def _link(reports: ObjectStore) -> str:
    address = reports.address("coverage.html")
    if not reports.has("coverage.html"):
        return f"{address} (not written)"
    return address if "://" in address else Path(address).as_uri()


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
