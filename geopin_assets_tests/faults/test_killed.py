"""SIGKILL at any step by which anything changes a file; the same again; and everything is as if never killed.

Killed again and again on its way, as a machine that keeps rebooting: a chain of kills in one folder ends with one run
that nothing befalls.
"""

from random import Random
from signal import SIGKILL
from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, SEED, examples
from geopin_assets_tests.faults.conftest import Scene
from geopin_assets_tests.faults.steps import KILL
from geopin_assets_tests.faults.verdict import note

KILLS = examples(3, 6)
"""In one chain."""


def chain(scene: Scene, folder: str, random: Random, work: str, steps: int, **arguments: Any) -> int:
    """Kill the work so many times, each further on its way than a new beginning; then let it end. Kills made."""
    kills = 0
    for _ in range(KILLS):
        ended = scene.do(work, folder, KILL, random.randint(1, steps), **arguments)
        assert ended.signal in (0, SIGKILL), ended
        assert not ended.signal or not ended.error
        kills += ended.signal == SIGKILL
    last = scene.whole(work, folder, **arguments)
    note(f"killed in {work}", recovery_s=round(last.seconds, 1))
    return kills


@pytest.mark.parametrize("number", range(examples(1, 20)))
def test_a_first_run(scene: Scene, first: Any, first_steps: int, number: int) -> None:
    folder, random = scene.new("killed"), Random(SEED * 100 + number)
    kills = chain(scene, folder, random, "region", first_steps)
    lost = scene.content(folder) != scene.content(str(first / "made"))
    note("killed in a first run", attempts=1, kills=kills, seeds=1, captures_lost=int(lost))
    assert not lost


@pytest.mark.parametrize("number", range(examples(1, 10)))
def test_a_takedown(scene_after_first: Scene, first_steps: int, number: int) -> None:
    scene, random = scene_after_first, Random(SEED * 100 + 50 + number)
    whole, killed = scene.new("whole"), scene.new("killed")
    ids = scene.do("captures_of", whole, source="amsterdam").returned
    gone = random.sample(ids, 2)
    steps = scene.whole("take_down", whole, capture_ids=gone).steps
    kills = chain(scene, killed, random, "take_down", steps, capture_ids=gone)
    served = set(gone) & set(scene.do("served", killed, capture_ids=gone).returned)
    kept = scene.content(killed) == scene.content(whole)
    note(
        "killed in a takedown", attempts=1, kills=kills, seeds=1,
        taken_down_served=len(served), captures_lost=int(not kept),
    )  # fmt: skip
    assert not served and kept
    scene.whole("region", killed)
    assert not scene.do("served", killed, capture_ids=gone).returned, "the next crawl does not bring them back"


@pytest.mark.skipif(not IS_LONG, reason="as killed publishing is in a first run: make test-faults")
@pytest.mark.parametrize("number", range(6))
def test_a_switch_of_the_index(scene_after_first: Scene, number: int) -> None:
    scene, random = scene_after_first, Random(SEED * 100 + 80 + number)
    whole, killed = scene.new("whole"), scene.new("killed")
    steps = scene.whole("switch", whole).steps
    kills = chain(scene, killed, random, "switch", steps)
    lost = scene.content(killed) != scene.content(whole)
    note("killed in a switch", attempts=1, kills=kills, seeds=1, captures_lost=int(lost))
    assert not lost


@pytest.mark.skipif(not IS_LONG, reason="as many kills again, in a world that changes: make test-faults")
@pytest.mark.parametrize("number", range(6))
def test_a_refresh(scene_after_first: Scene, number: int) -> None:
    scene, random = scene_after_first, Random(SEED * 100 + 90 + number)
    whole, killed = scene.new("whole"), scene.new("killed")
    gone = scene.do("captures_of", whole, source="panoramax").returned[:2]
    scene.tell("POST", {"vanish": gone})
    try:
        steps = scene.whole("region", whole).steps
        kills = chain(scene, killed, random, "region", steps)
        removed = scene.do("served", killed, capture_ids=gone).returned
        lost = scene.content(killed) != scene.content(whole)
    finally:
        scene.tell("DELETE")
    note(
        "killed in a refresh", attempts=1, kills=kills, seeds=1, removed_served=len(removed), captures_lost=int(lost)
    )  # fmt: skip
    assert not removed and not lost
