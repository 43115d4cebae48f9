"""A real process is killed at a step by which it changes a file, again and again; the same again; and all is whole.

The short form kills at some steps, the long one at each.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from geopin_assets.embedding.protocol import Model
from geopin_assets.exchange.following import verify
from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.files.object_store import memory_store
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.exchange import work
from geopin_assets_tests.exchange.test_adopting import Here
from geopin_assets_tests.exchange.worlds import content_of, same
from geopin_assets_tests.faults.steps import COMPILER, KILL, Task, Workers, workers

pytestmark = pytest.mark.skipif(not COMPILER, reason="there is no C compiler")
AGAIN = 3 if IS_LONG else 1
"""Kills in a row, each on its way."""


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with workers(tmp_path_factory.mktemp("workers"), work.__name__) as found:
        yield found


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first week published; a copy and an installation that took it; and the two weeks that followed, elsewhere."""
    folder = tmp_path_factory.mktemp("begun")
    work.publish(str(folder / "first"), 0)
    work.copy(str(folder / "first"), str(folder / "copy"))
    work.adopt(str(folder / "first"), str(folder / "here"))
    shutil.copytree(folder / "first", folder / "later")
    for week in (1, 2):
        work.publish(str(folder / "later"), week)
    return folder


def check_copy(folder: Path) -> None:
    work.in_week(2).publish(fresh := memory_store())
    assert same(work.store(str(folder)), fresh)


def check_installation(folder: Path) -> None:
    model = work.in_week(2).publish(fresh := memory_store()).manifest.model
    Here(folder, fresh).export(mine := memory_store(), Model(model.model_id, model.dim, is_place_recognition=True))
    for kind in ("captures", "vectors"):
        assert content_of(mine)[kind].equals(content_of(fresh)[kind]), kind


def check_withdrawn(folder: Path) -> None:
    world = work.in_week(0)
    world.drop("e")
    world.publish(fresh := memory_store())
    there = work.store(str(folder))
    for kind in ("captures", "vectors"):
        assert content_of(there)[kind].equals(content_of(fresh)[kind])
    assert not any(b"panoramax:e" in path.read_bytes() for path in folder.glob("*/nh-*.parquet"))


WORK: dict[str, tuple[str, dict[str, object], str, Callable[[Path], None]]] = {
    "publishing the first time": ("publish", {"week": 2}, "", check_copy),
    "publishing what changed": ("publish", {"week": 2}, "first", check_copy),
    "a takedown": ("withdraw", {"week": 0}, "first", check_withdrawn),
    "a copy's first time": ("copy", {"of": "later"}, "", check_copy),
    "a copy that follows": ("copy", {"of": "later"}, "copy", check_copy),
    "an import": ("adopt", {"of": "later"}, "", check_installation),
    "an installation that follows": ("adopt", {"of": "later"}, "here", check_installation),
}
SHORT = ("a takedown", "a copy that follows", "an installation that follows")


@pytest.mark.parametrize("case", WORK if IS_LONG else SHORT)
def test_killed_at_any_step_it_is_whole_and_repeating_ends_as_if_never_killed(
    at_work: Workers, begun: Path, tmp_path: Path, case: str
) -> None:
    name, arguments, start, check = WORK[case]
    target = "there" if name in ("publish", "withdraw") else "to"
    arguments = arguments | ({"of": str(begun / str(arguments["of"]))} if "of" in arguments else {})

    def task(folder: Path, at: int = 0) -> Task:
        return Task(name, arguments | {target: str(folder)}, KILL if at else 0, at, under=str(folder))

    def prepared(number: int) -> Path:
        folder = tmp_path / str(number)
        if start:
            shutil.copytree(begun / start, folder)
        return folder

    counted = at_work.one(task(prepared(0)))
    assert not counted.error, counted
    check(tmp_path / "0")
    kills, every = 0, range(1, counted.steps + 1)
    for first in every if IS_LONG else [counted.steps // 2]:
        folder = prepared(first)
        for at in range(first, first + AGAIN):
            ended = at_work.one(task(folder, at))
            assert not ended.error, ended
            kills += ended.signal == SIGKILL
            if target == "there" or name == "copy":
                is_there = work.state(str(folder)) >= 0
                assert not is_there or verify(work.store(str(folder)), read_manifest(work.store(str(folder)))) is None
        last = at_work.one(task(folder))
        assert not last.error, last
        check(folder)
        shutil.rmtree(folder)
    assert kills


def test_two_that_apply_one_feed_at_once_end_with_what_one_would_have(
    at_work: Workers, begun: Path, tmp_path: Path
) -> None:
    for number in range(10 if IS_LONG else 2):
        shutil.copytree(begun / "copy", folder := tmp_path / str(number))
        task = Task("copy", {"of": str(begun / "later"), "to": str(folder)})
        errors = [ended.error for ended in at_work.run(task, task)]
        assert all(not error or "ConflictError" in error or "repeat this" in error for error in errors), errors
        assert not at_work.one(task).error
        check_copy(folder)
