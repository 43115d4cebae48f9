"""A real HTTP server on loopback that serves images, and every fault a source may show."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

Respond = Callable[[BaseHTTPRequestHandler], None]


class ImageServer(ThreadingHTTPServer):
    """`routes[path]` answers; every path not in it is a 404. `hits` counts requests, `peak` those at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes: dict[str, Respond] = {}
        self.hits: Counter[str] = Counter()
        self.lock, self.active, self.peak = Lock(), 0, 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.hits[self.path] += 1
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
def image_server() -> Iterator[ImageServer]:
    server = ImageServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def body(data: bytes, *, announced: int | None = None) -> Respond:
    """200 with a body; `announced` is the Content-Length when it is to be wrong."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = announced is not None

    return respond


def status(code: int, location: str | None = None) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if location is not None:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return respond


def endless(chunk: bytes, pause_s: float = 0.0) -> Respond:
    """200 and a body without end or length."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(chunk)
            handler.wfile.flush()
            time.sleep(pause_s)

    return respond


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    handler.close_connection = True
