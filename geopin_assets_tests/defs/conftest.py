from collections.abc import Iterator

import pytest

from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.simulated import SimulatedLog


@pytest.fixture(scope="session")
def shared_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedLog]:
    folder = tmp_path_factory.mktemp("log")
    with instance_in(folder) as instance:
        yield SimulatedLog(instance)


@pytest.fixture
def log(shared_log: SimulatedLog) -> SimulatedLog:
    """An empty event log: one instance for all tests, as making one takes longer than most of them."""
    shared_log.forget()
    return shared_log
