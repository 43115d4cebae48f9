import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.sandbox.server import running
from geopin_assets.settings import Settings
from geopin_assets_tests.files.stores import object_store, s3_address, s3_bucket
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import Platform

__all__ = ["object_store", "s3_address", "s3_bucket"]


@pytest.fixture(scope="session")
def sandbox_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(Settings(data_dir=tmp_path_factory.mktemp("sandbox"), sandbox_port=port)):
        yield port


@pytest.fixture
def build_platform(sandbox_port: int, tmp_path: Path) -> Iterator[Callable[[str], Platform]]:
    built: list[Platform] = []

    def build(name: str = "platform") -> Platform:
        (tmp_path / name / "photos").mkdir(parents=True)
        built.append(Platform(tmp_path / name, sandbox_port))
        return built[-1]

    yield build
    for platform in built:
        platform.tell_sandbox("DELETE")


@pytest.fixture
def platform(build_platform: Callable[[str], Platform]) -> Platform:
    return build_platform("platform")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path) as instance:
        yield instance
