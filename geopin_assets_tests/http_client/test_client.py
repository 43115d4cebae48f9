import gzip
import logging
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from itertools import pairwise

import httpx
import pytest

from geopin_assets.errors import (
    ConfigurationError,
    OutOfTimeError,
    PayloadError,
    PermanentError,
    SourceUnavailable,
    TransientError,
)
from geopin_assets.http_client import Answer, HttpClient, Quota, build_politeness, user_agent
from geopin_assets.sources.base import CrawlReport
from geopin_assets_tests.http_client.world import Clock, Reply, Server, client_of, json_reply

URL = "https://api.example/api/search"


class Chunks(httpx.SyncByteStream):
    """A body in parts."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


def test_json_is_decoded_and_every_request_really_sent_is_counted():
    client, server, _ = client_of(json_reply(status=503), json_reply({"a": 1}))
    report = CrawlReport()
    assert client.get_json(URL, params={"bbox": "1,2,3,4"}, tally=report) == {"a": 1}
    assert report.requests == len(server.requests) == 2
    assert server.requests[0].url.params["bbox"] == "1,2,3,4"


def test_a_call_may_be_content_with_one_attempt_whose_failure_counts_like_any():
    client, server, _ = client_of(json_reply(status=503), attempts=3)
    for _ in range(10):
        with pytest.raises(TransientError):
            client.get_json(URL, attempts=1)
    assert len(server.requests) == 10
    with pytest.raises(SourceUnavailable):
        client.get_json(URL, attempts=1)
    assert len(server.requests) == 10


def test_it_says_who_it_is_and_whom_to_write_to():
    client, server, _ = client_of(json_reply(), contact="mailto:crawl@example.org")
    client.get_json(URL)
    assert server.requests[0].headers["user-agent"] == user_agent("mailto:crawl@example.org")
    assert user_agent("mailto:crawl@example.org").endswith("(+mailto:crawl@example.org)")
    assert user_agent().startswith("geopin-assets")


def test_parameters_join_the_query_that_is_there():
    client, server, _ = client_of(json_reply())
    client.get_json(f"{URL}?page=2", params={"limit": 5})
    assert dict(server.requests[0].url.params) == {"page": "2", "limit": "5"}


def test_a_form_is_posted_urlencoded():
    client, server, _ = client_of(json_reply([1]))
    assert client.request_json("POST", URL, form={"page": 1}) == [1]
    assert server.requests[0].content == b"page=1"


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 520])
def test_a_passing_failure_is_tried_again_with_growing_waits(status: int):
    client, server, clock = client_of(*[json_reply(status=status)] * 4, json_reply([1]))
    assert client.get_json(URL) == [1]
    assert len(server.requests) == 5
    backoffs = [s for s in clock.sleeps if s >= 1]
    assert [int(s) for s in backoffs] == pytest.approx([1, 2, 4, 8], abs=1)
    assert backoffs == sorted(backoffs)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")]
)
def test_connection_trouble_is_tried_again_and_then_named(error: Exception):
    client, server, _ = client_of(error, json_reply([1]))
    assert client.get_json(URL) == [1]
    client, server, _ = client_of(error)
    with pytest.raises(TransientError, match=rf"^panoramax: GET /api/search: {type(error).__name__}") as caught:
        client.get_json(URL)
    assert len(server.requests) == 5
    assert isinstance(caught.value.__cause__, httpx.TransportError)


@pytest.mark.parametrize("status", [400, 404, 406, 410, 414, 422])
def test_a_client_error_is_permanent_at_once_and_keeps_what_the_server_said(status: int):
    client, server, _ = client_of(json_reply({"message": "Parameter limit must be a number"}, status))
    with pytest.raises(PermanentError, match=rf"answered {status} .*Parameter limit must be a number"):
        client.get_json(URL)
    assert len(server.requests) == 1


def test_an_answer_that_is_being_made_is_asked_for_again_and_says_nothing_against_the_source():
    client, server, _ = client_of(json_reply(status=202, retry_after="7"), json_reply([1]))
    assert client.get_json(URL) == [1]
    assert server.times[1] - server.times[0] >= 7
    client, server, _ = client_of(json_reply(status=202))
    for _ in range(5):  # ten failures would have opened the breaker
        with pytest.raises(TransientError, match="answered 202"):
            client.get_json(URL)
    server.replies = [json_reply([1])]
    assert client.get_json(URL) == [1]


def test_a_wait_for_one_answer_holds_up_no_other_request():
    client, server, _ = client_of(
        lambda r: json_reply(status=202, retry_after="3600") if "a" in r.url.path else json_reply([1])
    )
    with pytest.raises(TransientError) as caught:
        client.get_json("https://api.example/a")
    assert caught.value.retry_after_s == 3600
    assert client.get_json("https://api.example/b") == [1]
    assert len(server.requests) == 2


def test_what_a_proxy_changed_is_an_answer_to_everybody_who_asks():
    client, server, _ = client_of(json_reply([1], status=203))
    assert client.get_json(URL) == [1] and len(server.requests) == 1
    assert client.send("GET", URL, ok=(200, 404)).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_never_followed(status: int):
    client, server, _ = client_of(httpx.Response(status, headers={"location": "https://login.example/"}))
    with pytest.raises(PermanentError, match=f"{status}.*redirects are not followed"):
        client.get_json(URL)
    assert [request.url.host for request in server.requests] == ["api.example"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_source_and_nothing_more_is_sent_until_a_probe(status: int):
    client, server, clock = client_of(json_reply(status=status), json_reply([1]))
    with pytest.raises(PermanentError, match=rf"^panoramax: .*answered {status}.*access denied"):
        client.get_json(URL)
    with pytest.raises(PermanentError, match="access denied"):
        client.get_json(URL)
    assert len(server.requests) == 1
    clock.now += 61
    assert client.get_json(URL) == [1]


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("1", 1), ("30", 30), ("120", 120), ("garbage", 60), ("-5", 60), (None, 60), (formatdate(1_800_001_045), 45)],
)
def test_after_a_429_nothing_is_sent_before_the_time_the_server_named(header: str | None, wait_s: float):
    client, server, _ = client_of(
        json_reply(status=429, **({"retry_after": header} if header else {})), json_reply([1])
    )
    assert client.get_json(URL) == [1]
    assert server.times[1] - server.times[0] >= wait_s
    assert server.times[1] - server.times[0] <= wait_s + 2


def test_a_503_with_retry_after_is_waited_for_too():
    client, server, _ = client_of(json_reply(status=503, retry_after="20"), json_reply([1]))
    client.get_json(URL)
    assert server.times[1] - server.times[0] >= 20


def test_a_wait_beyond_the_maximum_is_handed_to_the_caller_and_to_everybody_else():
    client, server, clock = client_of(json_reply(status=429, retry_after="3600"), json_reply([1]))
    with pytest.raises(TransientError) as caught:
        client.get_json(URL)
    assert caught.value.retry_after_s == 3600
    with pytest.raises(SourceUnavailable) as later:
        client.get_json(URL)
    assert later.value.retry_after_s == pytest.approx(3600)
    assert len(server.requests) == 1
    clock.now += 3600
    assert client.get_json(URL) == [1]


def test_after_its_time_nothing_is_asked_any_more_and_nobody_else_hears_of_it():
    shared = build_politeness({"": Quota(per_second=1000.0)})
    client, server, clock = client_of(json_reply([1]), left_s=30.0, politeness=shared)
    assert client.get_json(URL) == [1]
    clock.now += 30.0
    for _ in range(20):
        with pytest.raises(OutOfTimeError, match=r"^panoramax: no time is left"):
            client.get_json(URL)
    assert len(server.requests) == 1
    other, server, _ = client_of(json_reply([1]), politeness=shared)
    assert other.get_json(URL) == [1]


@pytest.mark.parametrize("reply", [json_reply(status=500), json_reply(status=503, retry_after="20")])
def test_waits_between_attempts_end_with_the_time(reply: httpx.Response):
    client, _, clock = client_of(reply, left_s=10.0)
    with pytest.raises(OutOfTimeError):
        client.get_json(URL)
    assert clock.now <= 1010.0


def test_a_pause_longer_than_the_time_is_not_waited_for():
    shared = build_politeness({"": Quota(per_second=1000.0)}, clock=(clock := Clock()), sleep=clock.sleep)
    shared[""].bucket.pause(60.0)
    server = Server([json_reply([1])], clock)
    client = HttpClient("panoramax", transport=httpx.MockTransport(server), clock=clock, politeness=shared, left_s=10.0)
    with pytest.raises(OutOfTimeError, match="asked to wait 60 s"):
        client.get_json(URL)
    assert clock.now == 1000.0 and not server.requests


def test_the_rate_is_kept():
    client, server, _ = client_of(json_reply(), requests_per_second=2.0)
    for _ in range(5):
        client.get_json(URL)
    assert [b - a for a, b in zip(server.times, server.times[1:], strict=False)] == pytest.approx([0.5] * 4)


def test_cut_json_is_tried_again():
    client, server, _ = client_of(httpx.Response(200, content=b'{"features": [1, 2'), json_reply([1]))
    assert client.get_json(URL) == [1]
    client, server, _ = client_of(httpx.Response(200, content=b'{"features": ['))
    with pytest.raises(TransientError, match="broken JSON"):
        client.get_json(URL)
    assert len(server.requests) == 5


def test_a_web_page_with_status_200_is_not_an_empty_answer():
    page = httpx.Response(200, html="<html>Log in</html>")
    client, server, _ = client_of(page)
    with pytest.raises(PayloadError, match="not JSON but 'text/html"):
        client.get_json(URL)
    assert len(server.requests) == 1


def test_nan_passes_because_records_are_judged_one_by_one():
    client, _, _ = client_of(httpx.Response(200, content=b'{"a": NaN, "b": "\\ud800"}'))
    assert set(client.get_json(URL)) == {"a", "b"}


@pytest.mark.parametrize(
    "body",
    [
        *(b"[" * 200_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        *(b'{"id": "\xff\xfe"}', b'{"id": 1,}', b'{"a": tru}          ', b"{'a': 1}"),
    ],
)
def test_json_that_is_broken_and_not_cut_is_an_error_that_no_retry_mends(body: bytes):
    client, server, _ = client_of(httpx.Response(200, content=body))
    with pytest.raises(PayloadError, match="broken JSON"):
        client.get_json(URL)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b'{"a": "b', b'{"a": tru', b'{"a": "caf\xc3', b'{"a": -Infin', b'["\\', b'["\\u00', b"", b'[{"a": 1}', b"["],
)
def test_json_that_ends_too_early_is_asked_for_again(body: bytes):
    client, *_ = client_of(httpx.Response(200, content=body), json_reply([1]))
    assert client.get_json(URL) == [1]


@pytest.mark.parametrize("digits", [19, 20, 400, 4_000, 100_000])
@pytest.mark.parametrize("more", [b"", b', "b": NaN'])
def test_no_integer_has_more_than_64_bits(digits: int, more: bytes):
    client, _, _ = client_of(httpx.Response(200, content=b'{"a": ' + b"9" * digits + more + b"}"))
    number = client.get_json(URL)["a"]
    assert isinstance(number, float) or abs(number) < 2**64
    assert number >= 9.9e18


@pytest.mark.parametrize("body", [b"[" + b"[]," * 3_000_000 + b"[]]", b"[" + b"1," * 5_000_000 + b"1]"])
def test_json_of_more_values_than_any_answer_has_is_refused_before_it_takes_memory(body: bytes):
    client, _, _ = client_of(httpx.Response(200, content=body))
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="at most"):
            client.get_json(URL)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


def _packed(body: bytes, **headers: str) -> httpx.Response:
    return httpx.Response(200, stream=Chunks([body]), headers=headers)


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_above_the_cap_is_refused_also_when_it_was_packed(packed: bool):
    body, headers = b" " * 1_000_001, {}
    if packed:
        body, headers = gzip.compress(body), {"content-encoding": "gzip"}
    with (
        HttpClient(
            "x", transport=httpx.MockTransport(lambda _: _packed(body, **headers)), max_bytes=1_000_000
        ) as client,
        pytest.raises(PayloadError, match="larger than 1000000 bytes"),
    ):
        client.get_bytes(URL)


@pytest.mark.parametrize("coding", ["gzip, gzip", "deflate", "br", "zstd", "gzip, " * 20_000 + "gzip", "GZIP,identity"])
def test_a_coding_that_was_not_asked_for_is_refused_unread(coding: str):
    body = gzip.compress(gzip.compress(bytes(1 << 20)))
    transport = httpx.MockTransport(lambda _: _packed(body, **{"content-encoding": coding}))
    with HttpClient("x", transport=transport) as client, pytest.raises(PayloadError, match="not asked for"):
        client.get_bytes(URL)


def test_one_coding_is_asked_for_and_unpacked_within_the_cap():
    """A bomb of 128 kB, 128 MB unpacked: no more than the cap is ever unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1 << 7)), packer.flush()])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return _packed(bomb if len(asked) > 1 else gzip.compress(b"[1]"), **{"content-encoding": "X-GZip"})

    with HttpClient("x", transport=httpx.MockTransport(answer), max_bytes=1 << 20) as client:
        assert client.get_json(URL) == [1]
        tracemalloc.start()
        try:
            with pytest.raises(PayloadError, match="larger than"):
                client.get_bytes(URL)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
    assert asked == ["gzip", "gzip"]


@pytest.mark.parametrize(
    "body", [gzip.compress(b"[1]" * 1000, mtime=0)[:-4], b"no gzip at all"], ids=["cut", "foreign"]
)
def test_a_packed_body_that_arrives_damaged_is_asked_for_again(body: bytes):
    replies = iter([_packed(body, **{"content-encoding": "gzip"}), json_reply([1])])
    transport, clock = httpx.MockTransport(lambda _: next(replies)), Clock()
    with HttpClient("x", transport=transport, clock=clock, sleep=clock.sleep) as client:
        assert client.get_json(URL) == [1]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_body_that_was_packed_in_pieces_is_whole_only_with_all_of_them(step: int):
    pieces = b"".join(gzip.compress(piece, mtime=0) for piece in (b"[1", b"", b", 2]"))
    packed = [pieces[first : first + step] for first in range(0, len(pieces), step)]
    cut = httpx.Response(200, stream=Chunks(packed[:-1] or [pieces[:-1]]), headers={"content-encoding": "gzip"})
    replies = iter([cut, httpx.Response(200, stream=Chunks(packed), headers={"content-encoding": "gzip"})])
    transport, clock = httpx.MockTransport(lambda _: next(replies)), Clock()
    with HttpClient("x", transport=transport, clock=clock, sleep=clock.sleep) as client:
        assert client.get_json(URL) == [1, 2]


@pytest.mark.parametrize(("status", "error"), [(500, TransientError), (401, PermanentError)])
def test_an_error_stays_what_it_is_if_its_body_cannot_be_unpacked(status: int, error: type[Exception]):
    reply = httpx.Response(status, stream=Chunks([b"?"]), headers={"content-encoding": "br"})
    transport = httpx.MockTransport(lambda _: reply)
    with HttpClient("x", transport=transport, attempts=1) as client, pytest.raises(error, match=f"answered {status}"):
        client.get_json(URL)


def test_a_dripping_body_ends_at_the_deadline():
    clock = Clock()

    def drip() -> Iterator[bytes]:
        while True:
            clock.now += 1
            yield b"."

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Chunks(drip())))
    with (
        HttpClient("x", transport=transport, clock=clock, sleep=clock.sleep, deadline_s=10.0, attempts=1) as client,
        pytest.raises(TransientError, match="not finished after 10 s"),
    ):
        client.get_bytes(URL)


def test_repeated_failure_stops_sending_and_one_probe_decides():
    client, server, clock = client_of(json_reply(status=500))
    for _ in range(2):
        with pytest.raises(TransientError):
            client.get_json(URL)
    assert len(server.requests) == 10
    with pytest.raises(SourceUnavailable, match=r"answered 500.*not asked again") as caught:
        client.get_json(URL)
    assert caught.value.retry_after_s is not None
    assert len(server.requests) == 10
    clock.now += 61
    with pytest.raises(TransientError):  # the probe fails: closed for two pauses, after one request
        client.get_json(URL)
    assert len(server.requests) == 11
    clock.now += 61
    with pytest.raises(SourceUnavailable):
        client.get_json(URL)
    clock.now += 60
    server.replies = [json_reply([1])]
    assert client.get_json(URL) == client.get_json(URL) == [1]


def test_the_breaker_opens_for_failures_in_a_row_only():
    bad, good = json_reply(status=500), json_reply([1])
    client, server, _ = client_of(*[bad, bad, bad, good] * 20)
    assert [client.get_json(URL) for _ in range(20)] == [[1]] * 20
    assert len(server.requests) == 80


def test_one_request_that_always_fails_does_not_close_the_source_for_the_others():
    client, _, _ = client_of(lambda r: json_reply(status=500 if "poison" in r.url.path else 200))
    for _ in range(5):
        with pytest.raises(TransientError):
            client.get_json("https://api.example/poison")
        assert client.get_json(URL) == {}


def test_a_judge_turns_a_misleading_status_into_what_it_means():
    class TooDense(PermanentError):
        pass

    def judge(answer: Answer) -> Exception | None:
        if answer.status == 500 and answer.json()["error"]["code"] == 1:
            return TooDense("reduce the amount of data")
        if answer.status == 400:
            return TransientError("back-pressure", retry_after_s=7)
        return None

    dense = json_reply({"error": {"code": 1}}, 500)
    client, server, _ = client_of(dense)
    with pytest.raises(TooDense, match=r"^panoramax: GET /api/search: reduce"):
        client.get_json(URL, judge=judge)
    assert len(server.requests) == 1
    client, server, _ = client_of(json_reply(status=400), json_reply([1]))
    assert client.get_json(URL, judge=judge) == [1]
    assert server.times[1] - server.times[0] >= 7


def test_other_statuses_can_be_answers():
    client, _, _ = client_of(httpx.Response(404))
    assert client.send("GET", URL, ok=(200, 404)).status == 404
    assert client.get_bytes(URL, ok=(200, 404)) == b""


SECRET = "s3cr3t/+value"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.ConnectError(f"cannot reach https://api.example/?access_token={SECRET}"),
        httpx.ReadTimeout(f"header X-Api-Key: {SECRET}"),
        httpx.Response(400, json={"error": f"bad token {SECRET}"}),
        httpx.Response(401, text="api_key=s3cr3t%2F%2Bvalue is not known"),
        httpx.Response(500, text="oops access_token=another-token&x=1"),
        httpx.Response(302, headers={"location": f"https://x/?t={SECRET}"}),
        httpx.Response(200, html=f"<html>{SECRET}</html>"),
    ],
)
def test_no_secret_reaches_a_message(reply: Reply):
    client, _, _ = client_of(reply, secrets=[SECRET])
    with pytest.raises((TransientError, PermanentError)) as caught:
        client.get_json(URL, params={"access_token": SECRET}, headers={"X-Api-Key": SECRET})
    for forbidden in (SECRET, "s3cr3t%2F%2Bvalue", "another-token"):
        assert forbidden not in str(caught.value)
    assert "/api/search" in str(caught.value)


@pytest.mark.parametrize(
    "address", [f"https://api.example:port/?access_token={SECRET}", f"ftp://api.example/?token={SECRET}"]
)
def test_an_address_that_cannot_be_asked_is_not_repeated(address: str):
    with HttpClient("panoramax", attempts=1) as client, pytest.raises(PermanentError) as caught:
        client.get_json(address)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("key", ["abc\n", "sché", "a\x00b"])
def test_a_key_that_cannot_be_a_header_is_named_and_not_shown(key: str):
    client, server, _ = client_of(json_reply())
    with pytest.raises(ConfigurationError, match="header X-Api-Key") as caught:
        client.get_json(URL, headers={"X-Api-Key": key})
    assert key not in str(caught.value)
    assert not server.requests


def test_logs_hold_no_query(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    client, _, _ = client_of(json_reply())
    client.get_json(URL, params={"access_token": SECRET})
    assert "/api/search" in caplog.text
    assert "access_token" not in caplog.text


def test_a_dead_source_is_probed_ever_more_rarely_but_always_again():
    client, server, clock = client_of(json_reply(status=500))
    times = []
    for _ in range(7200):
        asked = len(server.requests)
        with pytest.raises(TransientError):
            client.get_json(URL)
        if len(server.requests) > asked:
            times.append(clock.now)
        clock.now += 1
    pauses = [round(later - earlier, -1) for earlier, later in pairwise(times[2:])]
    assert pauses[:6] == [120, 240, 480, 960, 960, 960]
    assert len(server.requests) < 25


def test_clients_with_the_same_politeness_share_what_one_of_them_learned():
    clock = Clock()
    politeness = build_politeness({"": Quota(per_second=1000.0)}, clock=clock, sleep=clock.sleep)
    first, server, _ = client_of(json_reply(status=500), politeness=politeness)
    for _ in range(2):
        with pytest.raises(TransientError):
            first.get_json(URL)
    second, server, _ = client_of(json_reply([1]), politeness=politeness)
    with pytest.raises(SourceUnavailable, match="answered 500"):
        second.get_json(URL)
    assert server.requests == []


def test_kinds_of_requests_have_a_rate_and_a_breaker_of_their_own():
    quotas = {"tiles": Quota(per_second=0.5)}
    client, server, _ = client_of(
        lambda r: json_reply(status=500 if "tiles" in r.url.path else 200), quotas=quotas, requests_per_second=1000.0
    )
    for _ in range(2):
        with pytest.raises(TransientError):
            client.get_json("https://api.example/tiles", kind="tiles")
    with pytest.raises(SourceUnavailable):
        client.get_json("https://api.example/tiles", kind="tiles")
    assert client.get_json(URL) == {}
    gaps = [later - earlier for earlier, later in pairwise(server.times[:10])]
    assert min(gaps) >= 2


def test_a_path_that_holds_something_private_can_be_called_by_another_name():
    client, _, _ = client_of(json_reply(status=404))
    with pytest.raises(PermanentError, match=r"^panoramax: GET database/list: answered 404") as caught:
        client.get_json("https://api.example/accounts/4711/database/list", label="database/list")
    assert "4711" not in str(caught.value)
