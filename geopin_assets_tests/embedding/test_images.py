import asyncio
import os
from pathlib import Path

import pytest

from geopin_assets.embedding.addresses import AddressRule
from geopin_assets.embedding.failures import Failure, FailureReason
from geopin_assets.embedding.images import ImageFetcher
from geopin_assets.photo_folder import LocalFolder
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, hang_up, status
from geopin_assets_tests.embedding.pictures import encoded, smooth

JPEG = encoded(smooth(64, 48))
LOOPBACK = AddressRule(allow_loopback=True)


def fetch(fetcher: ImageFetcher, *urls: str) -> list[bytes | Failure]:
    async def run() -> list[bytes | Failure]:
        async with fetcher.session() as one:
            return [await one(url) for url in urls]

    return asyncio.run(run())


def reason(fetcher: ImageFetcher, url: str) -> FailureReason:
    (result,) = fetch(fetcher, url)
    assert isinstance(result, Failure), "fetched what it should refuse"
    return result.reason


def test_a_limit_of_a_host_lowers_what_is_usual_and_never_raises_it() -> None:
    fetcher = ImageFetcher(per_host=4, host_limits={"slow.example": 2, "fast.example": 100})
    assert [fetcher.lanes(host) for host in ("slow.example", "fast.example", "other.example")] == [2, 4, 4]


def test_images_are_fetched_over_one_connection(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG)
    clients = set()
    serve = server.routes["/a.jpg"]
    server.routes["/a.jpg"] = lambda handler: (clients.add(handler.client_address), serve(handler))[1]
    assert fetch(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), *[server.url("/a.jpg")] * 5) == [JPEG] * 5
    assert len(clients) == 1


@pytest.mark.parametrize(
    ("code", "expected", "is_transient"),
    [
        (404, FailureReason.NOT_FOUND, False),
        (410, FailureReason.NOT_FOUND, False),
        (204, FailureReason.NOT_FOUND, False),
        (403, FailureReason.REFUSED, True),
        (408, FailureReason.TIMEOUT, True),
        (429, FailureReason.RATE_LIMITED, True),
        (500, FailureReason.SERVER_ERROR, True),
        (503, FailureReason.SERVER_ERROR, True),
    ],
)
def test_a_status_becomes_a_reason(server: ImageServer, code: int, expected: FailureReason, is_transient: bool) -> None:
    server.routes["/a.jpg"] = status(code)
    got = reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/a.jpg"))
    assert got is expected and got.is_transient is is_transient


def test_a_server_that_fails_once_is_asked_again_at_once(server: ImageServer) -> None:
    answers = iter([status(503), body(JPEG), status(503), status(503)])
    server.routes["/a.jpg"] = lambda handler: next(answers)(handler)
    fetcher = ImageFetcher(addresses=LOOPBACK, retry_after_s=0)
    assert fetch(fetcher, server.url("/a.jpg")) == [JPEG]
    assert reason(fetcher, server.url("/a.jpg")) is FailureReason.SERVER_ERROR
    assert server.hits["/a.jpg"] == 4


def test_what_is_not_there_is_not_asked_for_again(server: ImageServer) -> None:
    reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/missing.jpg"))
    assert server.hits["/missing.jpg"] == 1


def test_a_body_that_drips_ends_at_the_deadline(server: ImageServer) -> None:
    server.routes["/a.jpg"] = endless(b"\xff", pause_s=0.05)
    assert (
        reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0, deadline_s=0.4), server.url("/a.jpg"))
        is FailureReason.TIMEOUT
    )


def test_a_body_without_end_is_cut_off_at_the_limit(server: ImageServer) -> None:
    server.routes["/a.jpg"] = endless(bytes(10_000))
    fetcher = ImageFetcher(addresses=LOOPBACK, retry_after_s=0, max_bytes=100_000)
    assert reason(fetcher, server.url("/a.jpg")) is FailureReason.TOO_LARGE


def test_an_announced_length_over_the_limit_is_not_read(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(b"", announced=33 * 2**20)
    assert reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/a.jpg")) is FailureReason.TOO_LARGE


def test_a_body_shorter_than_announced_is_a_failure(server: ImageServer) -> None:
    server.routes["/a.jpg"] = body(JPEG[:500], announced=len(JPEG))
    assert reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/a.jpg")) is FailureReason.UNREACHABLE


def test_a_server_that_hangs_up_is_unreachable(server: ImageServer) -> None:
    server.routes["/a.jpg"] = hang_up
    assert reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/a.jpg")) is FailureReason.UNREACHABLE


def test_a_port_nobody_listens_on_is_unreachable(server: ImageServer) -> None:
    url = server.url("/a.jpg")
    server.shutdown()
    server.server_close()
    assert reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), url) is FailureReason.UNREACHABLE


def test_redirects_are_followed_three_times_and_no_more(server: ImageServer) -> None:
    server.routes |= {f"/{i}": status(302, f"/{i + 1}") for i in range(5)}
    server.routes["/5"] = body(JPEG)
    fetcher = ImageFetcher(addresses=LOOPBACK, retry_after_s=0)
    assert fetch(fetcher, server.url("/2")) == [JPEG]
    assert reason(fetcher, server.url("/1")) is FailureReason.TOO_MANY_REDIRECTS


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "own-photos:a.jpg", "//[::]/"]
)
def test_a_redirect_to_a_forbidden_address_is_not_followed(server: ImageServer, target: str) -> None:
    server.routes["/a.jpg"] = status(302, target)
    assert reason(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url("/a.jpg")) is FailureReason.NOT_ALLOWED


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
    assert fetch(ImageFetcher(addresses=LOOPBACK, retry_after_s=0), server.url(path)) == [JPEG]


def test_own_photos_are_read_below_their_folder(tmp_path: Path) -> None:
    (tmp_path / "photos/röute 1").mkdir(parents=True)
    (tmp_path / "photos/röute 1/a%b.jpg").write_bytes(JPEG)
    fetcher = ImageFetcher(own_photos=LocalFolder(tmp_path / "photos"))
    assert fetch(fetcher, "own-photos:r%C3%B6ute%201/a%25b.jpg") == [JPEG]
    assert reason(fetcher, "own-photos:missing.jpg") is FailureReason.NOT_FOUND
    assert reason(fetcher, "own-photos:r%C3%B6ute%201") is FailureReason.NOT_FOUND
    assert reason(ImageFetcher(), "own-photos:a.jpg") is FailureReason.REFUSED


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
    assert reason(ImageFetcher(own_photos=LocalFolder(tmp_path)), "own-photos:pipe") is FailureReason.NOT_FOUND
    assert (
        reason(ImageFetcher(own_photos=LocalFolder(tmp_path), max_bytes=100), "own-photos:a.jpg")
        is FailureReason.TOO_LARGE
    )
    assert reason(ImageFetcher(own_photos=LocalFolder(tmp_path)), "own-photos:a%00b") is FailureReason.REFUSED
