"""Every test runs in one part of the suite, and what several parts would make for themselves is made in one."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from geopin_assets_tests.parts import PARTS, ROOM, chosen


def modules_of(part: str) -> Iterator[Path]:
    told = chosen(part)
    left_out = [Path(word.removeprefix("--ignore=")) for word in told if word.startswith("--ignore=")]
    for path in (Path(word) for word in told if not word.startswith("--")):
        for module in [path] if path.is_file() else path.rglob("test_*.py"):
            if not any(module.is_relative_to(other) for other in left_out):
                yield module


def test_every_module_is_in_one_part() -> None:
    times = Counter(module for part in PARTS for module in modules_of(part))
    assert set(times) == set(ROOM.rglob("test_*.py")) and set(times.values()) == {1}


def test_a_first_run_is_made_in_one_part() -> None:
    taken = "ran:" + " Ran"
    parts = {part for part in PARTS for module in modules_of(part) if taken in module.read_text(encoding="utf-8")}
    assert parts == {"runs"}
