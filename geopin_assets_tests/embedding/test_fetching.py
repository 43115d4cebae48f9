import asyncio
import os
from pathlib import Path

import pytest

from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets.photo_folder import LocalFolder
from geopin_assets_tests.embedding.fetching import fetch, fetch_at_once, loopback_fetcher, reason
from geopin_assets_tests.embedding.image_server import ImageServer, Respond, body, endless, raw, status
from geopin_assets_tests.embedding.pictures import encoded, smooth

JPEG = encoded(smooth(64, 48))


def test_a_limit_of_a_host_lowers_what_is_usual_and_never_raises_it() -> None:
    fetcher = ImageFetcher(per_host=4, host_limits={"slow.example": 2, "fast.example": 100})
    assert [fetcher.lanes(host) for host in ("slow.example", "fast.example", "other.example")] == [2, 4, 4]


def test_images_are_fetched_over_one_connection(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG)
    assert fetch(loopback_fetcher(), *[server.url("/a.jpg")] * 5) == [JPEG] * 5
    assert server.reached == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("code", "expected", "is_transient"),
    [
        (404, FailureReason.NOT_FOUND, False),
        (410, FailureReason.NOT_FOUND, False),
        (451, FailureReason.NOT_FOUND, False),
        (204, FailureReason.NOT_FOUND, False),
        (400, FailureReason.REFUSED, True),
        (401, FailureReason.REFUSED, True),
        (403, FailureReason.REFUSED, True),
        (408, FailureReason.TIMEOUT, True),
        (429, FailureReason.RATE_LIMITED, True),
        (500, FailureReason.SERVER_ERROR, True),
        (503, FailureReason.SERVER_ERROR, True),
    ],
)
def test_a_status_becomes_a_reason(server: ImageServer, code: int, expected: FailureReason, is_transient: bool) -> None:
    server.routes["/a.jpg"] = status(code)
    got = reason(loopback_fetcher(), server.url("/a.jpg"))
    assert got is expected and got.is_transient is is_transient


def test_a_server_that_fails_once_is_asked_again_at_once(server: ImageServer) -> None:
    answers = iter([status(503), body(JPEG), status(503), status(503)])
    server.routes["/a.jpg"] = lambda handler: next(answers)(handler)
    fetcher = loopback_fetcher()
    assert fetch(fetcher, server.url("/a.jpg")) == [JPEG]
    assert reason(fetcher, server.url("/a.jpg")) is FailureReason.SERVER_ERROR
    assert server.hits["/a.jpg"] == 4


def test_what_is_not_there_is_not_asked_for_again(server: ImageServer) -> None:
    reason(loopback_fetcher(), server.url("/missing.jpg"))
    assert server.hits["/missing.jpg"] == 1


def test_a_port_nobody_listens_on_is_unreachable(server: ImageServer) -> None:
    url = server.url("/a.jpg")
    server.shutdown()
    server.server_close()
    assert reason(loopback_fetcher(), url) is FailureReason.UNREACHABLE


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"],
)
def test_loopback_is_never_reached_however_it_is_spelled(server: ImageServer, host: str) -> None:
    server.routes["/a.jpg"] = body(JPEG)
    got = reason(ImageFetcher(deadline_s=5), server.url("/a.jpg", host))
    assert got in (FailureReason.NOT_ALLOWED, FailureReason.UNREACHABLE)  # some spellings resolve to nothing
    assert not server.hits


def test_a_trusted_host_may_be_private(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG)
    fetcher = ImageFetcher(addresses=AddressRule(trusted_hosts=frozenset({"localhost"})))
    assert fetch(fetcher, server.url("/a.jpg", "localhost")) == [JPEG]
    assert reason(fetcher, server.url("/a.jpg")) is FailureReason.NOT_ALLOWED


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://example.com/a.jpg", "http://", "http://user:pw@example.com/", "http://[::1", "data:,x"],
)
def test_an_address_that_is_none_is_not_allowed(url: str) -> None:
    assert reason(ImageFetcher(), url) is FailureReason.NOT_ALLOWED


def test_a_signed_address_is_sent_as_it_was_given(server: ImageServer) -> None:
    path = "/a%2Fb.jpg?sig=A%2bB%7E&x=%41+c"
    server.routes[path] = body(JPEG)
    assert fetch(loopback_fetcher(), server.url(path)) == [JPEG]


def test_a_body_takes_from_the_memory_what_it_needs_and_no_more(server: ImageServer) -> None:
    server.routes |= {"/announced": body(JPEG), "/not": without_length(JPEG)}
    memory = TaskMemory(100_000)
    assert fetch(loopback_fetcher(max_bytes=50_000), server.url("/announced"), memory=memory) == [JPEG]
    assert memory.free == 100_000 - len(JPEG)
    assert fetch(loopback_fetcher(max_bytes=50_000), server.url("/not"), memory=memory) == [JPEG]
    assert memory.free == 100_000 - 2 * len(JPEG)


def without_length(data: bytes) -> Respond:
    """A body without a length that ends all the same."""
    return raw(b"HTTP/1.1 200 OK\r\n\r\n" + data)


def test_an_image_larger_than_the_whole_memory_is_read_when_nothing_else_is(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG)
    memory = TaskMemory(100)
    assert fetch(loopback_fetcher(), server.url("/a.jpg"), memory=memory) == [JPEG]
    assert memory.free == 0
    memory.give_back(len(JPEG))
    assert memory.free == 100


def test_waiting_for_the_memory_is_not_held_against_the_server(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG)

    async def run() -> bytes | Failure:
        memory = TaskMemory(len(JPEG))
        await memory.take(len(JPEG))
        async with loopback_fetcher(deadline_s=2.0).session(memory) as one:
            waiting = asyncio.create_task(one(server.url("/a.jpg")))
            await asyncio.sleep(2.5)
            assert not waiting.done()
            memory.give_back(len(JPEG))
            return await waiting

    assert asyncio.run(run()) == JPEG


def test_no_more_bodies_are_on_the_way_than_the_memory_holds(server: ImageServer) -> None:
    """64 requests at once, of which the whole memory holds three; every one drips and is cut off at the limit."""
    server.routes |= {f"/{i}": endless(bytes(20_000), pause_s=0.02) for i in range(64)}
    memory, least = TaskMemory(160_000), 160_000

    async def run() -> list[bytes | Failure]:
        nonlocal least
        async with loopback_fetcher(max_bytes=50_000).session(memory) as one:
            tasks = [asyncio.create_task(one(server.url(f"/{i}"))) for i in range(64)]
            while not all(task.done() for task in tasks):
                least = min(least, memory.free)
                await asyncio.sleep(0.001)
            return [task.result() for task in tasks]

    results = asyncio.run(run())
    assert {result.reason for result in results if isinstance(result, Failure)} == {FailureReason.TOO_LARGE}
    assert least == 10_000 and memory.free == 160_000


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.05])
def test_a_fetch_that_is_cancelled_gives_all_back(server: ImageServer, delay_s: float) -> None:
    server.routes["/a.jpg"] = endless(bytes(100), pause_s=0.01)
    memory = TaskMemory(100_000)

    async def run() -> None:
        async with loopback_fetcher(max_bytes=40_000).session(memory) as one:
            tasks = [asyncio.create_task(one(server.url("/a.jpg"))) for _ in range(4)]
            await asyncio.sleep(delay_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)

    asyncio.run(run())
    assert memory.free == 100_000


def test_own_photos_are_read_below_their_folder(tmp_path: Path) -> None:
    (tmp_path / "photos/röute 1").mkdir(parents=True)
    (tmp_path / "photos/röute 1/a%b.jpg").write_bytes(JPEG)
    fetcher = ImageFetcher(own_photos=LocalFolder(tmp_path / "photos"))
    assert fetch(fetcher, "own-photos:r%C3%B6ute%201/a%25b.jpg") == [JPEG]
    assert reason(fetcher, "own-photos:missing.jpg") is FailureReason.NOT_FOUND
    assert reason(fetcher, "own-photos:r%C3%B6ute%201") is FailureReason.NOT_FOUND
    assert reason(ImageFetcher(), "own-photos:a.jpg") is FailureReason.REFUSED


def test_own_photos_take_from_the_memory_too(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    memory = TaskMemory(100_000)
    fetcher = ImageFetcher(own_photos=LocalFolder(tmp_path), max_bytes=60_000)
    first, missing, second = fetch_at_once(
        fetcher, "own-photos:a.jpg", "own-photos:b.jpg", "own-photos:a.jpg", memory=memory
    )
    assert first == second == JPEG and isinstance(missing, Failure)
    assert memory.free == 100_000 - 2 * len(JPEG)


def test_a_folder_of_own_photos_that_is_not_mounted_gives_no_image_up(tmp_path: Path) -> None:
    assert reason(ImageFetcher(own_photos=LocalFolder(tmp_path / "unmounted")), "own-photos:a.jpg").is_transient


@pytest.mark.parametrize(
    "path", ["../secret", "..%2Fsecret", "%2e%2e/secret", "/etc/hostname", "%2Fetc%2Fhostname", "link"]
)
def test_own_photos_never_leave_their_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret").write_bytes(JPEG)
    (tmp_path / "photos/link").symlink_to(tmp_path / "secret")
    assert (
        reason(ImageFetcher(own_photos=LocalFolder(tmp_path / "photos")), f"own-photos:{path}")
        is FailureReason.NOT_ALLOWED
    )


def test_own_photos_have_the_same_limit_and_odd_names_are_failures(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    os.mkfifo(tmp_path / "pipe")
    assert reason(ImageFetcher(own_photos=LocalFolder(tmp_path)), "own-photos:pipe") is FailureReason.REFUSED
    assert (
        reason(ImageFetcher(own_photos=LocalFolder(tmp_path), max_bytes=100), "own-photos:a.jpg")
        is FailureReason.TOO_LARGE
    )
    assert reason(ImageFetcher(own_photos=LocalFolder(tmp_path)), "own-photos:a%00b") is FailureReason.REFUSED
