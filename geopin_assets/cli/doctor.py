"""`geopin doctor`: is everything still there and of one piece? Looks, changes nothing, and names the remedies.

Not here: what is looked at in our data (`platform/doctor.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from geopin_assets.cli.console import console, dagster_home, print_json, print_table, stand_ins, understood
from geopin_assets.errors import GeoPinError
from geopin_assets.exchange.exporting import conditions
from geopin_assets.platform.doctor import Finding, State, examine, sqlite_files
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.settings import Settings

_HISTORY = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_HOME_REMEDY = "put Dagster's folders back from a copy, or move them away: sensors look anew at everything"


def examine_and_report(settings: Settings, *, is_deep: bool, is_json: bool) -> int:
    """Print what was found. Returns the exit code, for monitoring: 2 with an error, 1 with a warning, else 0."""
    home = dagster_home()
    with ExitStack() as stack:
        found = [*_served(settings, stack), *examine(Storage(), SearchIndex(), is_deep=is_deep)]
        found += [*_publications(Storage()), *_dagster(home)]
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


def _dagster(home: Path) -> Iterator[Finding]:
    """The files of Dagster's history, where they are SQLite's, and what works now."""
    from geopin_assets.defs.running.home import open_instance
    from geopin_assets.defs.running.under_way import living_runs

    broken = [f for f in sqlite_files([home / name for name in _HISTORY], _HOME_REMEDY) if f.state is State.ERROR]
    yield from broken
    if not broken:
        try:
            with open_instance() as instance:
                runs = living_runs(instance)
        except Exception as error:
            if (said := understood(error)) is None:
                raise
            yield Finding("Dagster", State.ERROR, str(said), "see the message")
            return
        yield Finding("Dagster", State.OK, f"{len(runs)} runs under way")


def _show(found: list[Finding], worst: State) -> None:
    rows = [(finding.state.value, finding.what, finding.detail) for finding in found]
    print_table("examined", ("", "what", "found"), rows)
    for finding in found:
        if finding.remedy:
            console.print(f"\n{finding.what}: {finding.remedy}")
    said = {State.OK: "all is well", State.WARNING: "nothing that cannot wait", State.ERROR: "something must be done"}
    console.print(f"\n{said[worst]}")
