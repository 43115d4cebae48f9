"""SIGKILL at any step by which anything changes a file or asks a server; the same again; and all is as if never killed.

Killed again and again on its way, as a machine that keeps rebooting: a chain of kills in one folder ends with one run
that nothing befalls. Kills fall on every stage of the work, the birth of every database among them, and on requests to
sources and to Cloudflare, before they are sent and before they are answered.
"""

from random import Random
from signal import SIGKILL
from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, SEED, examples, some
from geopin_assets_tests.faults.conftest import BACKENDS, First, Scene
from geopin_assets_tests.faults.stages import Steps
from geopin_assets_tests.faults.steps import KILL
from geopin_assets_tests.faults.verdict import note

KILLS = examples(2, 8)
"""In one chain."""
at_each_backend = pytest.mark.parametrize("backend", some(BACKENDS))
at_each_backend_hosted_first = pytest.mark.parametrize("backend", some(BACKENDS[::-1]))
only_long = pytest.mark.skipif(
    not IS_LONG, reason="kills as in a first run, and in defs/running/test_takedown.py: make test-faults"
)


def chain(scene: Scene, folder: str, random: Random, work: str, steps: Steps, **arguments: Any) -> None:
    """Kill the work so many times, on different stages; then let it end."""
    for at in sorted(steps.chosen(random, KILLS)):
        ended = scene.do(work, folder, KILL, at, **arguments)
        assert ended.signal in (0, SIGKILL), ended
        assert not ended.signal or not ended.error
        if ended.signal:
            note(f"{scene.backend}: killed in {work}", kills=1)
            note(f"killed while {steps.stages[at - 1]}", kills_there=1)
    last = scene.whole(work, folder, **arguments)
    note(f"{scene.backend}: killed in {work}", attempts=1, seeds=1, recovery_s=round(last.seconds, 1))


def judge(scene: Scene, work: str, folder: str, expected: object, **served: int) -> None:
    """Everything is as expected, and what must be nought is."""
    lost = scene.content(folder) != expected
    note(f"{scene.backend}: killed in {work}", captures_lost=int(lost), **served)
    assert not lost and not any(served.values())


@at_each_backend_hosted_first
@pytest.mark.parametrize("number", range(examples(1, 6)))
def test_a_first_run(scene: Scene, first: First, number: int) -> None:
    folder, random = scene.new("killed"), Random(SEED * 100 + number)
    chain(scene, folder, random, "region", first.steps)
    if scene.content(folder) != first.content:  # an image that was read alone at two kills waits for some hours
        scene.whole("a_day_later", folder)
    judge(scene, "region", folder, first.content)


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_the_birth_of_a_dagster_home(scene: Scene) -> None:
    """Whose files are not ours to write."""
    random, steps = Random(SEED * 100 + 40), scene.steps("birth", scene.new("counted"))
    for number in range(examples(2, 20)):
        folder, at = scene.new(f"born{number}"), random.randint(1, len(steps))
        killed = scene.do("birth", folder, KILL, at)
        last = scene.whole("birth", folder)
        note("killed at the birth of a Dagster home", attempts=1, kills=int(bool(killed.signal)), peak_mb=last.peak_mb)
        assert not killed.error, killed


@only_long
@at_each_backend
@pytest.mark.parametrize("number", range(3))
def test_a_takedown(scene: Scene, first: First, number: int) -> None:
    random = Random(SEED * 100 + 50 + number)
    whole, killed = scene.new("whole", first), scene.new("killed", first)
    gone = random.sample(scene.do("captures_of", whole, source="amsterdam").returned, 2)
    steps = scene.steps("take_down", whole, capture_ids=gone)
    chain(scene, killed, random, "take_down", steps, capture_ids=gone)
    served = len(scene.do("served", killed, capture_ids=gone).returned)
    judge(scene, "take_down", killed, scene.content(whole), taken_down_served=served)
    scene.whole("region", killed)
    assert not scene.do("served", killed, capture_ids=gone).returned, "the next crawl does not bring them back"


@only_long
@at_each_backend
@pytest.mark.parametrize("number", range(3))
def test_a_switch_of_the_index(scene: Scene, first: First, number: int) -> None:
    random = Random(SEED * 100 + 80 + number)
    whole, killed = scene.new("whole", first), scene.new("killed", first)
    chain(scene, killed, random, "switch", scene.steps("switch", whole))
    judge(scene, "switch", killed, scene.content(whole))


@only_long
@at_each_backend
@pytest.mark.parametrize("number", range(3))
def test_a_refresh(scene: Scene, first: First, number: int) -> None:
    """In a world that changed."""
    random = Random(SEED * 100 + 90 + number)
    whole, killed = scene.new("whole", first), scene.new("killed", first)
    gone = scene.do("captures_of", whole, source="panoramax").returned[:2]
    scene.stand.sandbox.vanished.update(id_.partition(":")[2] for id_ in gone)
    chain(scene, killed, random, "region", scene.steps("region", whole))
    removed = len(scene.do("served", killed, capture_ids=gone).returned)
    judge(scene, "region", killed, scene.content(whole), removed_served=removed)


@only_long
@at_each_backend
def test_reconciling_and_upkeep(scene: Scene, first: First) -> None:
    random = Random(SEED * 100 + 95)
    whole, killed = scene.new("whole", first), scene.new("killed", first)
    for work in ("reconcile_all", "upkeep"):
        chain(scene, killed, random, work, scene.steps(work, whole))
        judge(scene, work, killed, scene.content(whole))
