"""The code location: what `defs/` holds and what was added to it (`defs/added/`). Works from a checkout and a wheel."""

import gc
from pathlib import Path

import dagster as dg


def _load() -> dg.Definitions:
    from geopin_assets.defs import added
    from geopin_assets.defs.assemble import build_definitions

    return dg.Definitions.merge(build_definitions(), *_added(Path(added.__file__).parent))


def _added(folder: Path) -> list[dg.Definitions]:
    """What Dagster loads from the folder; nothing is asked of it while that is empty, which takes 0.3 s."""
    if all(path.name.startswith("__") for path in folder.iterdir()):
        return []
    return [dg.load_from_defs_folder(path_within_project=folder)]


_collects = gc.isenabled()
gc.disable()  # nothing of what loads is garbage, and looking for some takes a sixth of the time
try:
    defs: dg.Definitions = _load()
finally:
    if _collects:
        gc.enable()
