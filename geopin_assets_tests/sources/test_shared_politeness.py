"""Two processes and one source: over a real socket the server sees one polite client."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from geopin_assets_tests.files.processes import end, start

RATE, EACH = 20, 12
PAGE = {"_links": {"next": {"href": None}}, "count": 0, "_embedded": {"panoramas": []}}
CRAWL = """
    import sys, pathlib, time
    from geopin_assets.errors import GeoPinError
    from geopin_assets.grid import Cell, bounds
    from geopin_assets.settings import Settings
    from geopin_assets.sources import open_source
    from geopin_assets.sources.crawl import crawl_cells
    folder, port, rate, first, count = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
    variables = {"GEOPIN_AMSTERDAM_REQUESTS_PER_SECOND": str(rate)}
    settings = Settings(data_dir=folder, sandbox_port=port, variables=variables)
    cells = [Cell(f"c{n}", bounds(86 + n // 8, 48 + n % 8)) for n in range(first, first + count)]
    with open_source("amsterdam", settings) as source:
        print(time.monotonic(), flush=True)
        for cell, outcome in crawl_cells(source, cells):
            print(type(outcome).__name__, flush=True)
"""


@contextmanager
def server(status: int = 200, **headers: str) -> Iterator[tuple[int, list[float]]]:
    """(port, when each request came)."""
    came: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def do_GET(self) -> None:
            came.append(time.monotonic())
            content = json.dumps(PAGE).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.daemon_threads = True
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield serving.server_port, came
        finally:
            serving.shutdown()
            thread.join()


def outcomes(code: str, *arguments: object) -> list[str]:
    status, said = end(start(code, *arguments))
    assert status == 0
    return said.split()[1:]


def test_two_processes_keep_the_rate_of_one(tmp_path: Path) -> None:
    with server() as (port, came):
        both = [start(CRAWL, tmp_path, port, RATE, EACH * n, EACH) for n in (0, 1)]
        said = [end(process) for process in both]
    began, ended = zip(*(told.split("\n", 1) for _, told in said), strict=True)
    assert ended == ("CellCrawl\n" * EACH,) * 2 and len(came) == 2 * EACH
    # since the first of them began: a busy machine may hold up its request on the way, which hurries no other
    assert came[-1] - min(map(float, began)) >= (2 * EACH - 1) / RATE


def test_a_pause_asked_of_one_process_is_kept_by_the_next(tmp_path: Path) -> None:
    with server(429, Retry_After="3600") as (port, came):
        assert outcomes(CRAWL, tmp_path, port, RATE, 0, 1) == ["TransientError"]
        assert outcomes(CRAWL, tmp_path, port, RATE, 1, EACH) == ["SourceUnavailable"] * EACH
    assert len(came) == 1
