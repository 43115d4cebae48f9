"""`geopin merge`: bring the catalog up to date with all raw files, whatever became of it. Work is in `store/`.

The remedy where embedding and publishing stop because the catalog was lost, damaged, put back from a copy, or is
another installation's. No source is asked, and nothing is deleted.
"""

from geopin_assets.cells import cell_ids as all_cell_ids
from geopin_assets.cli.console import console, dagster_home, progress_bar, terminal
from geopin_assets.cli.run import ConsoleProgress, print_layer
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.graph import CATALOG
from geopin_assets.defs.running.home import open_instance
from geopin_assets.defs.running.local_run import layer
from geopin_assets.errors import DamagedFileError
from geopin_assets.files.damage import set_aside
from geopin_assets.platform.evidence import Evidence
from geopin_assets.platform.parts import Storage
from geopin_assets.regions import in_order
from geopin_assets.settings import Settings
from geopin_assets.store.rebuilding import beside, make, put_in_place


def merge_and_report(settings: Settings, *, is_anew: bool = False) -> int:
    """Merge what the catalog lacks, or all of it anew. Returns the exit code: 1 when a raw file could not be merged."""
    storage, is_failed = Storage(), False
    if is_anew:
        is_failed = bool(_make_anew(settings, storage))
    else:
        with storage.leases().held(CATALOG, what="looking at it"):
            _set_aside_what_is_no_use(settings, storage)
    lacking = storage.catalog().unmerged(storage.raw())
    said = "are in it, and are written for whoever embeds" if is_anew else "have raw files that the catalog lacks"
    console.print(f"{len(lacking)} cells {said}")
    if cell_ids := in_order(set(lacking).intersection(all_cell_ids())):
        dagster_home()
        terminal()
        with open_instance() as instance:
            job = build_definitions(progress=ConsoleProgress()).resolve_implicit_global_asset_job_def()
            result = layer(job, instance, CATALOG, cell_ids)
        print_layer(result)
        is_failed |= bool(result.failed_count)
    if outside := sorted(set(lacking).difference(all_cell_ids())):
        storage.catalog().merge(outside, storage.raw())
    storage.follow_failures()
    if not storage.catalog().is_empty():
        Evidence(storage).check()
        console.print("the catalog is complete: embedding and publishing go on from it")
    return int(is_failed)


def _make_anew(settings: Settings, storage: Storage) -> dict[str, str]:
    """Another catalog, which takes the place of the one that is there when it is whole; cells with damaged raw files.

    Merges of others go on meanwhile, into the old one: what they bring is merged once more afterwards.
    """
    path, raw = settings.catalog_path, storage.raw()
    with storage.leases().held("catalog rebuild", what="making it anew"), beside(path) as part:
        cell_ids = list(dict.fromkeys(raw.crawls()["cell_id"]))
        with progress_bar("merging", len(cell_ids)) as advance:
            damaged = make(
                part, cell_ids, raw, storage.takedowns(), settings.thin_m, lambda cells: advance("merged", cells)
            )
        with storage.leases().held(CATALOG, what="putting another in its place"):
            if aside := put_in_place(part, path):
                console.print(f"set aside: {aside}")
    for cell_id, why in damaged.items():
        console.print(f"{cell_id}: {why}")
    return damaged


def _set_aside_what_is_no_use(settings: Settings, storage: Storage) -> None:
    """A catalog that cannot be read, or is another installation's, goes out of the way, and is not deleted."""
    try:
        mark = storage.catalog().mark()
    except DamagedFileError as error:
        console.print(str(error))
    else:
        own = storage.takedowns().installation_id(mark.installation_id if mark else "")
        if mark is None or mark.installation_id == own:
            return
        console.print(f"the catalog is of installation {mark.installation_id}, this is {own}")
    console.print(f"set aside: {set_aside(settings.catalog_path)}")
