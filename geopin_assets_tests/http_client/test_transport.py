"""Against a real server on loopback that misbehaves the way real ones do."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.http_client import HttpClient

DEADLINE_S = 0.3
OK = b"HTTP/1.1 200 OK\r\n"
Behavior = Callable[[socket.socket], None]


@contextmanager
def server(*behaviors: Behavior) -> Iterator[str]:
    """Serve one connection after another, each with the next behavior (the last one for ever)."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve(connection: socket.socket, behave: Behavior) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            behave(connection)

    def accept() -> None:
        for number in range(1000):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            behave = behaviors[min(number, len(behaviors) - 1)]
            threading.Thread(target=serve, args=(connection, behave), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/data"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=60)


def send(data: bytes) -> Behavior:
    return lambda connection: connection.sendall(data)


def drip(head: bytes, pause_s: float = 0.05) -> Behavior:
    def behave(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"1")
            time.sleep(pause_s)

    return behave


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


GOOD = send(OK + b"Content-Length: 9\r\nConnection: close\r\n\r\n[1, 2, 3]")


def asking(deadline_s: float, attempts: int) -> HttpClient:
    return HttpClient(
        "panoramax",
        requests_per_second=1000,
        deadline_s=deadline_s,
        attempts=attempts,
        max_bytes=10_000,
        sleep=lambda _: None,
    )


@pytest.fixture
def client() -> Iterator[HttpClient]:
    """Whom a busy machine does not make give up."""
    with asking(60, 2) as client:
        yield client


@pytest.fixture
def hasty() -> Iterator[HttpClient]:
    """With a deadline that tests can wait for; one of its tries gets a good answer, however busy the machine is."""
    with asking(DEADLINE_S, 8) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "behavior"),
    [
        ("the body drips", drip(OK + b"Content-Length: 100000\r\n\r\n")),
        ("the body drips without a length", drip(OK + b"\r\n")),
        ("the headers drip", drip(OK + b"X-Slow: ")),
        ("nothing comes", lambda connection: time.sleep(3)),
        ("half of the body comes", lambda c: (c.sendall(OK + b"Content-Length: 9\r\n\r\n[1,"), time.sleep(3))),
        ("the connection is reset", reset),
        ("the body is cut", send(OK + b"Content-Length: 9\r\nConnection: close\r\n\r\n[1,")),
        ("a chunk is cut", send(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\n[1,")),
        ("the body is cut without a length", send(OK + b"Connection: close\r\n\r\n[1,")),
        ("the body is empty", send(OK + b"Connection: close\r\n\r\n")),
        ("it is not HTTP", send(b"220 mail ready\r\n")),
        ("the packing is broken", send(OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n[1, 2, 3]")),
    ],
)
def test_a_broken_answer_is_retried_and_ends_within_its_deadline(name: str, behavior: Behavior, hasty: HttpClient):
    with server(behavior, GOOD) as url:
        assert hasty.get_json(url) == [1, 2, 3], name
    with (
        asking(DEADLINE_S, 2) as client,
        server(behavior) as url,
        pytest.raises(TransientError, match=r"^panoramax: GET /data"),
    ):
        client.get_json(url)


@pytest.mark.parametrize("head", [OK + b"Content-Length: 100000\r\n\r\n", OK + b"X-Slow: "])
def test_a_drip_cannot_hold_a_request_for_longer_than_its_deadline(head: bytes):
    """Socket timeouts start anew with each byte: this drip would last for minutes. Only its end is asserted."""
    started = time.monotonic()
    with (
        server(drip(head)) as url,
        HttpClient("x", attempts=1, deadline_s=DEADLINE_S) as client,
        pytest.raises(TransientError),
    ):
        client.get_bytes(url)
    assert time.monotonic() - started < 60


def test_an_oversize_body_is_given_up(client: HttpClient):
    with server(drip(OK + b"\r\n" + b"x" * 10_001)) as url, pytest.raises(PayloadError, match="larger than 10000"):
        client.get_bytes(url)


@pytest.mark.parametrize(
    "headers", [b"X-Policy: " + b"p" * 60_000 + b"\r\n", b"Set-Cookie: a=b\r\n" * 1_000], ids=["long", "many"]
)
def test_long_and_many_headers_are_read(headers: bytes, client: HttpClient):
    with server(send(OK + headers + b"Content-Length: 9\r\nConnection: close\r\n\r\n[1, 2, 3]")) as url:
        assert client.get_json(url) == [1, 2, 3]


def test_headers_that_no_buffer_is_large_enough_for_are_no_failure_of_the_source(client: HttpClient):
    flood = send(OK + b"X-Policy: " + b"p" * 400_000 + b"\r\n\r\n")
    with server(*[flood] * 12, GOOD) as url:
        for _ in range(12):  # one try each, and ten failures would have opened the breaker
            with pytest.raises(PayloadError, match="headers larger"):
                client.get_json(url)
        assert client.get_json(url) == [1, 2, 3]


def test_a_server_that_is_not_there_is_a_passing_failure(client: HttpClient):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransientError, match="ConnectError"):
        client.get_json(f"http://127.0.0.1:{port}/data")


def test_an_error_status_wins_over_a_body_that_never_ends(hasty: HttpClient):
    head = b"HTTP/1.1 500 Oops\r\n\r\n" + b"x" * 70_000
    with server(drip(head), GOOD) as url:
        assert hasty.get_json(url) == [1, 2, 3]


def test_threads_share_one_rate():
    times: list[float] = []

    def answer(connection: socket.socket) -> None:
        times.append(time.monotonic())
        GOOD(connection)

    with server(answer) as url, HttpClient("x", requests_per_second=20) as client:
        began = time.monotonic()  # a busy machine may hold up the first request, which hurries no other
        threads = [threading.Thread(target=client.get_json, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(times) == 8
    assert max(times) - began >= 7 / 20  # eight requests at 20 a second
