"""When the next request may go: spacing, bursts and pauses, in one process and in several."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.files.losable import Place
from geopin_assets.http_client import SharedBucket
from geopin_assets.http_client.rate import Bucket
from geopin_assets.http_client.state import OwnState
from geopin_assets_tests.http_client.world import Clock


@given(rate=st.floats(0.1, 100), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_window_holds_more_than_one_plus_rate(rate: float, gaps: list[float]):
    clock = Clock()
    bucket = Bucket(1 / rate, OwnState(), clock=clock, sleep=clock.sleep)
    times = []
    for gap in gaps:
        clock.now += gap
        bucket.acquire()
        times.append(clock.now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= 1 + (times[last] - times[first]) * rate + 1e-6


def test_a_pause_that_begins_while_somebody_waits_holds_them_too():
    clock = Clock()
    went: list[float] = []

    def sleep(seconds: float) -> None:
        if not went and not clock.sleeps:
            bucket.pause(30)  # another thread gets its 429 meanwhile
        clock.sleep(seconds)

    bucket = Bucket(1.0, OwnState(), clock=clock, sleep=sleep)
    bucket.acquire()
    bucket.acquire()
    went.append(clock.now)
    assert went[0] >= 1030


def test_a_shorter_pause_does_not_end_a_longer_one():
    clock = Clock()
    bucket = Bucket(1.0, OwnState(), clock=clock, sleep=clock.sleep)
    bucket.pause(60)
    bucket.pause(5)
    assert bucket.paused_s == 60
    clock.now += 61
    assert bucket.paused_s == 0


NOON_S = 1_800_014_400.0


def clock_at(now_s: float = NOON_S) -> Clock:
    clock = Clock()
    clock.now = now_s
    return clock


def bucket(folder: Path, clock: Clock, name: str = "cloudflare") -> SharedBucket:
    """Ten requests in any eight seconds: two at once, then one a second."""
    return SharedBucket(
        folder / "rate.sqlite", name, requests=10, period_s=8.0, burst=2, clock=clock, sleep=clock.sleep
    )


def taken(shared: SharedBucket, clock: Clock, count: int) -> list[float]:
    """When so many requests may go, in seconds from noon."""
    times = []
    for _ in range(count):
        shared.acquire()
        times.append(clock.now - NOON_S)
    return times


def test_a_burst_goes_at_once_and_the_rest_evenly(tmp_path: Path) -> None:
    clock = clock_at()
    assert taken(bucket(tmp_path, clock), clock, 5) == pytest.approx([0, 0, 1, 2, 3])


def test_the_next_run_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    first, second = clock_at(), clock_at()
    taken(bucket(tmp_path, first), first, 3)
    assert taken(bucket(tmp_path, second), second, 2) == pytest.approx([2, 3])
    assert taken(bucket(tmp_path, second, "other"), second, 1) == [3]


def test_after_a_quiet_while_there_is_a_burst_again_and_no_larger_one(tmp_path: Path) -> None:
    clock = clock_at()
    taken(bucket(tmp_path, clock), clock, 2)
    clock.now = NOON_S + 100
    assert taken(bucket(tmp_path, clock), clock, 3) == pytest.approx([100, 100, 101])


def test_a_pause_holds_for_everybody_and_a_shorter_one_does_not_end_it(tmp_path: Path) -> None:
    first, second = clock_at(), clock_at()
    paused, other = bucket(tmp_path, first), bucket(tmp_path, second)
    paused.pause(300)
    paused.pause(20)
    assert other.paused_s == 300
    assert taken(other, second, 1) == [300]
    assert other.paused_s == 0


def test_a_pause_that_begins_while_waiting_is_honored(tmp_path: Path) -> None:
    clock = clock_at()
    shared = bucket(tmp_path, clock)

    def sleep(seconds: float) -> None:
        if clock.now == NOON_S:
            shared.pause(60)
        clock.sleep(seconds)

    waiting = SharedBucket(
        tmp_path / "rate.sqlite", "cloudflare", requests=10, period_s=8.0, burst=2, clock=clock, sleep=sleep
    )
    assert taken(waiting, clock, 3)[-1] >= 60


def test_what_a_clock_far_ahead_has_written_holds_nobody_up_for_long(tmp_path: Path) -> None:
    wrong, right = clock_at(NOON_S + 10**8), clock_at()
    taken(bucket(tmp_path, wrong), wrong, 5)
    bucket(tmp_path, wrong).pause(300)
    assert taken(bucket(tmp_path, right), right, 1)[0] <= 3600


def _slots(place: Place) -> list[float]:
    """What one process gets, by a clock that stands still: the waits it is told are its slots."""
    slots: list[float] = []
    shared = SharedBucket(
        place, "cloudflare", requests=1_000, period_s=300.0, burst=100, clock=lambda: NOON_S, sleep=slots.append
    )
    for _ in range(80):
        shared.acquire()
    return [0.0] * (80 - len(slots)) + slots


def test_processes_share_one_rate(place: Place) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        slots = sorted(slot for part in pool.map(_slots, [place] * 2) for slot in part)
    assert slots == pytest.approx([0.0] * 100 + [number / 3 for number in range(1, 61)], abs=1e-3)


def test_threads_share_one_rate(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        slots = sorted(slot for part in pool.map(_slots, [tmp_path / "rate.sqlite"] * 4) for slot in part)
    assert slots == pytest.approx([0.0] * 100 + [number / 3 for number in range(1, 221)], abs=1e-3)


def test_a_burst_must_be_a_part_of_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a burst of 10 is no part of 10 requests"):
        SharedBucket(tmp_path / "rate.sqlite", "x", requests=10, period_s=1.0, burst=10)
