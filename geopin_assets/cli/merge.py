"""`geopin merge`: bring the catalog up to date with all raw files, whatever became of it. Work is in `store/`.

The remedy where embedding and publishing stop because the catalog was lost, damaged, put back from a copy, or is
another installation's. No source is asked, and nothing is deleted.
"""

from geopin_assets.cells import cell_ids as all_cell_ids
from geopin_assets.cli.console import console, dagster_home, terminal
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


def merge_and_report(settings: Settings, *, is_anew: bool = False) -> int:
    """Merge what the catalog lacks, or all of it anew. Returns the exit code: 1 when a raw file could not be merged."""
    storage = Storage()
    with storage.leases().held(CATALOG, what="setting it aside" if is_anew else "looking at it"):
        if is_anew and settings.catalog_path.exists():
            console.print(f"set aside: {set_aside(settings.catalog_path)}")
        _set_aside_what_is_no_use(settings, storage)
    lacking = storage.catalog().unmerged(storage.raw())
    console.print(f"{len(lacking)} cells have raw files that the catalog lacks")
    is_failed = False
    if cell_ids := in_order(set(lacking).intersection(all_cell_ids())):
        dagster_home()
        terminal()
        with open_instance() as instance:
            job = build_definitions(progress=ConsoleProgress()).resolve_implicit_global_asset_job_def()
            result = layer(job, instance, CATALOG, cell_ids)
        print_layer(result)
        is_failed = bool(result.failed_count)
    if outside := sorted(set(lacking).difference(all_cell_ids())):
        storage.catalog().merge(outside, storage.raw())
    storage.follow_failures()
    if not storage.catalog().is_empty():
        Evidence(storage).check()
        console.print("the catalog is complete: embedding and publishing go on from it")
    return int(is_failed)


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
