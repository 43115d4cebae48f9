from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.http_client.rate_limit import TokenBucket
from geopin_assets_tests.http_client.world import Clock


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 10),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_burst_plus_rate(rate: float, burst: int, gaps: list[float]):
    clock = Clock()
    bucket = TokenBucket(rate, burst=burst, clock=clock, sleep=clock.sleep)
    times = []
    for gap in gaps:
        clock.now += gap
        bucket.acquire()
        times.append(clock.now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - times[first]) * rate + 1e-6


def test_a_pause_that_begins_while_somebody_waits_holds_them_too():
    clock = Clock()
    went: list[float] = []

    def sleep(seconds: float) -> None:
        if not went and not clock.sleeps:
            bucket.pause(30)  # another thread gets its 429 meanwhile
        clock.sleep(seconds)

    bucket = TokenBucket(1.0, clock=clock, sleep=sleep)
    bucket.acquire()
    bucket.acquire()
    went.append(clock.now)
    assert went[0] >= 1030


def test_a_shorter_pause_does_not_end_a_longer_one():
    clock = Clock()
    bucket = TokenBucket(1.0, clock=clock, sleep=clock.sleep)
    bucket.pause(60)
    bucket.pause(5)
    assert bucket.paused_s == 60
    clock.now += 61
    assert bucket.paused_s == 0
