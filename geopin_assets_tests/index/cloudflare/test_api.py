"""What every call to Cloudflare promises: a checked envelope, errors by what a retry would change, kept secrets."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from geopin_assets.errors import (
    ConfigurationError,
    GeoPinError,
    PayloadError,
    PermanentError,
    SourceUnavailable,
    TransientError,
)
from geopin_assets.http_client import AccessDenied
from geopin_assets.index.cloudflare import CloudflareApi, RequestTooLarge
from geopin_assets_tests.http_client.world import Server
from geopin_assets_tests.index.cloudflare.world import (
    ACCOUNT,
    DATABASES,
    TOKEN,
    api_of,
    api_on,
    body_of,
    failure,
    ran,
    result,
)


def test_a_call_goes_to_the_account_with_the_token_and_gives_the_result(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, result({"uuid": "u"}, 201), contact="mailto:data@example.org")
    assert api.call("POST", "d1/database", body={"name": "geopin"}, params={"page": 1}) == {"uuid": "u"}
    (request,) = server.requests
    assert (request.method, request.url.path, request.url.host) == ("POST", DATABASES, "api.cloudflare.com")
    assert request.url.params["page"] == "1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert "mailto:data@example.org" in request.headers["user-agent"]
    assert body_of(request) == {"name": "geopin"}


def test_success_false_with_status_200_is_an_error(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, failure(40023, "line Some(0) was not expected format", 200))
    with pytest.raises(PermanentError, match=r"^cloudflare: POST vectorize/x: answered 200 40023: line Some\(0\)"):
        api.call("POST", "vectorize/x", body=b"{}")
    assert len(server.requests) == 1


def test_a_statement_that_failed_inside_a_successful_answer_is_an_error(tmp_path: Path) -> None:
    api, _, _ = api_of(tmp_path, ran({"success": False, "error": "no such table: captures: SQLITE_ERROR"}))
    with pytest.raises(PermanentError, match="no such table"):
        api.call("POST", "d1/x")


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"success": True}),
        httpx.Response(200, html="<html>Log in</html>"),
        httpx.Response(200, content=b""),
    ],
    ids=["a list", "nothing in it", "no result", "a page", "empty"],
)
def test_an_answer_without_the_envelope_is_no_answer(tmp_path: Path, reply: httpx.Response) -> None:
    api, _, _ = api_of(tmp_path, reply, attempts=1)
    with pytest.raises((PayloadError, TransientError)):
        api.call("GET", "d1/x")


TRANSIENT = [
    failure(10001, "Internal server error", 500),
    failure(7009, "Upstream service unavailable", 504),
    failure(0, "timeout", 408),
    httpx.Response(502, html="<html>Bad gateway</html>"),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("cut"),
    httpx.Response(200, content=b'{"result": {'),
    *[
        failure(7500, message, status, [])
        for status in (200, 400, 500)
        for message in (
            "D1_ERROR: Network connection lost.",
            "D1 DB reset because its code was updated.",
            "Internal error while starting up D1 DB storage caused object to be reset.",
            "Internal error in D1 DB storage caused object to be reset.",
            "Cannot resolve D1 DB due to transient issue on remote node.",
            "D1 DB is overloaded. Requests queued for too long.",
            "D1 DB is overloaded. Too many requests queued.",
            "Currently processing a long-running import.",
        )
    ],
]
TOO_LARGE = [
    failure(0, "request body too large; max is 100000000 bytes", 413),
    httpx.Response(413, html="<html>Request Entity Too Large</html>"),
    failure(7500, "string or blob too big: SQLITE_TOOBIG", nothing=[]),
    failure(7500, "D1 DB's isolate exceeded its memory limit and was reset."),
    failure(7500, "D1 DB exceeded its CPU time limit and was reset.", 500),
    failure(7500, "D1 DB storage operation exceeded timeout which caused object to be reset.", 500),
    failure(7500, "D1 DB storage operation exceeded timeout which caused object to be reset.", nothing=[]),
    failure(40000, "too many vectors in payload; max vector count is 5000, got 5001"),
]
PERMANENT = [
    failure(7500, 'near "do": syntax error at offset 3: SQLITE_ERROR', nothing=[]),
    failure(7500, "too many SQL variables at offset 434: SQLITE_ERROR", nothing=[]),
    failure(40023, "failed to parse upsert vectors request in ndjson format: line Some(0) was not expected format"),
    failure(1005, "vectorize.unknown_content_type"),
    failure(40007, "too many ids in payload; max id count is 100, got 101"),
    failure(40000, "too many vectors in index; max vector count is 20000000"),
    failure(3000, "vectorize.index.not_found", 404),
    failure(7404, "The database could not be found", 404),
    httpx.Response(302, headers={"location": "https://dash.cloudflare.com/login"}),
]
DENIED = [
    failure(10000, "Authentication error", 401),
    failure(10000, "Authentication error", 403),
    failure(10000, "Authentication error", 400),
]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        *[(reply, TransientError) for reply in TRANSIENT],
        *[(reply, RequestTooLarge) for reply in TOO_LARGE],
        *[(reply, PermanentError) for reply in PERMANENT],
        *[(reply, AccessDenied) for reply in DENIED],
    ],
)
def test_errors_are_classed_by_what_a_retry_would_change(
    tmp_path: Path, reply: httpx.Response | Exception, expected: type[GeoPinError]
) -> None:
    api, server, _ = api_of(tmp_path, reply)
    with pytest.raises(expected) as caught:
        api.call("POST", "d1/x")
    assert type(caught.value) is expected
    assert len(server.requests) == (7 if expected is TransientError else 1)


def test_what_passes_is_tried_again_with_growing_waits(tmp_path: Path) -> None:
    lost = failure(7500, "Network connection lost.")
    api, server, clock = api_of(tmp_path, httpx.ReadTimeout("slow"), failure(0, "", 500), lost, lost, result(1))
    assert api.call("GET", "d1/x") == 1
    assert len(server.requests) == 5
    backoffs = [s for s in clock.sleeps if s >= 1]
    assert backoffs == sorted(backoffs)
    assert [int(s) for s in backoffs] == pytest.approx([1, 2, 4, 8], abs=1)


@pytest.mark.parametrize(("header", "wait_s"), [("90", 90), ("300", 300), ("299.5", 300), (None, 300), ("soon", 300)])
def test_after_429_nothing_is_sent_for_as_long_as_asked_or_for_the_length_of_a_block(
    tmp_path: Path, header: str | None, wait_s: float
) -> None:
    headers = {"retry_after": header} if header else {}
    blocked = failure(971, "Please wait and consider throttling your request speed", 429, **headers)
    api, server, _ = api_of(tmp_path, blocked, result(1))
    assert api.call("GET", "d1/x") == 1
    assert wait_s <= server.times[1] - server.times[0] <= wait_s + 2


def test_a_block_holds_for_every_product_and_every_client_of_the_installation(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, failure(971, "throttled", 429), attempts=1)
    with pytest.raises(TransientError, match="971: throttled"):
        api.call("GET", "d1/x")
    other, later, _ = api_of(tmp_path, result(1))
    assert other.call("GET", "vectorize/x") == 1
    assert later.times[0] - server.times[0] >= 300


def test_a_wait_longer_than_anyone_would_is_left_to_the_caller(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, failure(971, "throttled", 429, retry_after="3600"), max_wait_s=900)
    with pytest.raises(TransientError) as caught:
        api.call("GET", "d1/x")
    assert caught.value.retry_after_s == 3600
    with pytest.raises(SourceUnavailable):
        api.call("GET", "vectorize/x")
    assert len(server.requests) == 1


def test_a_thousand_requests_go_in_five_minutes_and_the_first_hundred_at_once(tmp_path: Path) -> None:
    api, server, clock = api_of(tmp_path, result(1))
    start = clock.now
    for _ in range(1_200):
        api.call("GET", "d1/x")
    assert sum(time == start for time in server.times) == 100
    assert max(server.times) - start == pytest.approx(1_100 / 3, abs=1)
    for first in server.times[::50]:
        assert sum(first <= time < first + 299.9 for time in server.times) <= 1_000


def test_a_product_that_is_down_does_not_hold_up_the_other(tmp_path: Path) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        return failure(0, "down", 500) if "/d1/" in request.url.path else result(1)

    api, server, _ = api_of(tmp_path, reply)
    for _ in range(3):
        with pytest.raises(TransientError):
            api.call("GET", "d1/x")
    assert len(server.requests) == 14  # then the breaker
    assert api.call("GET", "vectorize/x") == 1


def test_a_product_that_one_process_found_down_is_not_asked_by_another(tmp_path: Path) -> None:
    _, _, clock = api_of(tmp_path, result(1))
    server = Server([result(1), result(1), failure(0, "down", 500)], clock)
    first, second = api_on(server, tmp_path, clock), api_on(server, tmp_path, clock)
    assert (first.call("GET", "d1/x"), second.call("GET", "d1/x")) == (1, 1)  # both have heard of it
    for _ in range(2):
        with pytest.raises(TransientError):
            first.call("GET", "d1/x")
    with pytest.raises(SourceUnavailable, match="down"):
        second.call("GET", "d1/x")
    assert len(server.requests) == 2 + 14


def test_a_denied_token_is_not_tried_again_and_the_message_says_what_to_check(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, failure(10000, "Authentication error", 403))
    for _ in range(2):
        with pytest.raises(PermanentError, match="10000: Authentication error; check the API token, its permissions"):
            api.call("GET", "d1/x")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        failure(7003, f"Could not route to {DATABASES}/{TOKEN}, perhaps your object identifier is invalid?", 404),
        failure(10000, f"Bearer {TOKEN} is unknown", 401),
        failure(0, f"token={TOKEN}", 500),
        httpx.ConnectError(f"cannot reach with Bearer {TOKEN}"),
        httpx.Response(400, text=f"{TOKEN}?"),
        httpx.Response(200, html=f"<p>{TOKEN}</p>"),
    ],
)
def test_neither_token_nor_account_is_in_messages_logs_or_representations(
    tmp_path: Path, reply: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api, _, _ = api_of(tmp_path, reply, attempts=2)
    with pytest.raises(GeoPinError) as caught:
        api.call("GET", "d1/database")
    shown = f"{caught.value} {caught.value!r} {api!r} {api.account_key}"
    for secret in (TOKEN, "t0p%2Fs3cr3t", ACCOUNT):
        assert secret not in shown
    assert TOKEN not in caplog.text
    assert "d1/database" in shown


def test_so_many_calls_are_under_way_at_once_and_no_more(tmp_path: Path) -> None:
    under_way, most, pair = [], [], Barrier(2, timeout=60)

    def reply(_: httpx.Request) -> httpx.Response:
        under_way.append(1)
        most.append(len(under_way))
        pair.wait()  # for another one: there are two
        under_way.pop()
        return result(1)

    api, _, _ = api_of(tmp_path, reply, max_concurrency=2)
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda _: api.call("GET", "d1/x"), range(6))) == [1] * 6
    assert max(most) == 2


def test_an_upload_goes_elsewhere_without_the_token_and_gives_its_etag(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, httpx.Response(200, headers={"etag": '"abc"'}))
    assert api.upload("https://storage.example/file?signature=x", b"INSERT") == "abc"
    (request,) = server.requests
    assert (request.method, request.content, request.headers["content-length"]) == ("PUT", b"INSERT", "6")
    assert "authorization" not in request.headers


def test_an_upload_address_that_expired_is_not_tried_again(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, httpx.Response(403, text="<Error>ExpiredRequest</Error>"))
    with pytest.raises(SourceUnavailable, match="not accepted any more"):
        api.upload("https://storage.example/file?signature=s1gn", b"INSERT")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("account", "token"), [("", TOKEN), (ACCOUNT, "")])
def test_without_account_or_token_there_is_no_client(tmp_path: Path, account: str, token: str) -> None:
    with pytest.raises(ConfigurationError, match="needs an account id and an API token"):
        CloudflareApi(account, token, rate_place=tmp_path / "rate.sqlite")


def test_a_token_with_a_line_end_is_refused_without_being_shown(tmp_path: Path) -> None:
    api = CloudflareApi(ACCOUNT, f"{TOKEN}\n", rate_place=tmp_path / "rate.sqlite")
    with pytest.raises(ConfigurationError, match="header Authorization") as caught:
        api.call("GET", "d1/x")
    assert TOKEN not in str(caught.value)
    api.close()
