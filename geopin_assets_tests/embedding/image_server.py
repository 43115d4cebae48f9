"""A real HTTP server, on loopback unless told otherwise, that serves images, and every fault a source may show."""

import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler], None]


class ImageServer(ThreadingHTTPServer):
    """`routes[path]` answers; every path not in it is a 404.

    `hits` counts requests, `peak` those at once; `requests` holds their headers. `reached` holds the address at
    which each connection arrived.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # more than ask at once: whoever finds the queue full asks again after seconds

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.reached: list[str] = []
        super().__init__((host, port), _Handler)
        self.routes: dict[str, Respond] = {}
        self.hits: Counter[str] = Counter()
        self.requests: list[Mapping[str, str]] = []
        self.lock, self.active, self.peak = Lock(), 0, 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.reached.append(request.getsockname()[0].removeprefix("::ffff:"))
        super().process_request(request, client_address)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.hits[self.path] += 1
            server.requests.append(dict(self.headers.items()))
            server.active += 1
            server.peak = max(server.peak, server.active)
        try:
            server.routes.get(self.path, status(404))(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.active -= 1

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def image_server(host: str = "127.0.0.1", port: int = 0) -> Iterator[ImageServer]:
    server = ImageServer(host, port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def body(data: bytes, *, announced: int | None = None, **headers: str) -> Respond:
    """200 with a body; `announced` is the Content-Length when it is to be wrong; `content_type` is Content-Type."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = announced is not None

    return respond


def status(code: int, location: str | None = None, **headers: str) -> Respond:
    headers = headers | ({} if location is None else {"location": location})

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value.encode().decode("latin-1"))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return respond


def raw(*parts: bytes, then: Iterable[bytes] = (), pause_s: float = 0.0) -> Respond:
    """Bytes as they are in place of an answer, and then the connection is closed; `then` with pauses, if it ends."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        for part in itertools.chain(parts, then):
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(pause_s)

    return respond


def endless(chunk: bytes, pause_s: float = 0.0) -> Respond:
    """200 and a body without end or length."""
    return raw(b"HTTP/1.1 200 OK\r\n\r\n", then=itertools.repeat(chunk), pause_s=pause_s)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    handler.close_connection = True


@contextmanager
def listening(*, is_full: bool = False) -> Iterator[int]:
    """A port where connections are taken and nothing is ever said, or where no more connections fit."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0 if is_full else 8)
        if is_full:
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        yield server.getsockname()[1]
