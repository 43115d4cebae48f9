"""What web servers say beside images, over a real socket: each is taken for what it means, and no host for dead."""

import gzip
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from geopin_assets.embedding.answers import MAX_REDIRECTS
from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.hosts import HOST_PATIENCE
from geopin_assets.embedding.opt_out import opted_out
from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets_tests.embedding.fetching import FakeTime, fetch, fetch_at_once, loopback_fetcher, outcome, reason
from geopin_assets_tests.embedding.image_server import ImageServer, Respond, body, listening, raw, status
from geopin_assets_tests.embedding.pictures import encoded, smooth

PICTURE = smooth(96, 64)
JPEG, PNG = encoded(PICTURE), encoded(PICTURE, "PNG")
OK = b"HTTP/1.1 200 OK\r\n"
PAGE = b"<!DOCTYPE html><title>Please wait</title>"


def at(server: ImageServer, respond: Respond) -> str:
    server.routes["/a.jpg"] = respond
    return server.url("/a.jpg")


def saying(*headers: bytes, code: bytes = b"200 OK", data: bytes = JPEG) -> Respond:
    """An answer with these header lines."""
    length = b"Content-Length: %d" % len(data)
    return raw(b"\r\n".join((b"HTTP/1.1 " + code, *headers, length, b"", data)))


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Security-Policy: " + b"img-src a.example; " * 700],
        [b"Set-Cookie: c%d=%s" % (n, b"v" * 100) for n in range(300)],
        [b"X-" + b"n" * 9_000 + b": 1"],
        [b"Content-Type: text/html", b"Content-Type: image/jpeg", b"ETag: 1", b"ETag: 2"],
    ],
    ids=["one of 13 kB", "300", "a long name", "twice"],
)
def test_an_image_comes_with_as_many_and_as_long_headers_as_its_server_likes(
    server: ImageServer, headers: list[bytes]
) -> None:
    url = at(server, saying(*headers))
    memory = TaskMemory(10**6)
    assert fetch_at_once(loopback_fetcher(), *[url] * 6, memory=memory) == [JPEG] * 6
    assert memory.free == 10**6 - 6 * len(JPEG)


def test_a_host_with_long_headers_is_asked_twice_once_and_redirects_with_them_are_followed(server: ImageServer) -> None:
    wordy = b"Content-Security-Policy: " + b"x" * 20_000
    server.routes |= {"/b.jpg": saying(wordy), "/c.jpg": saying(wordy, b"Location: /b.jpg", code=b"302 Found")}
    assert fetch(loopback_fetcher(), *[server.url("/c.jpg")] * 3) == [JPEG] * 3
    assert server.hits == {"/c.jpg": 4, "/b.jpg": 3}


@pytest.mark.parametrize("answer", [raw(OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n"), raw(OK + b"X: y\r\n" * 10_000)])
def test_headers_that_nobody_sends_say_nothing_of_the_host(server: ImageServer, answer: Respond) -> None:
    server.routes["/good.jpg"] = body(JPEG)
    urls = [at(server, answer)] * (HOST_PATIENCE + 5)
    *odd, good = fetch(loopback_fetcher(), *urls, server.url("/good.jpg"))
    assert {result.reason for result in odd if isinstance(result, Failure)} == {FailureReason.NOT_UNDERSTOOD}
    assert good == JPEG


@pytest.mark.parametrize(
    "answer",
    [
        saying(code=b"203 Non-Authoritative Information"),
        saying(b"Link: </a.css>", b"", b"HTTP/1.1 200 OK", code=b"103 Early Hints"),
        saying(b"Content-Range: bytes 0-%d/%d" % (len(JPEG) - 1, len(JPEG)), code=b"206 Partial Content"),
    ],
)
def test_an_image_that_passed_a_proxy_or_comes_after_hints_and_a_part_that_is_all_of_it_are_images(
    server: ImageServer, answer: Respond
) -> None:
    assert isinstance(outcome(at(server, answer)), np.ndarray)


@pytest.mark.parametrize(
    ("code", "headers", "expected"),
    [
        (b"202 Accepted", [], FailureReason.NOT_READY),
        (b"206 Partial Content", [b"Content-Range: bytes 0-9/1000"], FailureReason.NOT_UNDERSTOOD),
        (b"206 Partial Content", [], FailureReason.NOT_UNDERSTOOD),
        (b"201 Created", [], FailureReason.NOT_UNDERSTOOD),
        (b"304 Not Modified", [], FailureReason.NOT_UNDERSTOOD),
        (b"300 Multiple Choices", [], FailureReason.NOT_UNDERSTOOD),
    ],
)
def test_what_is_neither_an_image_nor_an_error_is_tried_another_time_and_says_nothing_of_the_host(
    server: ImageServer, code: bytes, headers: list[bytes], expected: FailureReason
) -> None:
    got = reason(loopback_fetcher(), at(server, saying(*headers, code=code, data=b"")))
    assert got is expected and got.is_transient and got.is_attempt and not got.is_of_host


def test_an_image_that_is_being_made_is_asked_for_again_when_its_server_says_so(server: ImageServer) -> None:
    time, answers = FakeTime(), [status(202, retry_after="5"), body(JPEG)]
    server.routes |= {"/b.jpg": body(JPEG), "/a.jpg": lambda handler: answers.pop(0)(handler)}
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep)
    assert fetch(fetcher, server.url("/a.jpg"), server.url("/b.jpg")) == [JPEG, JPEG]
    assert time.slept == [pytest.approx(5)]


def test_a_long_wait_for_one_image_is_no_pause_of_its_host(server: ImageServer) -> None:
    time = FakeTime()
    server.routes |= {"/a.jpg": status(202, retry_after="3600"), "/b.jpg": body(JPEG)}
    fetcher = loopback_fetcher(clock=time.clock, sleep=time.sleep)
    made, other = fetch(fetcher, server.url("/a.jpg"), server.url("/b.jpg"))
    assert isinstance(made, Failure) and made.not_before is not None and made.reason is FailureReason.NOT_READY
    assert made.not_before.timestamp() == pytest.approx(time.now + 3600)
    assert other == JPEG and time.slept == [] and server.hits["/a.jpg"] == 1


@pytest.mark.parametrize("image", [JPEG, PNG], ids=["jpeg", "png"])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", lambda data: gzip.compress(data, mtime=0)),
        ("x-gzip", lambda data: gzip.compress(data, mtime=0)),
        ("gzip", lambda data: gzip.compress(data[:100], mtime=0) + gzip.compress(data[100:], mtime=0)),
        ("GZIP, identity", lambda data: gzip.compress(data, mtime=0)),
        ("deflate", zlib.compress),
        ("gzip", lambda data: data),
        ("br", lambda data: data),
        ("identity", lambda data: data),
    ],
)
def test_an_image_that_comes_packed_unasked_or_only_says_so_is_an_image(
    server: ImageServer, encoding: str, pack, image: bytes
) -> None:
    memory = TaskMemory(10**6)
    url = at(server, body(pack(image), content_encoding=encoding))
    assert fetch(loopback_fetcher(max_bytes=100_000), url, memory=memory) == [image]
    assert memory.free == 10**6 - len(image)


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, mtime=0), zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_flood_ends_at_the_limit_and_damage_is_damage(server: ImageServer, pack) -> None:
    encoding = "gzip" if pack is not zlib.compress else "deflate"
    flood, cut = pack(bytes(50 * 2**20)), pack(JPEG)[:-9]
    assert len(flood) < 100_000
    server.routes |= {"/f": body(flood, content_encoding=encoding), "/c": body(cut, content_encoding=encoding)}
    memory = TaskMemory(10**6)
    urls = server.url("/f"), server.url("/c")
    results = fetch(loopback_fetcher(max_bytes=100_000), *urls, memory=memory)
    assert [r.reason for r in results if isinstance(r, Failure)] == [FailureReason.TOO_LARGE, FailureReason.DAMAGED]
    assert memory.free == 10**6


def test_redirects_are_followed_as_far_as_they_lead_somewhere_new(server: ImageServer) -> None:
    server.routes |= {f"/{i}": status((301, 302, 303, 307, 308)[i % 5], f"/{i + 1}") for i in range(40)}
    server.routes |= {"/40": body(JPEG), "/circle": status(302, "/back"), "/back": status(302, "circle")}
    fetcher = loopback_fetcher()
    assert fetch(fetcher, server.url("/36"), server.url(f"/{40 - MAX_REDIRECTS}")) == [JPEG, JPEG]
    assert reason(fetcher, server.url(f"/{39 - MAX_REDIRECTS}")) is FailureReason.TOO_MANY_REDIRECTS
    assert reason(fetcher, server.url("/circle")) is FailureReason.TOO_MANY_REDIRECTS
    assert server.hits["/circle"] == server.hits["/back"] == 1
    assert FailureReason.TOO_MANY_REDIRECTS.is_transient and not FailureReason.TOO_MANY_REDIRECTS.is_of_host


def test_a_host_that_leads_to_a_dead_one_is_not_dead_itself(server: ImageServer) -> None:
    """A gateway of many instances, one of which is down: the others stay, and the dead one is not asked for ever."""
    with listening() as port:
        pass
    server.routes |= {f"/dead/{i}": status(302, f"http://localhost:{port}/{i}") for i in range(2 * HOST_PATIENCE)}
    server.routes["/alive"] = body(JPEG)
    urls = [server.url(f"/dead/{i}") for i in range(2 * HOST_PATIENCE)]
    *dead, alive = fetch(loopback_fetcher(), *urls, server.url("/alive"))
    reasons = [result.reason for result in dead if isinstance(result, Failure)]
    assert reasons == [FailureReason.UNREACHABLE] * HOST_PATIENCE + [FailureReason.HOST_DOWN] * HOST_PATIENCE
    assert alive == JPEG


def test_a_host_that_answers_in_between_is_not_given_up(server: ImageServer) -> None:
    server.routes |= {"/bad": status(500), "/good": body(JPEG)}
    bad, good = server.url("/bad"), server.url("/good")
    results = fetch(loopback_fetcher(), *[bad] * (HOST_PATIENCE - 1), good, *[bad] * (HOST_PATIENCE - 1), good)
    assert results.count(JPEG) == 2


AGAINST = [
    [b"X-Robots-Tag: noai"],
    [b"x-robots-tag: NoIndex, nofollow"],
    [b"X-Robots-Tag: noimageai"],
    [b"X-Robots-Tag: none"],
    [b"X-Robots-Tag: noarchive", b"X-Robots-Tag: noai, noimageai"],
    [b"X-Robots-Tag: googlebot: nofollow", b"X-Robots-Tag: geopin-assets: noindex"],
    [b"X-Robots-Tag: unavailable_after: 25 Jun 2030 15:00:00 PST, noai"],
    [b"X-Robots-Tag: noimageindex, max-image-preview: large"],
    [b"X-Robots-Tag: otherbot: all, *: noindex"],
    [b"tdm-reservation: 1"],
    [b"TDM-Reservation:1", b"tdm-policy: https://example.org/policy.json"],
    [b"tdm-reservation: 0", b"tdm-reservation: 1"],
]
NOT_AGAINST = [
    [b"X-Robots-Tag: all"],
    [b"X-Robots-Tag: googlebot: noindex, noai"],
    [b"X-Robots-Tag: nofollow, noarchive, max-snippet: 0"],
    [b"X-Robots-Tag: index, otherbot: none"],
    [b"X-Robots-Tag: noaid"],
    [b"tdm-reservation: 0"],
    [b"tdm-reservation: 10"],
    [b"tdm-policy: https://example.org/1"],
]


@pytest.mark.parametrize("headers", AGAINST)
def test_whoever_serves_an_image_can_say_no(server: ImageServer, headers: list[bytes]) -> None:
    fetcher = loopback_fetcher(user_agent="geopin-assets/1.0 (+maps@example.org)")
    got = reason(fetcher, at(server, saying(*headers)))
    assert got is FailureReason.OPTED_OUT and not got.is_transient and not got.is_of_host


@pytest.mark.parametrize("headers", NOT_AGAINST)
def test_what_is_said_to_others_or_of_other_things_is_not_a_no(server: ImageServer, headers: list[bytes]) -> None:
    assert fetch(loopback_fetcher(user_agent="geopin-assets/1.0"), at(server, saying(*headers))) == [JPEG]


@pytest.mark.parametrize("waived", ["127.0.0.1", "*"])
def test_a_no_that_was_taken_back_is_none(server: ImageServer, waived: str) -> None:
    url = at(server, saying(b"X-Robots-Tag: noai", b"tdm-reservation: 1"))
    assert fetch(loopback_fetcher(ignore_opt_out=frozenset({waived})), url) == [JPEG]
    assert reason(loopback_fetcher(ignore_opt_out=frozenset({"other.example"})), url) is FailureReason.OPTED_OUT


def test_an_image_that_may_not_be_used_is_not_read_further(server: ImageServer) -> None:
    head = OK + b"X-Robots-Tag: noai\r\nContent-Length: 30000000\r\n\r\n" + JPEG
    memory = TaskMemory(10**9)
    (result,) = fetch(loopback_fetcher(), at(server, raw(head, then=[b""], pause_s=3)), memory=memory)
    assert result == Failure(FailureReason.OPTED_OUT, "X-Robots-Tag: noai") and memory.free == 10**9


def test_a_no_on_the_way_counts_too(server: ImageServer) -> None:
    server.routes["/b.jpg"] = body(JPEG)
    url = at(server, saying(b"Location: /b.jpg", b"tdm-reservation: 1", code=b"302 Found", data=b""))
    assert reason(loopback_fetcher(), url) is FailureReason.OPTED_OUT


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (saying(b"X-Robots-Tag: noindex", data=PAGE), FailureReason.NOT_AN_IMAGE),
        (saying(b"X-Robots-Tag: noindex", data=b'{"error": "busy"}'), FailureReason.NOT_AN_IMAGE),
        (saying(b"X-Robots-Tag: noindex", data=b""), FailureReason.NOT_AN_IMAGE),
        (saying(b"X-Robots-Tag: noindex", data=b"Zu viele Anfragen \xc3\xa4\r\n" * 9), FailureReason.NOT_AN_IMAGE),
        (saying(b"X-Robots-Tag: noindex", code=b"404 Not Found", data=PAGE), FailureReason.NOT_FOUND),
        (saying(b"X-Robots-Tag: noindex", code=b"429 Too Many", data=PAGE), FailureReason.RATE_LIMITED),
        (saying(b"X-Robots-Tag: noindex", code=b"403 Forbidden", data=PAGE), FailureReason.REFUSED),
        (saying(b"X-Robots-Tag: noindex", code=b"503 Busy", data=PAGE), FailureReason.SERVER_ERROR),
    ],
)
def test_the_no_of_an_error_page_is_about_that_page(
    server: ImageServer, answer: Respond, expected: FailureReason
) -> None:
    assert outcome(at(server, answer)) is expected


@pytest.mark.parametrize(
    ("robots", "agent", "is_against"),
    [
        (["geopin: noai"], "geopin-assets/1.0", True),
        (["geopin-assets/1.0: noai"], "geopin-assets/2.0 (+x)", True),
        (["GeoPin-Assets : noai"], "geopin-assets/1.0", True),
        (["geopin-assets-2: noai"], "geopin-assets/1.0", False),
        (["noindex nofollow"], "geopin-assets", True),
        (["a: b: noai"], "geopin-assets", False),
        (["", ",", ":", "::", "noai;x"], "geopin-assets", True),
        (["", ",", ":", "::"], "", False),
    ],
)
def test_rules_are_read_as_they_are_written(robots: Sequence[str], agent: str, is_against: bool) -> None:
    assert bool(opted_out(robots, [], agent)) is is_against


def test_by_default_every_host_is_obeyed() -> None:
    assert ImageFetcher().obeys("any.example")
