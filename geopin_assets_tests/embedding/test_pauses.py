"""Hosts that ask for a pause get it, from all who would ask them."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from time import sleep

import pytest

from geopin_assets.embedding.protocol import BACK_OFF, Failure, FailureReason, next_try_at
from geopin_assets.files.losable import Place
from geopin_assets.http_client import SharedState
from geopin_assets_tests.embedding.fetching import FakeTime, fetch, loopback_fetcher
from geopin_assets_tests.embedding.image_server import ImageServer, Respond, body, status
from geopin_assets_tests.embedding.pictures import encoded, smooth

JPEG = encoded(smooth(64, 48))


def first(*responds: Respond) -> Respond:
    """One answer after another, the last for ever."""
    answers = [*responds]
    return lambda handler: (answers.pop(0) if len(answers) > 1 else answers[0])(handler)


def http_date(time: FakeTime, after_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(time.now + after_s, UTC), usegmt=True)


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_a_pause_is_waited_for_and_the_image_asked_for_again(server: ImageServer, code: int, as_date: bool) -> None:
    time = FakeTime()
    asked = http_date(time, 40) if as_date else "40"
    server.routes["/a.jpg"] = first(status(code, retry_after=asked), body(JPEG))
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep)
    assert fetch(fetcher, server.url("/a.jpg")) == [JPEG]
    assert time.slept == [pytest.approx(40)]


@pytest.mark.parametrize(
    "garbage",
    ["", "soon", "-5", "1e3", "0", "12, 13", "Mon, 99 Foo 2030", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"],
)
def test_what_is_no_time_is_a_short_pause_like_none(server: ImageServer, garbage: str) -> None:
    time = FakeTime()
    server.routes["/a.jpg"] = first(status(429, retry_after=garbage), body(JPEG))
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep, retry_after_s=1)
    assert fetch(fetcher, server.url("/a.jpg")) == [JPEG]
    assert time.slept == [1]


def test_a_date_that_has_passed_is_no_pause(server: ImageServer) -> None:
    time = FakeTime()
    server.routes["/a.jpg"] = first(status(503, retry_after=http_date(time, -3_600)), body(JPEG))
    assert fetch(loopback_fetcher(clock=time.clock, sleep=time.sleep), server.url("/a.jpg")) == [JPEG]
    assert time.slept == []


def test_a_host_that_asks_twice_has_said_no(server: ImageServer) -> None:
    time = FakeTime()
    server.routes["/a.jpg"] = status(429, retry_after="40")
    (result,) = fetch(loopback_fetcher(clock=time.clock, sleep=time.sleep), server.url("/a.jpg"))
    assert result == Failure(FailureReason.RATE_LIMITED, "status 429")
    assert server.hits["/a.jpg"] == 2


def test_a_host_that_asked_one_run_for_a_pause_is_left_alone_by_all(server: ImageServer, place: Place) -> None:
    time = FakeTime()
    pauses = {"pauses": lambda: SharedState(place, "image hosts", time.clock)}
    one, other = (loopback_fetcher(clock=time.clock, sleep=time.sleep, **pauses) for _ in range(2))
    server.routes |= {"/a.jpg": status(429, retry_after="400"), "/b.jpg": body(JPEG)}
    fetch(one, server.url("/a.jpg"))
    (result,) = fetch(other, server.url("/b.jpg"))
    assert isinstance(result, Failure) and result.reason is FailureReason.HOST_DOWN
    assert server.hits["/b.jpg"] == 0
    time.now += 401
    assert fetch(other, server.url("/b.jpg")) == [JPEG]


class StoppedTime(FakeTime):
    """Sleepers sleep on until the test moves the clock."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.now + seconds
        while self.now < until:
            await asyncio.sleep(0.001)


def test_a_pause_holds_for_all_that_is_asked_of_the_host_and_for_no_other(server: ImageServer) -> None:
    time = StoppedTime()
    server.routes |= {"/a.jpg": first(status(429, retry_after="60"), body(JPEG)), "/b.jpg": body(JPEG)}

    async def asleep(count: int) -> None:
        while time.slept.count(60) < count:
            await asyncio.sleep(0.001)

    async def run() -> None:
        async with loopback_fetcher(clock=time.clock, sleep=time.sleep).session() as one:
            refused = asyncio.create_task(one(server.url("/a.jpg")))
            await asleep(1)
            others = [asyncio.create_task(one(server.url("/b.jpg"))) for _ in range(8)]
            await asleep(9)
            assert await one(server.url("/b.jpg", "localhost")) == JPEG
            assert server.hits == {"/a.jpg": 1, "/b.jpg": 1}
            time.now += 60
            assert await asyncio.gather(refused, *others) == [JPEG] * 9

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("code", [429, 503])
def test_a_pause_too_long_to_wait_for_is_a_failure_and_nothing_more_is_sent(server: ImageServer, code: int) -> None:
    time = FakeTime()
    server.routes |= {"/a.jpg": status(code, retry_after="3600"), "/b.jpg": body(JPEG)}
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep)
    refused, *others = fetch(fetcher, server.url("/a.jpg"), *[server.url("/b.jpg")] * 3)
    over_at = datetime.fromtimestamp(time.now + 3_600, UTC)
    assert refused == Failure(FailureReason.RATE_LIMITED, f"status {code}", over_at)
    for other in others:
        assert isinstance(other, Failure)
        assert (other.reason, other.not_before) == (FailureReason.HOST_DOWN, over_at)
    assert server.hits == {"/a.jpg": 1} and time.slept == []


def test_what_was_on_its_way_when_a_pause_began_counts_for_what_it_is(server: ImageServer) -> None:
    time = FakeTime()
    server.routes |= {"/a.jpg": status(429, retry_after="3600"), "/b.jpg": after(server, "/a.jpg", status(404))}

    async def run() -> list[bytes | Failure]:
        async with loopback_fetcher(clock=time.clock, sleep=time.sleep).session() as one:
            missing = asyncio.create_task(one(server.url("/b.jpg")))
            while not server.hits["/b.jpg"]:
                await asyncio.sleep(0.001)
            return [await one(server.url("/a.jpg")), await missing]

    reasons = [result.reason for result in asyncio.run(run()) if isinstance(result, Failure)]
    assert reasons == [FailureReason.RATE_LIMITED, FailureReason.NOT_FOUND]


def after(server: ImageServer, path: str, respond: Respond) -> Respond:
    """Answer when something else was asked for, and a moment later."""

    def wait(handler: BaseHTTPRequestHandler) -> None:
        while not server.hits[path]:
            sleep(0.001)
        sleep(0.2)
        respond(handler)

    return wait


def test_a_long_pause_is_over_when_it_is_over(server: ImageServer) -> None:
    time = FakeTime()
    server.routes |= {"/a.jpg": status(429, retry_after="3600"), "/b.jpg": body(JPEG)}

    async def run() -> list[bytes | Failure]:
        async with loopback_fetcher(clock=time.clock, sleep=time.sleep).session() as one:
            await one(server.url("/a.jpg"))
            time.now += 3_500  # it pays to wait for the rest
            return [await one(server.url("/b.jpg"))]

    assert asyncio.run(run()) == [JPEG]
    assert time.slept == [pytest.approx(100)]


def test_a_redirect_does_not_lead_around_a_pause(server: ImageServer) -> None:
    time = FakeTime()
    server.routes |= {
        "/a.jpg": first(status(429, retry_after="60"), body(JPEG)),
        "/to": status(302, server.url("/a.jpg")),
    }
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep)
    assert fetch(fetcher, server.url("/to", "localhost")) == [JPEG]
    assert time.slept == [pytest.approx(60)]


@pytest.mark.parametrize("asked", ["99999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_host_can_put_an_image_off_for_longer_than_the_longest_back_off(server: ImageServer, asked: str) -> None:
    time = FakeTime()
    now = datetime.fromtimestamp(time.now, UTC)
    server.routes["/a.jpg"] = status(429, retry_after=asked)
    (result,) = fetch(loopback_fetcher(clock=time.clock, sleep=time.sleep), server.url("/a.jpg"))
    assert isinstance(result, Failure)
    assert result.not_before == now + BACK_OFF[-1]


def test_a_pause_does_not_count_against_the_deadline(server: ImageServer) -> None:
    class RealTime(FakeTime):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(2.5 if seconds else 0)
            self.now += seconds

    time = RealTime()
    server.routes["/a.jpg"] = first(status(429, retry_after="60"), body(JPEG))
    fetcher = loopback_fetcher(deadline_s=2.0, clock=time.clock, sleep=time.sleep)
    assert fetch(fetcher, server.url("/a.jpg")) == [JPEG]


def test_the_next_try_is_no_earlier_than_the_host_wants_it() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    in_two_days = now + timedelta(days=2)
    assert next_try_at(FailureReason.RATE_LIMITED, 0, now, in_two_days) == in_two_days
    assert next_try_at(FailureReason.RATE_LIMITED, 0, now, now + timedelta(days=9_000)) == now + BACK_OFF[-1]
    assert next_try_at(FailureReason.TIMEOUT, 3, now, in_two_days) == now + BACK_OFF[2]
    assert next_try_at(FailureReason.NOT_FOUND, 1, now, in_two_days) is None


def test_being_refused_for_asking_too_much_is_never_the_end_of_an_image() -> None:
    assert not FailureReason.RATE_LIMITED.is_attempt
    assert FailureReason.RATE_LIMITED.is_transient and FailureReason.RATE_LIMITED.is_of_host
