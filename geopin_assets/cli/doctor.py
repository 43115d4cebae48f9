"""`geopin doctor`: is everything still there and of one piece? Looks, changes nothing, and names the remedies.

Not here: what is looked at in our data (`platform/doctor.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from geopin_assets.cli.console import console, dagster_home, print_json, print_table, stand_ins, understood
from geopin_assets.errors import GeoPinError
from geopin_assets.exchange.exporting import conditions
from geopin_assets.platform.doctor import Finding, State, examine, sqlite_files
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_HISTORY = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_TIME_TO_FOLLOW = timedelta(minutes=15)
"""A daemon looks every five minutes for what was crawled."""
_HOME_REMEDY = "put Dagster's folders back from a copy, or move them away: sensors look anew at everything"


def examine_and_report(settings: Settings, *, is_deep: bool, is_json: bool) -> int:
    """Print what was found. Returns the exit code, for monitoring: 2 with an error, 1 with a warning, else 0."""
    home = dagster_home()
    with ExitStack() as stack:
        found = [*_served(settings, stack), *examine(Storage(), SearchIndex(), is_deep=is_deep)]
        found += [*_publications(Storage()), *_dagster(home, Storage())]
    states = [finding.state for finding in found]
    worst = next((state for state in (State.ERROR, State.WARNING) if state in states), State.OK)
    if is_json:
        print_json({"state": worst, "findings": [asdict(finding) for finding in found]})
    else:
        _show(found, worst)
    return {State.OK: 0, State.WARNING: 1, State.ERROR: 2}[worst]


def _served(settings: Settings, stack: ExitStack) -> Iterator[Finding]:
    """The stand-ins, where there are any; that they cannot be served is no reason to look at nothing else."""
    try:
        stack.enter_context(stand_ins(settings))
    except GeoPinError as error:
        yield Finding("stand-ins", State.ERROR, str(error), "see the message")


def _publications(storage: Storage) -> Iterator[Finding]:
    """What others take from here."""
    for found in conditions(storage):
        if isinstance(found, GeoPinError):
            yield Finding("publication", State.ERROR, f"{type(found).__name__}: {found}", "see the message")
        elif found.missing:
            detail = f"{found.address} lacks {len(found.missing)} files, e.g. {found.missing[0]}"
            yield Finding("publication", State.ERROR, detail, "put them back from a copy, or export to an empty place")
        elif found.left:
            detail = f"{found.address}: {len(found.left)} files of killed exports, or of one under way"
            yield Finding("publication", State.WARNING, detail, "the next export to it removes them")
        elif found.is_there:
            yield Finding("publication", State.OK, f"{found.address}: every file is there")


def _dagster(home: Path, storage: Storage) -> Iterator[Finding]:
    """The files of Dagster's history, where they are SQLite's, what works now, and what waits though nothing does."""
    from geopin_assets.defs.running.home import open_instance
    from geopin_assets.defs.running.under_way import living_runs

    broken = [f for f in sqlite_files([home / name for name in _HISTORY], _HOME_REMEDY) if f.state is State.ERROR]
    yield from broken
    if not broken:
        try:
            with open_instance() as instance:
                runs = living_runs(instance)
                waiting = list(_waiting(storage, instance))
        except Exception as error:
            if (said := understood(error)) is None:
                raise
            yield Finding("Dagster", State.ERROR, str(said), "see the message")
            return
        yield Finding("Dagster", State.OK, f"{len(runs)} runs under way")
        yield from waiting


def _waiting(storage: Storage, instance: "DagsterInstance") -> Iterator[Finding]:
    """Raw files that the catalog lacks, and nobody is about to merge: who deletes a run deletes that it crawled."""
    from geopin_assets.cells import cell_ids
    from geopin_assets.defs.automation.cell_events import cells_under_way
    from geopin_assets.defs.declare import asset_key
    from geopin_assets.defs.graph import CATALOG, RAW
    from geopin_assets.defs.running.backfills import InstanceBackfills

    if not storage.settings().catalog_path.exists():
        return
    before = datetime.now(UTC) - _TIME_TO_FOLLOW if InstanceBackfills(instance).has_daemon() else None
    runs, keys = cells_under_way(instance, cell_ids()), (*RAW, CATALOG)
    held = [holder.units for key in keys for holder in storage.leases().holders(key)]
    busy = set[str]().union(*(runs[asset_key(key)] for key in keys), *filter(None, held))
    lacking = {} if None in held else storage.catalog().unmerged(storage.raw(), before)
    if left := {cell_id: sources for cell_id, sources in lacking.items() if cell_id not in busy}:
        sources = ", ".join(sorted(set[str]().union(*left.values())))
        detail = f"{len(left)} cells wait to be merged, e.g. {next(iter(left))}; files of {sources or 'no source'}"
        yield Finding("catalog", State.WARNING, detail, "geopin merge, or wait: a daemon looks for such every 6 hours")


def _show(found: list[Finding], worst: State) -> None:
    rows = [(finding.state.value, finding.what, finding.detail) for finding in found]
    print_table("examined", ("", "what", "found"), rows)
    for finding in found:
        if finding.remedy:
            console.print(f"\n{finding.what}: {finding.remedy}")
    said = {State.OK: "all is well", State.WARNING: "nothing that cannot wait", State.ERROR: "something must be done"}
    console.print(f"\n{said[worst]}")
