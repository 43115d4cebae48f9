"""The sandbox that scenes share, and an account at Cloudflare for each folder that publishes there.

Here: addresses. An account's state lies in its folder, so a copy of the folder is a copy of the account. Not here: what
either answers (`geopin_assets/sandbox`, `geopin_assets_tests/cloudflare`).
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from geopin_assets.sandbox.server import CLOUDFLARE, HOST, app_of
from geopin_assets.sandbox.state import Sandbox
from geopin_assets.sandbox.streets.city import whole_world
from geopin_assets_tests.cloudflare import CloudflareEmulator, Lag, Limits

AT_ONCE, UNLIMITED = Lag(mutation_s=0.0, count_s=0.0), Limits(requests_per_window=1_000_000)


class Stand:
    """The sandbox on its port, and accounts beside it."""

    def __init__(self, port: int, sandbox: Sandbox, app: ASGIApp) -> None:
        self.port, self.sandbox, self._app = port, sandbox, app

    @contextmanager
    def account(self, folder: Path) -> Iterator[tuple[int, CloudflareEmulator]]:
        """A port with the same sandbox, and Cloudflare as it is in the folder."""
        with _listening() as (listener, port):
            origin = f"http://{HOST}:{port}/{CLOUDFLARE}"
            with CloudflareEmulator(folder, origin=origin, lag=AT_ONCE, limits=UNLIMITED) as emulator:
                app = Starlette(routes=[Mount(f"/{CLOUDFLARE}", app=emulator.app()), Mount("/", app=self._app)])
                with _served(app, listener):
                    yield port, emulator


@contextmanager
def stand() -> Iterator[Stand]:
    with _listening() as (listener, port):
        sandbox = Sandbox(whole_world(), f"http://{HOST}:{port}")
        app = app_of(sandbox)
        with _served(app, listener):
            yield Stand(port, sandbox, app)


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener, listener.getsockname()[1]


@contextmanager
def _served(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
