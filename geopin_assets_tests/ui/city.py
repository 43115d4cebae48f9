"""An invented Amsterdam for stories told in the UI: its sources, their stand-ins in a process, and faults in them."""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from http.client import HTTPConnection
from multiprocessing import get_context

import uvicorn

from geopin_assets.cells import cell
from geopin_assets.regions import region
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.streets.world import World
from geopin_assets.sources import source_named
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.sources.invented import Truth

CELLS = region("nh-amsterdam")
HOST = "127.0.0.1"


def world(cells_by_source: dict[str, Sequence[str]]) -> World:
    """One capture of each source in the middle of each of its cells."""
    truths = (
        Truth.at(source_named(name), [cell(cell_id).bbox.center for cell_id in cell_ids])
        for name, cell_ids in cells_by_source.items()
    )
    return World(tuple(shot for truth in truths for shot in truth.world.shots))


def _serve(port: int, cells_by_source: dict[str, Sequence[str]]) -> None:
    app = create_app(world(cells_by_source), f"http://{HOST}:{port}")
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False, lifespan="off")


@contextmanager
def served(cells_by_source: dict[str, Sequence[str]]) -> Iterator[int]:
    """The port of the stand-ins, in a process of their own."""
    port = free_port()
    process = get_context("spawn").Process(target=_serve, args=(port, cells_by_source), daemon=True)
    process.start()
    try:
        await_port(port)
        yield port
    finally:
        process.kill()
        process.join()


def await_port(port: int, patience_s: float = 600) -> None:
    """Return once something listens."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline_s, f"nothing listens on {port}"
            time.sleep(0.1)


def break_cell(port: int, source: str, cell_id: str) -> None:
    """From now on the source answers every request for this cell with an error."""
    _faults(port, "POST", {"source": source, "status": 500, "bbox": astuple(cell(cell_id).bbox)})


def repair(port: int) -> None:
    _faults(port, "DELETE")


def _faults(port: int, method: str, body: object = None) -> None:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request(method, "/faults", None if body is None else json.dumps(body))
    assert connection.getresponse().status < 300
    connection.close()
