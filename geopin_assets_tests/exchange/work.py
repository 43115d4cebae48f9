"""What is done with publications in processes of their own while faults befall them: see `faults/steps.py`.

Here: three weeks of an invented installation, published, withdrawn, copied and imported. Not here: what must hold.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import geopin_assets.exchange
from geopin_assets.cells import all_cells
from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.exchange.publish import published
from geopin_assets.files.folder_store import FolderStore
from geopin_assets_tests.exchange.test_adopting import Here
from geopin_assets_tests.exchange.test_feed import follow
from geopin_assets_tests.exchange.worlds import CELLS, START, World


def warm() -> None:
    """Load what every piece of work would for itself."""
    all_cells()
    for module in walk_packages(geopin_assets.exchange.__path__, "geopin_assets.exchange."):
        import_module(module.name)


def do(name: str, arguments: dict[str, Any]) -> Any:
    """A function of this module by its name."""
    return globals()[name](**arguments)


def in_week(number: int) -> World:
    """The installation then."""
    world = World()
    for name in "abcdefgh":
        world.put(name, is_pano=name == "h")
    if number > 0:
        world.put("a", CELLS[2], 2)
        world.put("i", CELLS[1])
    if number > 1:
        world.drop("b")
        world.put("c", seed=3)
        world.taken_down["panoramax:d"] = START
    return world


def store(folder: str) -> FolderStore:
    return FolderStore(Path(folder), is_durable=False)


def publish(there: str, week: int) -> None:
    """The week, if no later one is there."""
    in_week(week).publish(store(there))


def withdraw(there: str, week: int) -> None:
    world = in_week(week)
    world.taken_down["panoramax:e"] = START
    world.withdraw(store(there))


def copy(of: str, to: str) -> int:
    return follow(store(to), store(of))


def adopt(of: str, to: str) -> None:
    Here(Path(to), store(of)).bring_up_to_date()


def state(there: str) -> int:
    """The publish that is there; -1: none."""
    return read_manifest(store(there)).sequence if published(store(there))[1] else -1
