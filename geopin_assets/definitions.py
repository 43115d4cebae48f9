"""The code location: what `defs/` holds and what was added to it (`defs/added/`). Works from a checkout and a wheel."""

from pathlib import Path

import dagster as dg

from geopin_assets.defs import added
from geopin_assets.defs.assemble import build_definitions


def _added(folder: Path) -> list[dg.Definitions]:
    """What Dagster loads from the folder; nothing is asked of it while that is empty, which takes 0.3 s."""
    if all(path.name.startswith("__") for path in folder.iterdir()):
        return []
    return [dg.load_from_defs_folder(path_within_project=folder)]


defs: dg.Definitions = dg.Definitions.merge(build_definitions(), *_added(Path(added.__file__).parent))
