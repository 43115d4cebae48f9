"""`geopin export`, `geopin import` and `geopin feed`: the index for others, and that of others here.

Not here: publications and copies (`exchange/`), or what an import makes of Dagster's history (`defs/running/`).
"""

from collections.abc import Callable, Mapping

from geopin_assets.cli.console import Facts, console, print_facts, print_table
from geopin_assets.defs.graph import EXCHANGE
from geopin_assets.errors import ConfigurationError
from geopin_assets.exchange.exporting import export
from geopin_assets.exchange.publish import Published
from geopin_assets.exchange.snapshot import searched_model
from geopin_assets.files.object_store import open_store
from geopin_assets.platform.parts import Embedding, SearchIndex, Storage
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings

_KINDS = ("captures", "panoramas", "vectors")


def export_and_report(settings: Settings, region: str, out: str, *, is_json: bool = False) -> None:
    """Publish a region to a folder or bucket, or what changed since the last time, and say what is there."""
    storage = Storage()
    store = open_store(out, endpoint_url=settings.s3_endpoint_url, access=settings.s3) if out else storage.exports()
    model, cell_ids = searched_model(Embedding(), SearchIndex()), cells_of(region)
    if not cell_ids:
        raise ConfigurationError(f"region {region!r}: no cell of the grid is in it")
    with storage.leases().held(EXCHANGE, what="export"):
        done = export(storage, model, cell_ids, region, store)
    print_facts(_facts(done, store.address()), is_json, _show)


def _facts(done: Published, address: str) -> Facts:
    manifest = done.manifest
    return {
        "address": address,
        "region": manifest.summary.region,
        "feed_id": manifest.feed_id,
        "sequence": manifest.sequence,
        "published_at": manifest.published_at,
        "model": manifest.model.label,
        "bytes": sum(file.bytes for file in manifest.files()),
        "provinces": [
            {"province": name} | {kind: part.counts.get(kind, 0) for kind in _KINDS}
            for name, part in manifest.parts.items()
        ],
        "withheld": dict(manifest.summary.withheld),
        "changes": None if done.changes is None else dict(done.changes),
    }


def _show(facts: Facts) -> None:
    rows = [(one["province"], *(one[kind] for kind in _KINDS)) for one in facts["provinces"]]
    console.print(f"publish {facts['sequence']} of {facts['address']}")
    if rows:
        print_table("by province", ("province", *_KINDS), rows)
    else:
        console.print(f"no captures: nothing of {facts['region']} is in the catalog that may be passed on")
    console.print(f"{facts['bytes']:,} bytes; vectors of {facts['model']}")
    if facts["withheld"]:
        console.print(f"not passed on: {_told(facts['withheld'])}")
    changes = "nothing" if facts["changes"] is None else _told(facts["changes"]) or "first publish"
    console.print(f"changed since the last time: {changes}")


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts.items() if count)


def import_and_report(settings: Settings, address: str, *, is_first: bool, max_removals: int | None) -> int:
    """Bring a publication, or what its feed says since, into this installation. The exit code: 1 if a layer failed."""
    from geopin_assets.cli.console import dagster_home, stand_ins, terminal
    from geopin_assets.cli.run import ConsoleProgress, print_layer
    from geopin_assets.defs.assemble import build_definitions
    from geopin_assets.defs.running.adopting import Adoption
    from geopin_assets.defs.running.home import open_instance

    of, most = (
        open_store(address, endpoint_url=settings.s3_endpoint_url, access=settings.s3),
        _most(settings, max_removals),
    )
    adoption = Adoption(Storage(), SearchIndex(), Embedding().model(), of, most, max_removals)
    dagster_home()
    terminal()
    failed = 0
    with stand_ins(settings), open_instance() as instance:
        defs = build_definitions(progress=ConsoleProgress())
        for result in (adoption.take if is_first else adoption.follow)(defs, instance):
            print_layer(result)
            failed += result.failed_count
    done = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in adoption.counts.items() if count)
    console.print(done or "nothing has changed")
    if adoption.overdue:
        console.print("takedowns were applied later than the feed asks: apply it more often")
    return int(failed > 0)


def copy_and_report(settings: Settings, address: str, to: str, max_removals: int | None) -> None:
    """Bring a copy in another folder up to date, which needs no installation."""
    from geopin_assets.exchange.copies import bring_up_to_date

    of, copy = (open_store(place, endpoint_url=settings.s3_endpoint_url, access=settings.s3) for place in (address, to))
    manifest = None
    for manifest in bring_up_to_date(copy, of, _most(settings, max_removals)):
        console.print(
            f"publish {manifest.sequence} of {manifest.published_at:%Y-%m-%d %H:%M} UTC is in {copy.address()}"
        )
    console.print("up to date" if manifest else "nothing has changed")


def _most(settings: Settings, max_removals: int | None) -> Callable[[int], int]:
    if max_removals is not None:
        return lambda captures: max_removals
    return lambda captures: max(settings.removal_floor, int(settings.max_removal_share * captures))
