import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.running.local_run import LayerResult
from geopin_assets.sandbox.server import running
from geopin_assets.settings import Settings
from geopin_assets_tests.depth import load_hypothesis_profile
from geopin_assets_tests.files.places import place, postgres_place, postgres_server
from geopin_assets_tests.files.stores import object_store, s3_address, s3_bucket
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import Platform, Ran
from geopin_assets_tests.ports import free_port

__all__ = ["object_store", "place", "postgres_place", "postgres_server", "s3_address", "s3_bucket"]
pytest_plugins = ["geopin_assets_tests.workers", "geopin_assets_tests.size", "geopin_assets_tests.faults.verdict"]
load_hypothesis_profile()


@pytest.fixture(scope="session")
def sandbox_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
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


@pytest.fixture(scope="session")
def first_run(sandbox_port: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LayerResult]]:
    """Done once in a worker: tests of what comes after a run go on from copies."""
    folder = tmp_path_factory.mktemp("first-run")
    for name in ("home", "platform/photos"):
        (folder / name).mkdir(parents=True)
    with instance_in(folder / "home") as instance:
        return folder, Platform(folder / "platform", sandbox_port).run(instance)


@pytest.fixture
def ran(first_run: tuple[Path, dict[str, LayerResult]], sandbox_port: int, tmp_path: Path) -> Iterator[Ran]:
    folder, layers = first_run
    shutil.copytree(folder, tmp_path / "ran")
    platform = Platform(tmp_path / "ran" / "platform", sandbox_port)
    with instance_in(tmp_path / "ran" / "home") as instance:
        yield Ran(platform, instance, layers)
    platform.tell_sandbox("DELETE")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path) as instance:
        yield instance
