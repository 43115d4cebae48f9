import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from geopin_assets.capture import in_turn
from geopin_assets.embedding.hosts import HOST_PATIENCE
from geopin_assets.embedding.protocol import CaptureImage, Failure, FailureReason
from geopin_assets.embedding.reading import BACK_AT_ONCE, IN_FLIGHT, QUEUE, RENEWED_AT_ONCE, ReadAhead, Renew
from geopin_assets.embedding.stages import StageClock
from geopin_assets_tests.embedding.fetching import loopback_fetcher
from geopin_assets_tests.embedding.image_server import ImageServer, body, listening
from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher


def images(count: int, hosts: int = 1, first: int = 0) -> list[CaptureImage]:
    return [image(str(i), f"http://host{i % hosts}/{i}") for i in range(first, first + count)]


def image(capture_id: str, url: str) -> CaptureImage:
    return CaptureImage("cell", capture_id, "s", capture_id, url, "", False, None)


def stored(wanted: Sequence[CaptureImage]) -> dict[str, bytes | Failure]:
    return {image.image_url: image.capture_id.encode() for image in wanted}


def decoded(image: CaptureImage, data: bytes) -> str | Failure:
    return f"{image.capture_id}={data.decode()}"


def read(
    wanted: Sequence[CaptureImage], fetcher: Any, prepare: Any = decoded, renew: Renew | None = None
) -> dict[str, str | Failure]:
    """Everything at once."""
    with ReadAhead(fetcher, prepare, StageClock(), renew) as reader:
        reader.submit(wanted)
        return {image.capture_id: result for image, result in (reader.next() for _ in wanted)}


def test_every_image_is_read_once() -> None:
    wanted = images(500, hosts=7)
    fetcher = MemoryFetcher(stored(wanted))
    assert read(wanted, fetcher) == {image.capture_id: f"{image.capture_id}={image.capture_id}" for image in wanted}
    assert set(fetcher.fetched.values()) == {1}


def test_more_can_be_submitted_while_the_first_are_read() -> None:
    wanted = images(500, hosts=3)
    got = {}
    with ReadAhead(MemoryFetcher(stored(wanted)), decoded, StageClock()) as reader:
        for start in range(0, 500, 50):
            reader.submit(wanted[start : start + 50])
            while reader.pending > 30:
                got[reader.next()[0].capture_id] = reader.pending
        while reader.pending:
            got[reader.next()[0].capture_id] = reader.pending
    assert len(got) == 500


def test_nothing_to_read_is_no_problem() -> None:
    assert read([], MemoryFetcher({})) == {}


def test_failures_come_through_unprepared() -> None:
    assert read(images(1), MemoryFetcher({})) == {"0": Failure(FailureReason.NOT_FOUND)}


def test_no_host_is_asked_for_more_than_its_share_at_once() -> None:
    wanted = images(60, hosts=3)
    fetcher = MemoryFetcher(stored(wanted), per_host=2, pause_s=0.002)
    read(wanted, fetcher)
    assert dict(fetcher.peak) == {"host0": 2, "host1": 2, "host2": 2}


def test_a_host_whose_owner_asks_for_less_is_asked_less_and_the_others_as_usual() -> None:
    wanted = images(60, hosts=2)
    fetcher = MemoryFetcher(stored(wanted), per_host=5, host_limits={"host1": 2}, pause_s=0.002)
    assert len(read(wanted, fetcher)) == 60
    assert dict(fetcher.peak) == {"host0": 5, "host1": 2}


def test_links_renewed_to_one_host_keep_to_its_share_wherever_they_came_from() -> None:
    """Signed links of one platform name many hosts, and the renewed ones perhaps another."""
    wanted = images(60, hosts=20)
    there = {f"http://one/{image.capture_id}": image.capture_id.encode() for image in wanted}
    fetcher = MemoryFetcher(there, per_host=3, pause_s=0.002)
    got = read(wanted, fetcher, renew=lambda some: {i.capture_id: f"http://one/{i.capture_id}" for i in some})
    assert all(isinstance(result, str) for result in got.values()) and dict(fetcher.peak) == {"one": 3}


def test_links_are_renewed_in_portions_just_before_they_are_fetched() -> None:
    wanted = images(2 * RENEWED_AT_ONCE + 1, hosts=3)  # of one source
    fetcher = MemoryFetcher(stored(wanted))
    portions: list[tuple[int, int]] = []

    def renew(some: Sequence[CaptureImage]) -> Mapping[str, str | Failure]:
        portions.append((len(some), fetcher.fetched.total()))
        return {"3": Failure(FailureReason.GONE)}

    got = read(wanted, fetcher, renew=renew)
    assert got["3"] == Failure(FailureReason.GONE) and got["4"] == "4=4"
    sizes, fetched = zip(*portions, strict=True)
    assert sizes == (RENEWED_AT_ONCE, RENEWED_AT_ONCE, 1)
    assert fetched[0] == 0 and fetched[1] >= RENEWED_AT_ONCE - IN_FLIGHT and fetched[2] > fetched[1]


def test_a_host_that_hangs_does_not_hold_up_another() -> None:
    """host1 answers only when all of host0 has been read."""
    wanted = images(400, hosts=2)

    class Host1Hangs(MemoryFetcher):
        async def _fetch(self, url: str) -> bytes | Failure:
            while "host1" in url and sum("host0" in seen for seen in self.fetched) < 200:
                await asyncio.sleep(0.001)
            return await super()._fetch(url)

    assert len(read(wanted, Host1Hangs(stored(wanted)))) == 400


def test_a_dead_host_is_given_up_and_the_others_are_not(server: ImageServer) -> None:
    with listening() as port:
        pass
    server.routes |= {f"/{i}": body(str(i).encode()) for i in range(100)}
    wanted = [image(str(i), server.url(f"/{i}")) for i in range(100)]
    wanted += [image(str(i), f"http://localhost:{port}/{i}") for i in range(100, 200)]
    got = read(wanted, loopback_fetcher(per_host=1))
    assert sum(isinstance(result, str) for result in got.values()) == 100
    reasons = Counter(result.reason for result in got.values() if isinstance(result, Failure))
    assert reasons == {FailureReason.UNREACHABLE: HOST_PATIENCE, FailureReason.HOST_DOWN: 100 - HOST_PATIENCE}


def test_missing_images_do_not_make_a_host_look_dead() -> None:
    assert set(read(images(100), MemoryFetcher({})).values()) == {Failure(FailureReason.NOT_FOUND)}


def test_a_caller_that_is_slow_bounds_what_is_fetched() -> None:
    """A cell of any size holds no more images than are in flight, queued, or with the caller."""
    wanted = images(2_000, hosts=50)
    fetcher = MemoryFetcher(stored(wanted))
    with ReadAhead(fetcher, decoded, StageClock()) as reader:
        reader.submit(wanted)
        reader.next()
        time.sleep(0.3)
        assert sum(fetcher.fetched.values()) <= IN_FLIGHT + QUEUE + 2


def test_one_host_keeps_being_asked_while_images_are_prepared() -> None:
    """Lanes do not wait for the decoding: with one lane, the second fetch comes before the first image is ready."""
    wanted = images(2)
    fetcher = MemoryFetcher(stored(wanted), per_host=1)
    both_fetched = threading.Event()

    def prepare(image: CaptureImage, data: bytes) -> str:
        while fetcher.fetched.total() < 2 and not both_fetched.wait(0.01):
            pass
        both_fetched.set()
        return "ready"

    assert set(read(wanted, fetcher, prepare).values()) == {"ready"}


def test_places_that_became_free_are_given_to_several_at_once_while_threads_have_work() -> None:
    """One after the other each would be paid with a round of the loop, whose code is in no cache by then."""
    wanted = images(IN_FLIGHT + 2 * BACK_AT_ONCE, hosts=50)
    fetcher, ready = MemoryFetcher(stored(wanted)), threading.Semaphore(0)

    def prepare(image: CaptureImage, data: bytes) -> str | Failure:
        ready.acquire(timeout=10)
        return decoded(image, data)

    with ReadAhead(fetcher, prepare, StageClock()) as reader:
        reader.submit(wanted)
        for count, fetched in ((0, IN_FLIGHT), (BACK_AT_ONCE - 1, IN_FLIGHT), (1, IN_FLIGHT + BACK_AT_ONCE)):
            for _ in range(count):
                ready.release()
                reader.next()
            wait_for(lambda fetched=fetched: fetcher.fetched.total() >= fetched)
            time.sleep(0.05)
            assert fetcher.fetched.total() == fetched
        ready.release(len(wanted))
        assert len([reader.next() for _ in range(reader.pending)]) == len(wanted) - BACK_AT_ONCE


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_leaving_early_stops_the_background_work() -> None:
    wanted = images(2_000, hosts=50)
    fetcher = MemoryFetcher(stored(wanted), pause_s=0.001)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), ReadAhead(fetcher, decoded, StageClock()) as reader:
        reader.submit(wanted)
        reader.next()
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert sum(fetcher.fetched.values()) <= 2 * IN_FLIGHT + QUEUE


@pytest.mark.parametrize("where", ["prepare", "renew", "session"])
def test_what_goes_wrong_in_the_background_reaches_the_caller(where: str) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    fetcher: Any = MemoryFetcher(stored(images(100)))
    if where == "session":
        fetcher.session = broken
    with pytest.raises(ZeroDivisionError):
        read(
            images(100),
            fetcher,
            prepare=broken if where == "prepare" else decoded,
            renew=broken if where == "renew" else None,
        )


def test_a_stage_is_timed_per_lane() -> None:
    times = iter([0.0, 0.0, 3.0, 5.0, 10.0, 11.0])
    clock = StageClock(lambda: next(times))
    with clock.stage("fetch"), clock.stage("fetch"):
        pass
    with clock.stage("embed"):
        pass
    assert clock.lap() == {"fetch": 4.0, "embed": 1.0}


LTH, PROC = "http://host0/lth.jpg", "http://host1/proc.jpg"


@pytest.mark.parametrize(
    ("stored", "result", "asked"),
    [
        ({LTH: b"lth", PROC: b"proc"}, "a=lth", [LTH]),
        ({PROC: b"proc"}, "a=proc", [LTH, PROC]),
        ({}, Failure(FailureReason.NOT_FOUND), [LTH, PROC]),
        ({LTH: Failure(FailureReason.TIMEOUT), PROC: b"proc"}, Failure(FailureReason.TIMEOUT), [LTH]),
        ({PROC: Failure(FailureReason.REFUSED)}, Failure(FailureReason.REFUSED), [LTH, PROC]),
    ],
)
def test_an_image_that_is_not_at_its_first_address_is_asked_for_at_the_second(
    stored: dict[str, bytes | Failure], result: str | Failure, asked: list[str]
) -> None:
    fetcher = MemoryFetcher(stored)
    assert read([image("a", in_turn(LTH, PROC))], fetcher) == {"a": result}
    assert list(fetcher.fetched) == asked


def test_a_fragment_that_is_no_address_is_none() -> None:
    fetcher = MemoryFetcher({})
    read([image("a", f"{LTH}#top")], fetcher)
    assert list(fetcher.fetched) == [LTH]
