"""What every test of faults works with: workers, a sandbox, and where figures for the table go.

A scene is at one of the backends, which its test names.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from geopin_assets_tests.cloudflare import CloudflareEmulator
from geopin_assets_tests.faults.accounts import Stand, stand
from geopin_assets_tests.faults.stages import Steps
from geopin_assets_tests.faults.steps import COMPILER, Ended, Task, Workers, workers
from geopin_assets_tests.faults.verdict import note

BACKENDS = ("embedded", "cloudflare")


class Scene:
    """Folders with a platform each, over one sandbox, and work in them."""

    def __init__(self, at_work: Workers, stand: Stand, folder: Path, backend: str, accounts: ExitStack) -> None:
        self.workers, self.stand, self.folder, self.backend = at_work, stand, folder, backend
        self._accounts, self._ports = accounts, dict[str, int]()
        self.emulators: dict[str, CloudflareEmulator] = {}

    def new(self, name: str, like: "First | None" = None) -> str:
        """A folder to work in: empty, or with what a first run left, its account at Cloudflare included."""
        path, state = self.folder / name, self.folder / f"{name}.account"
        folder, self._ports[str(path)] = str(path), self.stand.port
        if like:
            shutil.copytree(like.folder, path)
        if self.backend == "cloudflare":
            if like:
                shutil.copytree(f"{like.folder}.account", state)
            port, emulator = self._accounts.enter_context(self.stand.account(state))
            self._ports[folder], self.emulators[folder] = port, emulator
        return folder

    def task(self, work: str, folder: str, mode: int = 0, at: int = 0, errno: int = 0, **arguments: Any) -> Task:
        where = (folder, self._ports[folder], self.backend)
        under, told = str(Path(folder, "platform", "data")) if errno else "", arguments.pop("told", "")
        return Task(work, {"where": where, **arguments}, mode, at, errno, under, told)

    def do(self, work: str, folder: str, mode: int = 0, at: int = 0, errno: int = 0, **arguments: Any) -> Ended:
        ended = self.workers.one(self.task(work, folder, mode, at, errno, **arguments))
        note("memory", peak_mb=ended.peak_mb)
        return ended

    def whole(self, work: str, folder: str, **arguments: Any) -> Ended:
        """Work that nothing befalls: it must succeed."""
        ended = self.do(work, folder, **arguments)
        assert (ended.signal, ended.error, ended.returned) == (0, "", {}), ended
        return ended

    def steps(self, work: str, folder: str, **arguments: Any) -> Steps:
        """What the work does, step by step, when nothing befalls it."""
        told = Path(f"{folder}.steps")
        told.unlink(missing_ok=True)
        self.whole(work, folder, told=str(told), **arguments)
        return Steps.read(told, folder)

    def disk(self, folder: str, kilobytes: int) -> None:
        """See `work.disk`."""
        ended = self.workers.one(Task("disk", {"folder": folder, "kilobytes": kilobytes}))
        assert not ended.error, ended

    def content(self, folder: str) -> dict[str, Any]:
        ended = self.do("content", folder)
        assert not ended.error, ended
        content: dict[str, Any] = ended.returned
        return content


class First:
    """What a first run left, its content and its steps. The account at Cloudflare is closed: it may be copied."""

    def __init__(self, at_work: Workers, stand: Stand, folder: Path, backend: str) -> None:
        with ExitStack() as accounts:
            scene = Scene(at_work, stand, folder, backend, accounts)
            self.folder = scene.new("made")
            self.steps = scene.steps("region", self.folder)
            self.content = scene.content(self.folder)


@pytest.fixture(scope="session")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    if not COMPILER:
        pytest.skip("no C compiler: the library that counts steps cannot be built")
    with workers(tmp_path_factory.mktemp("workers")) as found:
        yield found


@pytest.fixture(scope="session")
def shared_stand() -> Iterator[Stand]:
    with stand() as shared:
        yield shared


@pytest.fixture(scope="session")
def firsts(at_work: Workers, shared_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], First]:
    """By backend, each made once."""
    return cache(lambda backend: First(at_work, shared_stand, tmp_path_factory.mktemp("first"), backend))


@pytest.fixture
def scene(at_work: Workers, shared_stand: Stand, tmp_path: Path, backend: str) -> Iterator[Scene]:
    with ExitStack() as accounts:
        yield Scene(at_work, shared_stand, tmp_path, backend, accounts)
    shared_stand.sandbox.clear()


@pytest.fixture
def first(firsts: Callable[[str], First], backend: str) -> First:
    return firsts(backend)
