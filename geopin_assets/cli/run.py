"""`geopin run` and `geopin demo`: a region through the whole graph, and an account of it. Work is in `defs/`."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dagster as dg

from geopin_assets.cli.console import console, terminal
from geopin_assets.cli.home import dagster_home, stand_ins
from geopin_assets.cli.listings import print_status
from geopin_assets.cli.progress import ConsoleProgress, print_checks, print_layer
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.running.local_run import LayerResult, crawl_side_by_side, run_region
from geopin_assets.errors import ConfigurationError
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES


def run_and_report(settings: Settings, region: str, sources: Sequence[str], *, next_steps: bool = False) -> int:
    """Run a region and print what happened. Returns the exit code: 1 when a cell failed, or a check as an error."""
    names, cell_ids = _chosen(settings, sources), cells_of(region)
    dagster_home()
    terminal()
    console.print(f"profile {settings.profile}: {len(cell_ids)} cells of {region}, {', '.join(names)}\n")
    with stand_ins(settings), dg.DagsterInstance.get() as instance:
        results = []
        crawl = None if settings.is_sandbox else partial(crawl_side_by_side, _definitions_without_bars)
        defs = build_definitions(progress=ConsoleProgress())
        for result in run_region(defs, instance, cell_ids, names, crawl=crawl):
            results.append(result)
            print_layer(result)
    _print_account(settings, results)
    if next_steps:
        _print_next_steps(settings)
        return int(any(result.failed_count for result in results))  # the city has gaps: that a check fails is the show
    return int(_has_failed(results))


def _definitions_without_bars() -> dg.Definitions:
    """For one of several processes that share a terminal."""
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
    console.print(f"\ncoverage map: {_link(settings.quality_dir / 'coverage.html')}")


def _print_next_steps(settings: Settings) -> None:
    photo = next(iter(sorted((settings.data_dir / "queries").glob("*.jpg"))), Path("PHOTO.jpg"))
    console.print("\nnext:")
    console.print("  make ui                                    lineage, partitions, checks and the map in the browser")
    console.print(f"  .venv/bin/geopin locate {shlex.quote(_short(photo))}   where was this taken?")
    console.print(
        "  GEOPIN_PROFILE=live .venv/bin/geopin run --region nh-amsterdam     real sources, see README: Going live"
    )


def _link(path: Path) -> str:
    return path.as_uri() if path.exists() else f"{path} (not written)"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
