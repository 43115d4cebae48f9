import pytest

from geopin_assets_tests.cli.typed import Ended, Place, with_sandbox
from geopin_assets_tests.platform import CELLS


@pytest.fixture(scope="session")
def one_cell(tmp_path_factory: pytest.TempPathFactory, sandbox_port: int) -> tuple[Place, Ended]:
    """Where one cell of one source was run, and how that ended: what comes after is done in copies of the place."""
    place = Place(tmp_path_factory.mktemp("one-cell"))
    return place, with_sandbox(place, sandbox_port)("run", "--region", CELLS[0], "--source", "panoramax")
