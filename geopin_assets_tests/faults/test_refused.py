"""A disk that is full, read-only or broken, from any step on or from any size: said as what it is, nothing lost, later
all is well.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, SEED, examples, some
from geopin_assets_tests.faults.conftest import BACKENDS, First, Scene
from geopin_assets_tests.faults.steps import FAIL, Ended, own_mounts
from geopin_assets_tests.faults.verdict import note

CODES = (errno.ENOSPC, errno.EROFS, errno.EIO)
OURS = ("StorageFullError: ", "ConfigurationError: ", "TransientError: ", "DamagedFileError: ")
ROOMY_KB = 512 * 1024
at_each_backend = pytest.mark.parametrize("backend", some(BACKENDS))


def raw_words(ended: Ended) -> list[str]:
    """What was said in another voice than ours."""
    said = [ended.error] if ended.error else [text for texts in (ended.returned or {}).values() for text in texts]
    return [text for text in said if not text.startswith(OURS)]


def expect_clean(fault: str, ended: Ended) -> None:
    clean = ended.signal == 0 and not raw_words(ended)
    note(fault, attempts=1, seeds=1, unclean_ends=int(not clean))
    assert clean, (ended.signal, raw_words(ended))


def refused(scene: Scene, what: str, work: str, folder: str, points: Sequence[tuple[int, int]], **more: Any) -> str:
    """The work is done again and again, each time with a disk that refuses from a step on; what it is called."""
    for at, code in points:
        expect_clean(
            f"{scene.backend}: disk{what}: {os.strerror(code)}", scene.do(work, folder, FAIL, at, code, **more)
        )
    return f"{scene.backend}: disk{what}: afterwards"


def expect_recovery(scene: Scene, fault: str, folder: str, first: First) -> None:
    last = scene.whole("region", folder)
    lost = scene.content(folder) != first.content
    note(fault, recovery_s=round(last.seconds, 1), captures_lost=int(lost))
    assert not lost


@at_each_backend
@pytest.mark.parametrize("number", range(examples(1, 8)))
def test_from_any_step_on(scene: Scene, first: First, number: int) -> None:
    """One after the other in one folder: full, read-only, broken, in any order."""
    folder, random, most = scene.new("refused"), Random(SEED * 100 + number), len(first.steps)
    steps = sorted(int(most / 4 * random.random() ** 2) + 1 for _ in CODES)
    codes = random.sample(CODES, len(CODES))
    fault = refused(scene, "", "region", folder, some([*zip(steps, codes, strict=True)]))
    expect_recovery(scene, fault, folder, first)


@pytest.mark.skipif(not IS_LONG, reason="as for a first run: make test-faults")
@at_each_backend
@pytest.mark.parametrize("work", ["take_down", "switch", "reconcile_all", "upkeep"])
def test_other_work_from_any_step_on(scene: Scene, first: First, work: str) -> None:
    random = Random(SEED * 100 + 60)
    whole, folder = scene.new("whole", first), scene.new("refused", first)
    gone = scene.do("captures_of", whole, source="amsterdam").returned[:2] if work == "take_down" else []
    arguments = {"capture_ids": gone} if gone else {}
    steps = len(scene.steps(work, whole, **arguments))
    points = [(random.randint(1, steps), code) for code in CODES]
    fault = refused(scene, f", in {work}", work, folder, points, **arguments)
    last = scene.whole(work, folder, **arguments)
    lost = scene.content(folder) != scene.content(whole)
    served = len(scene.do("served", folder, capture_ids=gone).returned)
    note(fault, recovery_s=round(last.seconds, 1), captures_lost=int(lost), taken_down_served=served)
    assert not lost and not served


@pytest.mark.skipif(not (IS_LONG and own_mounts()), reason="disks of any size need leave to mount: make test-faults")
@at_each_backend
@pytest.mark.parametrize("number", range(6))
def test_a_disk_of_any_size(scene: Scene, first: First, number: int) -> None:
    """A true one, which takes what it has room for; later it is larger."""
    folder, random = scene.new("small"), Random(SEED * 100 + number)
    data, fault = f"{folder}/platform/data", f"{scene.backend}: disk of some size"
    whole_kb = sum(path.stat().st_size for path in Path(first.folder, "platform", "data").rglob("*")) // 1024
    sizes = sorted(random.randint(64, whole_kb) for _ in range(4))
    try:
        for size_kb in sizes:
            scene.disk(data, size_kb)
            expect_clean(fault, scene.do("region", folder))
        scene.disk(data, ROOMY_KB)
        expect_recovery(scene, fault, folder, first)
    finally:
        scene.disk(data, 0)
