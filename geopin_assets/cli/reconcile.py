"""`geopin reconcile`: every index and database that was ever published to, made what it should be. Work is elsewhere.

Not here: comparing (`platform/reconcile.py`) or publishing again what is lost (`defs/running/restoring.py`).
"""

from geopin_assets.cli.console import Facts, console, dagster_home, print_json, print_table, stand_ins, terminal
from geopin_assets.index.reconcile import KINDS
from geopin_assets.platform.damaged import set_aside_damaged
from geopin_assets.platform.index_state import announce_versions
from geopin_assets.platform.known_stores import known_stores
from geopin_assets.platform.parts import Embedding, SearchIndex, Storage
from geopin_assets.platform.reconcile import Reconciled, Reconciliation, reconcile
from geopin_assets.settings import Settings


def reconcile_and_report(settings: Settings, *, is_dry: bool, max_removals: int | None, is_json: bool) -> int:
    """Reconcile and print it. Returns the exit code: 1 when something is left, failed, or could not be asked."""
    dagster_home()
    terminal()
    storage, search_index, model = Storage(), SearchIndex(), Embedding().model()
    aside = [] if is_dry else list(set_aside_damaged(settings))
    if not is_json:
        for said in aside:
            console.print(said)
    with stand_ins(settings):
        done = reconcile(storage, search_index, model, is_dry=is_dry, max_removals=max_removals)
        facts: Facts = _facts(done) | {"publication_rewritten": None, "failed_cells": None}
        if not is_json:
            _show(facts)
        if is_dry:
            ended = int(any(part.error or part.store.why_not for part in done.parts))
        else:
            is_lost = done.cells(of_index=False) or done.cells(of_index=True)
            failed = _publish(done, is_json=is_json) if is_lost else 0
            unused = [s.database for s in known_stores(search_index) if s.database and s.state == "unused"]
            facts["publication_rewritten"] = announce_versions(storage, search_index, model, unused)
            left = reconcile(storage, search_index, model, is_dry=True)
            facts |= {"failed_cells": failed, "is_in_order": left.is_in_order}
            ended = int(bool(failed) or not left.is_in_order)
            if not is_json:
                _show_end(facts, left)
    if is_json:
        print_json(facts)
    return ended


def _publish(done: Reconciliation, *, is_json: bool) -> int:
    """Restore what is lost; how many cells failed."""
    from geopin_assets.cli.run import ConsoleProgress, print_layer
    from geopin_assets.defs.assemble import build_definitions
    from geopin_assets.defs.running.home import open_instance
    from geopin_assets.defs.running.restoring import publish_again

    failed = 0
    with open_instance() as instance:
        for result in publish_again(build_definitions(progress=None if is_json else ConsoleProgress()), instance, done):
            failed += result.failed_count
            if not is_json:
                print_layer(result)
    return failed


def _facts(done: Reconciliation) -> Facts:
    return {
        "stores": [_store(part) for part in done.parts],
        "versions_adopted": [version.name for version in done.adopted],
        "cells_of_rows": len(done.cells(of_index=False)),
        "cells_of_vectors": len(done.cells(of_index=True)),
        "is_in_order": done.is_in_order,
    }


def _store(part: Reconciled) -> Facts:
    found, store = part.found, part.store
    counts = {kind: found.counts[kind] if found else None for kind in KINDS}
    return {
        "store": store.key,
        "table": part.table or None,
        "state": store.state if store.is_there else f"{store.state}, not there",
        "held": found and found.held,
        "in_ledger": found and found.known,
        **counts,
        "removed": part.removed,
        "error": part.error or store.why_not or None,
    }


def _show(facts: Facts) -> None:
    names = ("held", "in_ledger", *KINDS)
    shown = [store for store in facts["stores"] if "not there" not in store["state"] or store["error"]]
    rows = [
        (" ".join(filter(None, (store["store"], store["table"]))), store["state"], *(_count(store[n]) for n in names))
        for store in shown
    ]
    print_table(
        "every store that was ever published to", ("store", "state", *(n.replace("_", " ") for n in names)), rows
    )
    for store in shown:
        if store["error"]:
            console.print(f"{store['store']}: {store['error']}")
    if facts["versions_adopted"]:
        console.print(f"versions that our record did not know as they are: {', '.join(facts['versions_adopted'])}")
    for what in ("rows", "vectors"):
        if facts[f"cells_of_{what}"]:
            console.print(f"{facts[f'cells_of_{what}']} cells whose {what} are to be published again")


def _show_end(facts: Facts, left: Reconciliation) -> None:
    removed = sum(store["removed"] for store in facts["stores"])
    console.print(f"\n{removed} ids removed that no cell wants")
    if told := facts["publication_rewritten"]:
        console.print(f"told anew which index to search: {', '.join(told)}")
    if left.is_in_order:
        console.print("every store holds what it should")
        return
    console.print("\nleft:")
    _show(_facts(left))


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
