"""`geopin takedown`: captures out of everything, and off the list of them again. Work is in `defs/`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

from geopin_assets.cli.console import console, dagster_home, print_table, stand_ins, terminal
from geopin_assets.cli.run import ConsoleProgress, print_layer
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.running.home import open_instance
from geopin_assets.defs.running.takedown import Takedown, Trace
from geopin_assets.defs.running.under_way import BEGUN, living_runs
from geopin_assets.errors import ConfigurationError
from geopin_assets.platform.parts import SearchIndex, Storage
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES
from geopin_assets.sources.fields import source_id
from geopin_assets.store.catalog import Catalog


def take_down_and_report(settings: Settings, capture_ids: Sequence[str], note: str) -> int:
    """Take captures down and print what was where. Returns the exit code: 1 when something is left or failed."""
    takedown = Takedown(_checked(settings, capture_ids), Storage(), SearchIndex())
    dagster_home()
    terminal()
    found = takedown.begin(note)
    console.print(f"on the list: {len(takedown.capture_ids)} captures, which nothing brings back from now on\n")
    has_doubt = _print_found(takedown.capture_ids, found)
    with stand_ins(settings), open_instance() as instance:
        results = []
        for result in takedown.finish(build_definitions(progress=ConsoleProgress()), instance, found):
            results.append(result)
            print_layer(result)
        busy = len(living_runs(instance, BEGUN))
        left = takedown.traces()
    _print_verdict(takedown.capture_ids, left, is_failed=any(result.failed_count for result in results))
    if busy:
        console.print(f"{busy} runs are under way that may have begun before: repeat this when they have ended")
    return int(bool(left) or has_doubt or any(result.failed_count for result in results))


def undo_and_report(capture_ids: Sequence[str]) -> None:
    """Take captures off the list. Raises ConfigurationError when one is not on it; then none is."""
    Storage().catalog().apply_takedowns()
    takedowns = Storage().takedowns()
    strangers = sorted(set(capture_ids) - takedowns.ids())
    if strangers:
        raise ConfigurationError(f"not on the list: {', '.join(strangers)}; see geopin takedown --list")
    for capture_id in takedowns.undo(capture_ids, now=datetime.now(UTC)):
        console.print(f"{capture_id} is off the list: the next crawl that returns it brings it back")


def mend_and_report() -> None:
    """Make a damaged list whole from what can be read of it and its copies, and say what that was."""
    takedowns = Storage().takedowns()
    mended = takedowns.mend()
    if mended is None:
        console.print(f"the list is whole: {len(takedowns.ids())} captures, nothing to mend")
        return
    for place in mended.set_aside:
        console.print(f"set aside: {place}")
    console.print(
        f"{mended.bad_lines} lines could not be read; with what the copies held the list has"
        f" {len(takedowns.ids())} captures: compare it with what you know, geopin takedown --list"
    )


def _checked(settings: Settings, capture_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids, each once. Raises ConfigurationError for what no source can have called a capture: nothing is done."""
    names = {source.name for source in SOURCES}
    others = {capture_id.partition(":")[0] for capture_id in capture_ids} - names
    if others and settings.catalog_path.exists():
        names |= set(Storage().catalog().crawls()["source"])  # one that is no longer registered still has captures
    for capture_id in capture_ids:
        source, _, rest = capture_id.partition(":")
        if source not in names or source_id(rest) is None:
            raise ConfigurationError(
                f"{capture_id!r} is no capture id: SOURCE:ID, and SOURCE one of {', '.join(sorted(names))}"
            )
    return tuple(dict.fromkeys(capture_ids))


def _print_found(capture_ids: Sequence[str], found: Sequence[Trace]) -> bool:
    """Returns whether another one may have been meant."""
    seen = {} if _unread(found) else Storage().catalog().last_seen(capture_ids)
    _print_traces("still to be removed", found)
    left = [id_ for id_ in capture_ids if id_ not in {trace.capture_id for trace in found}]
    meant = {} if _unread(found) else meant_by([id_ for id_ in left if id_ not in seen], Storage().catalog())
    for capture_id in left:
        known = f"gone already, last crawled {seen[capture_id]:%Y-%m-%d}" if capture_id in seen else "unknown so far"
        if capture_id in meant:
            known += f", but there is {meant[capture_id]}: if that was meant, take it down by this name"
        console.print(f"{capture_id}: {known}; no crawl will bring it in")
    return bool(meant)


def meant_by(unknown: Sequence[str], catalog: Catalog) -> dict[str, str]:
    """Captures that are called like these but for capitals, escapes of an address, or the number of a view."""
    forms = {id_: (id_, unquote(id_), id_.rpartition("/")[0]) for id_ in unknown}
    known = catalog.in_any_case([form for some in forms.values() for form in some])
    found = {
        id_: next((known[form.lower()] for form in some if form.lower() in known), "") for id_, some in forms.items()
    }
    return {id_: capture_id for id_, capture_id in found.items() if capture_id}


def _unread(found: Sequence[Trace]) -> bool:
    return any(trace.place.startswith("catalog (") for trace in found)


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
