import asyncio
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.reader import HOST_PATIENCE, IN_FLIGHT, QUEUE, ReadAhead
from geopin_assets.embedding.stages import StageClock
from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher


def urls(count: int, hosts: int = 1) -> dict[str, str]:
    return {str(i): f"http://host{i % hosts}/{i}" for i in range(count)}


def images(of: dict[str, str]) -> dict[str, bytes | Failure]:
    return {url: key.encode() for key, url in of.items()}


def decoded(key: str, data: bytes) -> str | Failure:
    return f"{key}={data.decode()}"


def test_every_image_is_read_once() -> None:
    wanted = urls(500, hosts=7)
    fetcher = MemoryFetcher(images(wanted))
    got = dict(ReadAhead(wanted, fetcher, decoded, StageClock()))
    assert got == {key: f"{key}={key}" for key in wanted}
    assert set(fetcher.fetched.values()) == {1}


def test_nothing_to_read_is_no_problem() -> None:
    assert list(ReadAhead({}, MemoryFetcher({}), decoded, StageClock())) == []


def test_failures_come_through_unprepared() -> None:
    assert list(ReadAhead(urls(1), MemoryFetcher({}), decoded, StageClock())) == [
        ("0", Failure(FailureReason.NOT_FOUND))
    ]


def test_no_host_is_asked_for_more_than_its_share_at_once() -> None:
    wanted = urls(60, hosts=3)
    fetcher = MemoryFetcher(images(wanted), per_host=2, pause_s=0.002)
    list(ReadAhead(wanted, fetcher, decoded, StageClock()))
    assert dict(fetcher.peak) == {"host0": 2, "host1": 2, "host2": 2}


def test_a_host_whose_owner_asks_for_less_is_asked_less_and_the_others_as_usual() -> None:
    wanted = urls(60, hosts=2)
    fetcher = MemoryFetcher(images(wanted), per_host=5, host_limits={"host1": 2}, pause_s=0.002)
    assert len(dict(ReadAhead(wanted, fetcher, decoded, StageClock()))) == 60
    assert dict(fetcher.peak) == {"host0": 5, "host1": 2}


def test_a_host_that_hangs_does_not_hold_up_another() -> None:
    """host1 answers only when all of host0 has been read."""
    wanted = urls(400, hosts=2)

    class Host1Hangs(MemoryFetcher):
        async def _fetch(self, url: str) -> bytes | Failure:
            while "host1" in url and sum("host0" in seen for seen in self.fetched) < 200:
                await asyncio.sleep(0.001)
            return await super()._fetch(url)

    assert len(dict(ReadAhead(wanted, Host1Hangs(images(wanted)), decoded, StageClock()))) == 400


def test_a_dead_host_is_given_up_and_the_others_are_not() -> None:
    wanted = urls(400, hosts=2)
    alive = {url: data for url, data in images(wanted).items() if "host0" in url}
    fetcher = MemoryFetcher(alive, per_host=1, otherwise=Failure(FailureReason.TIMEOUT))
    got = dict(ReadAhead(wanted, fetcher, decoded, StageClock()))
    assert sum(isinstance(result, str) for result in got.values()) == 200
    reasons = Counter(result.reason for result in got.values() if isinstance(result, Failure))
    assert reasons == {FailureReason.TIMEOUT: HOST_PATIENCE, FailureReason.HOST_DOWN: 200 - HOST_PATIENCE}


def test_missing_images_do_not_make_a_host_look_dead() -> None:
    got = dict(ReadAhead(urls(100), MemoryFetcher({}), decoded, StageClock()))
    assert set(got.values()) == {Failure(FailureReason.NOT_FOUND)}


def test_a_caller_that_is_slow_bounds_what_is_fetched() -> None:
    """A cell of any size holds no more images than are in flight, queued, or with the caller."""
    wanted = urls(2_000, hosts=50)
    fetcher = MemoryFetcher(images(wanted))
    with closing(iter(ReadAhead(wanted, fetcher, decoded, StageClock()))) as ready:
        next(ready)
        time.sleep(0.3)
        assert sum(fetcher.fetched.values()) <= IN_FLIGHT + QUEUE + 2


def test_leaving_early_stops_the_background_work() -> None:
    wanted = urls(2_000, hosts=50)
    fetcher = MemoryFetcher(images(wanted), pause_s=0.001)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), closing(iter(ReadAhead(wanted, fetcher, decoded, StageClock()))) as ready:
        next(ready)
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert sum(fetcher.fetched.values()) <= 2 * IN_FLIGHT + QUEUE


def test_what_preparing_raises_reaches_the_caller() -> None:
    def broken(key: str, data: bytes) -> str | Failure:
        raise ZeroDivisionError(key)

    with pytest.raises(ZeroDivisionError):
        list(ReadAhead(urls(100), MemoryFetcher(images(urls(100))), broken, StageClock()))


def test_a_stage_is_timed_per_lane() -> None:
    times = iter([0.0, 0.0, 3.0, 5.0, 10.0, 11.0])
    clock = StageClock(lambda: next(times))
    with clock.stage("fetch"), clock.stage("fetch"):
        pass
    with clock.stage("embed"):
        pass
    assert clock.seconds() == {"fetch": 4.0, "embed": 1.0}
