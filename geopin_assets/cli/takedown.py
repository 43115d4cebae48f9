"""`geopin takedown`: captures out of everything, and off the list of them again. Work is in `defs/`."""

from collections.abc import Sequence

import dagster as dg

from geopin_assets.cli.console import console, dagster_home, print_table, stand_ins
from geopin_assets.cli.run import ConsoleProgress, print_layer
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.running.local_run import instance_here
from geopin_assets.defs.running.takedown import Takedown, Trace
from geopin_assets.errors import ConfigurationError
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES
from geopin_assets.sources.fields import source_id

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def take_down_and_report(settings: Settings, capture_ids: Sequence[str], note: str) -> int:
    """Take captures down and print what was where. Returns the exit code: 1 when something is left or failed."""
    takedown = Takedown(_checked(settings, capture_ids), Storage(), SearchIndex())
    home = dagster_home()
    console.print(f"looking for {len(takedown.capture_ids)} captures in everything that is stored\n")
    with stand_ins(settings), instance_here(home) as instance:
        found = takedown.begin(note)
        _print_found(takedown.capture_ids, found)
        results = []
        for result in takedown.finish(build_definitions(progress=ConsoleProgress()), instance, found):
            results.append(result)
            print_layer(result)
        busy = instance.get_runs_count(dg.RunsFilter(statuses=_UNDER_WAY))
        left = takedown.traces()
    _print_verdict(takedown.capture_ids, left, is_failed=any(result.failed_count for result in results))
    if busy:
        console.print(f"{busy} runs are under way that may have begun before: repeat this when they have ended")
    return int(bool(left) or any(result.failed_count for result in results))


def undo_and_report(capture_ids: Sequence[str]) -> None:
    """Take captures off the list. Raises ConfigurationError when one is not on it; then none is."""
    takedowns = Storage().catalog().takedowns()
    strangers = sorted(set(capture_ids) - set(takedowns.listed()["capture_id"]))
    if strangers:
        raise ConfigurationError(f"not on the list: {', '.join(strangers)}; see geopin takedown --list")
    for capture_id in takedowns.undo(capture_ids):
        console.print(f"{capture_id} is off the list: the next crawl that returns it brings it back")


def _checked(settings: Settings, capture_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids, each once. Raises ConfigurationError for what no source can have called a capture: nothing is done."""
    names = {source.name for source in SOURCES}
    if settings.catalog_path.exists():
        names |= set(Storage().catalog().crawls()["source"])  # one that is no longer registered still has captures
    for capture_id in capture_ids:
        source, _, rest = capture_id.partition(":")
        if source not in names or source_id(rest) is None:
            raise ConfigurationError(
                f"{capture_id!r} is no capture id: SOURCE:ID, and SOURCE one of {', '.join(sorted(names))}"
            )
    return tuple(dict.fromkeys(capture_ids))


def _print_found(capture_ids: Sequence[str], found: Sequence[Trace]) -> None:
    seen = dict(Storage().catalog().takedowns().listed().select("capture_id", "last_seen_at").iter_rows())
    _print_traces("found", found)
    for capture_id in capture_ids:
        if capture_id in {trace.capture_id for trace in found}:
            continue
        known = f"gone already, last crawled {seen[capture_id]:%Y-%m-%d}" if seen[capture_id] else "unknown so far"
        console.print(f"{capture_id}: {known}; no crawl will bring it in")


def _print_traces(title: str, traces: Sequence[Trace]) -> None:
    rows = [(trace.capture_id or "(cannot be read)", trace.place, trace.cell_id, trace.rows) for trace in traces]
    if rows:
        print_table(title, ("capture", "in", "cell", "rows"), rows)
        console.print()


def _print_verdict(capture_ids: Sequence[str], left: Sequence[Trace], *, is_failed: bool) -> None:
    console.print()
    _print_traces("left", left)
    if left or is_failed:
        console.print("not everything is done: see above, and repeat the same command to finish it")
    else:
        console.print(f"taken down, nothing is left of {len(capture_ids)} captures")
