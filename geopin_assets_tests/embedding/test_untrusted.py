"""Servers that lie, stall and flood: what becomes of an image in the end, over a real socket.

Which addresses are reached at all is in `test_canaries.py`.
"""

import asyncio
import gzip
import itertools
import logging
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiohttp.abc import ResolveResult

from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.embedding.stages import TaskMemory
from geopin_assets_tests.embedding.fetching import (
    Names,
    failure,
    fetch,
    fetch_at_once,
    loopback_fetcher,
    outcome,
    reason,
)
from geopin_assets_tests.embedding.image_server import (
    ImageServer,
    Respond,
    body,
    endless,
    hang_up,
    listening,
    raw,
    status,
)
from geopin_assets_tests.embedding.pictures import black_png, encoded, gray_jpeg, large_webp, smooth

PICTURE = smooth(96, 64)
JPEG = encoded(PICTURE)
OK = b"HTTP/1.1 200 OK\r\n"
LYING = {"content_type": "image/jpeg"}


def at(server: ImageServer, respond: Respond) -> str:
    server.routes["/a.jpg"] = respond
    return server.url("/a.jpg")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<!DOCTYPE html><title>Too many requests</title>", FailureReason.NOT_AN_IMAGE),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', FailureReason.NOT_AN_IMAGE),
        (b'{"error": {"code": 4}}', FailureReason.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", FailureReason.NOT_AN_IMAGE),
        (b"", FailureReason.NOT_AN_IMAGE),
        (gzip.compress(JPEG, mtime=0), FailureReason.NOT_AN_IMAGE),
        (b"<html>" + JPEG, FailureReason.NOT_AN_IMAGE),
        (encoded(PICTURE, "GIF"), FailureReason.UNSUPPORTED),
        (encoded(PICTURE, "BMP"), FailureReason.UNSUPPORTED),
        (encoded(PICTURE, "JPEG2000"), FailureReason.UNSUPPORTED),
        (encoded(PICTURE[:1, :1]), FailureReason.TOO_SMALL),
        (gray_jpeg(16_000, 16_000), FailureReason.TOO_MANY_PIXELS),
        (black_png(16_000, 16_000, bits=1), FailureReason.TOO_MANY_PIXELS),
        (large_webp(16_000, 16_000), FailureReason.TOO_MANY_PIXELS),
    ],
)
def test_an_answer_is_judged_by_its_content_and_not_by_what_it_says_it_is(
    server: ImageServer, data: bytes, expected: FailureReason
) -> None:
    assert outcome(at(server, body(data, **LYING))) is expected


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", "image/png", "nonsense"])
def test_an_image_is_one_whatever_it_is_called(server: ImageServer, content_type: str) -> None:
    got = outcome(at(server, body(JPEG, content_type=content_type)))
    assert isinstance(got, np.ndarray) and got.shape == (64, 96, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_body_without_length_that_ends_early_is_a_damaged_image(
    server: ImageServer, format: str, part: float
) -> None:
    data = encoded(PICTURE, format)
    assert outcome(at(server, raw(OK + b"\r\n" + data[: int(len(data) * part)]))) is FailureReason.DAMAGED


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.98])
def test_a_body_with_a_length_that_ends_early_is_a_broken_connection(server: ImageServer, part: float) -> None:
    assert outcome(at(server, body(JPEG[: int(len(JPEG) * part)], announced=len(JPEG)))) is FailureReason.UNREACHABLE


def test_a_chunked_body_that_ends_early_is_a_broken_connection(server: ImageServer) -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    assert outcome(at(server, raw(chunked + b"400\r\n" + JPEG[:500]))) is FailureReason.UNREACHABLE
    assert outcome(at(server, raw(chunked + b"10\r\n" + JPEG[:16] + b"\r\n"))) is FailureReason.UNREACHABLE


def test_what_comes_after_the_announced_length_is_not_read_nor_taken_for_the_next_answer(server: ImageServer) -> None:
    forged = OK + b"Content-Length: 6\r\n\r\nforged"
    server.routes["/a.jpg"] = raw(OK + b"Content-Length: %d\r\n\r\n" % len(JPEG) + JPEG + forged)
    server.routes["/b.jpg"] = body(JPEG)
    assert fetch(loopback_fetcher(), server.url("/a.jpg"), server.url("/b.jpg")) == [JPEG, JPEG]


@pytest.mark.parametrize(
    "flood",
    [
        endless(bytes(10_000)),
        body(bytes(10_000), announced=10**12),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", then=itertools.repeat(bytes(10_000))),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", then=itertools.repeat(b"3e8\r\n" + bytes(1_000) + b"\r\n")),
    ],
    ids=["no length", "announced", "one chunk", "many chunks"],
)
def test_a_flood_ends_at_the_limit(server: ImageServer, flood: Respond) -> None:
    memory = TaskMemory(10**6)
    (result,) = fetch(loopback_fetcher(max_bytes=100_000), at(server, flood), memory=memory)
    assert isinstance(result, Failure) and result.reason is FailureReason.TOO_LARGE
    assert memory.free == 10**6


def test_bodies_are_not_asked_for_compressed_and_not_unpacked_in_every_way(server: ImageServer) -> None:
    """50 MB of zeros in 50 kB: under the limit as it came, and no image."""
    bomb = b"\x8b" + zlib.compress(bytes(50 * 2**20), 9)
    for encoding in ("gzip", "deflate", "br", "zstd"):
        (got,) = fetch(loopback_fetcher(max_bytes=100_000), at(server, body(bomb, content_encoding=encoding)))
        assert got == bomb
    assert {request["Accept-Encoding"] for request in server.requests} == {"identity"}


@pytest.mark.parametrize(
    "stall",
    [
        raw(OK, then=itertools.repeat(b"x"), pause_s=0.02),
        raw(OK + b"X: ", then=itertools.repeat(b"x"), pause_s=0.02),
        raw(b"", then=itertools.repeat(b"H"), pause_s=0.02),
        raw(then=itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), pause_s=0.01),
        raw(OK + b"Content-Length: 1000\r\n\r\n", then=itertools.repeat(b"x"), pause_s=0.02),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", then=itertools.repeat(b"1\r\nx\r\n"), pause_s=0.02),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", then=itertools.repeat(b"x"), pause_s=0.02),
        raw(b"HTTP/1.1 302 Found\r\nLocation: ", then=itertools.repeat(b"x"), pause_s=0.02),
    ],
    ids=["header name", "header", "no protocol", "continue", "body", "chunks", "chunk extension", "location"],
)
def test_an_answer_that_drips_is_cut_off_wherever_it_drips(server: ImageServer, stall: Respond) -> None:
    got = outcome(at(server, stall), deadline_s=0.3)
    assert got in (FailureReason.TIMEOUT, FailureReason.UNREACHABLE)  # what is no HTTP may be seen earlier
    assert isinstance(got, FailureReason) and got.is_transient


@pytest.mark.parametrize("is_full", [True, False])
def test_a_server_that_never_answers_is_given_up_at_the_deadline(is_full: bool) -> None:
    with listening(is_full=is_full) as port:
        assert reason(loopback_fetcher(deadline_s=0.3), f"http://127.0.0.1:{port}/a.jpg") is FailureReason.TIMEOUT
        assert reason(loopback_fetcher(deadline_s=0.3), f"https://127.0.0.1:{port}/a.jpg") is FailureReason.TIMEOUT


def test_the_deadline_is_one_for_all_redirects(server: ImageServer) -> None:
    for hop in range(5):
        redirect = b"HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n" % (hop + 1)
        server.routes[f"/{hop}"] = raw(redirect, then=[b"X: y\r\n"] * 12 + [b"\r\n"], pause_s=0.02)
    assert outcome(server.url("/0"), deadline_s=0.5) is FailureReason.TIMEOUT


def test_names_that_resolve_slowly_are_given_up_at_the_deadline() -> None:
    class Slow(Names):
        async def resolve(self, *args: Any, **kwargs: Any) -> list[ResolveResult]:
            await asyncio.sleep(3_600)
            return []

    assert reason(loopback_fetcher(resolver=Slow({}), deadline_s=0.2), "http://a.example/") is FailureReason.TIMEOUT


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/9.9 200 OK\r\n\r\n"),
        raw(b"HTTP/1.1 two hundred\r\n\r\n"),
        raw(OK + b"Content-Length: -1\r\n\r\n"),
        raw(OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        hang_up,
    ],
)
def test_what_is_not_http_is_a_server_that_cannot_be_reached(server: ImageServer, answer: Respond) -> None:
    assert outcome(at(server, answer)) is FailureReason.UNREACHABLE


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a.jpg", FailureReason.TOO_MANY_REDIRECTS),
        ("", FailureReason.NOT_FOUND),
        ("http://", FailureReason.TOO_MANY_REDIRECTS),  # to the same address
        ("http://a.example:99999/", FailureReason.NOT_ALLOWED),
        ("http://[::1", FailureReason.NOT_ALLOWED),
        ("ftp://127.0.0.1/", FailureReason.NOT_ALLOWED),
        ("javascript:alert(1)", FailureReason.NOT_ALLOWED),
        ("own-photos:a.jpg", FailureReason.NOT_ALLOWED),
        ("http://user:pass@127.0.0.1/", FailureReason.NOT_ALLOWED),
        ("http://" + "a" * 70 + ".example/", FailureReason.NOT_ALLOWED),
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_failure(
    server: ImageServer, location: str, expected: FailureReason
) -> None:
    assert outcome(at(server, status(302, location))) is expected


def test_no_cookie_is_kept_and_nothing_else_told_than_who_we_are(server: ImageServer) -> None:
    server.routes["/a.jpg"] = status(302, "/b.jpg", set_cookie="a=b; Path=/")
    server.routes["/b.jpg"] = body(JPEG, set_cookie="c=d; Path=/")
    fetch(loopback_fetcher(user_agent="geopin-test"), *[server.url("/a.jpg", "localhost")] * 2)
    assert len(server.requests) == 4
    for request in server.requests:
        assert set(request) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}
        assert request["User-Agent"] == "geopin-test"


def test_only_formats_that_can_be_decoded_are_asked_for(server: ImageServer) -> None:
    """A host that chooses by this header would send AVIF for `image/*`."""
    fetch(loopback_fetcher(), at(server, body(JPEG)))
    accepted = {kind.strip() for kind in server.requests[0]["Accept"].split(",")}
    assert accepted == {"image/jpeg", "image/png", "image/webp", "*/*;q=0.1"}


def test_many_bad_answers_leave_the_memory_whole(server: ImageServer) -> None:
    faults = [hang_up, status(500), body(JPEG[:9], announced=99), endless(bytes(50_000)), raw(b"junk\r\n\r\n")]
    server.routes |= {f"/{i}": fault for i, fault in enumerate(faults)}
    memory = TaskMemory(400_000)
    urls = [server.url(f"/{i % len(faults)}") for i in range(50)] + ["http://10.0.0.1/", "nonsense", "own-photos:x"]
    results = fetch_at_once(loopback_fetcher(max_bytes=100_000), *urls, memory=memory)
    assert all(isinstance(result, Failure) for result in results)
    assert memory.free == 400_000


SIGNED = "?sig=SECRET&X-Amz-Signature=SECRET"


@pytest.mark.parametrize(
    "answer",
    [
        lambda server: hang_up,
        lambda server: status(403),
        lambda server: status(429, retry_after="86400"),
        lambda server: raw(b"HTTP/1.1 SECRET\r\n\r\n"),
        lambda server: raw(OK + b"X: " + b"SECRET" * 20_000),
        lambda server: body(JPEG[:9], announced=99),
        lambda server: body(b"x", set_cookie='a="SECRET; \x01'),
        lambda server: endless(b"x", pause_s=0.02),
        lambda server: status(302, f"http://10.0.0.1/{SIGNED}"),
        lambda server: status(302, f"http://[::1{SIGNED}"),
        lambda server: status(302, f"http://SECRET:SECRET@a.example/{SIGNED}"),
        lambda server: status(302, f"http://a.example:99999/{SIGNED}"),
        lambda server: status(302, f"http://127.0.0.1:1/{SIGNED}"),
        lambda server: status(302, f"https://127.0.0.1:{server.server_port}/{SIGNED}"),
        lambda server: status(302, f"http://nowhere.example/{SIGNED}"),
        lambda server: status(302, f"mailto:{SIGNED}"),
        lambda server: status(302, f"SECRET:{SIGNED}"),
    ],
)  # fmt: skip
def test_no_failure_and_no_log_line_repeats_a_signed_address(
    server: ImageServer, answer: Callable[[ImageServer], Respond], caplog: pytest.LogCaptureFixture
) -> None:
    server.routes[f"/a.jpg{SIGNED}"] = answer(server)
    fetcher = loopback_fetcher(deadline_s=1.0, resolver=Names({}))
    with caplog.at_level(logging.DEBUG):
        result = fetch(fetcher, server.url(f"/a.jpg{SIGNED}"))
    assert server.hits and "SECRET" not in repr(result) + caplog.text


@pytest.mark.parametrize(
    "url", [f"nonsense{SIGNED}", f"http://[::1{SIGNED}", f"http://a.example:port/{SIGNED}", f"http://SECRET@a.example/{SIGNED}"]
)  # fmt: skip
def test_no_failure_repeats_an_address_that_is_none(url: str) -> None:
    assert "SECRET" not in repr(failure(loopback_fetcher(), url))
