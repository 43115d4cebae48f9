"""What every test of faults works with: workers, a sandbox, and where figures for the table go."""

import json
import shutil
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from geopin_assets_tests.faults.steps import COMPILER, Ended, Task, Workers, workers
from geopin_assets_tests.faults.verdict import note


class Scene:
    """Folders with a platform each, over one sandbox, and work in them."""

    def __init__(self, at_work: Workers, port: int, folder: Path, template: Path | None = None) -> None:
        self.workers, self.port, self.folder, self._template = at_work, port, folder, template

    def new(self, name: str) -> str:
        """A folder to work in: empty, or with what a first run left."""
        path = self.folder / name
        if self._template:
            shutil.copytree(self._template, path)
        return str(path)

    def task(self, work: str, folder: str, mode: int = 0, at: int = 0, errno: int = 0, **arguments: Any) -> Task:
        under = str(Path(folder, "platform", "data")) if errno else ""
        return Task(work, {"folder": folder, "port": self.port, **arguments}, mode, at, errno, under)

    def do(self, work: str, folder: str, mode: int = 0, at: int = 0, errno: int = 0, **arguments: Any) -> Ended:
        ended = self.workers.one(self.task(work, folder, mode, at, errno, **arguments))
        note("memory", peak_mb=ended.peak_mb)
        return ended

    def whole(self, work: str, folder: str, **arguments: Any) -> Ended:
        """Work that nothing befalls: it must succeed."""
        ended = self.do(work, folder, **arguments)
        assert (ended.signal, ended.error, ended.returned) == (0, "", {}), ended
        return ended

    def tell(self, method: str, body: object = None) -> None:
        """Change the sandbox's world, or set it right again."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, "/faults", None if body is None else json.dumps(body))
        assert connection.getresponse().status < 300
        connection.close()

    def content(self, folder: str) -> dict[str, Any]:
        ended = self.do("content", folder)
        assert not ended.error, ended
        content: dict[str, Any] = ended.returned
        return content


@pytest.fixture(scope="session")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    if not COMPILER:
        pytest.skip("no C compiler: the library that counts steps cannot be built")
    with workers(tmp_path_factory.mktemp("workers")) as found:
        yield found


@pytest.fixture(scope="session")
def first(at_work: Workers, sandbox_port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first run leaves, made once; its steps are in `steps`."""
    folder = tmp_path_factory.mktemp("first")
    scene = Scene(at_work, sandbox_port, folder)
    (folder / "steps").write_text(str(scene.whole("region", str(folder / "made")).steps))
    return folder


@pytest.fixture
def scene(at_work: Workers, sandbox_port: int, tmp_path: Path) -> Scene:
    """Nothing is there yet."""
    return Scene(at_work, sandbox_port, tmp_path)


@pytest.fixture
def scene_after_first(at_work: Workers, sandbox_port: int, tmp_path: Path, first: Path) -> Scene:
    """Every new folder holds what a first run left."""
    return Scene(at_work, sandbox_port, tmp_path, first / "made")


@pytest.fixture
def first_steps(first: Path) -> int:
    return int((first / "steps").read_text())
