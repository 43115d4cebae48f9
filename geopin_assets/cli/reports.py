"""The quality reports beside the UI: the map and its files on loopback, because no browser opens files from a page.

Not here: writing them (`quality/`). Where GEOPIN_REPORTS_URL is another machine's, nothing is served.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings

HOST = "127.0.0.1"


@contextmanager
def reports(settings: Settings) -> Iterator[None]:
    """Serve the folder of reports for as long as the context lasts. Raises ConfigurationError if the port is taken."""
    address = urlsplit(settings.reports_url)
    if address.hostname != HOST:
        yield
        return
    try:
        listener = socket.create_server((HOST, address.port or 80))
    except OSError as error:
        raise ConfigurationError(
            f"{settings.reports_url}: {error.strerror}; set GEOPIN_REPORTS_URL to a free port"
        ) from error
    server = uvicorn.Server(uvicorn.Config(_app(settings.quality_dir), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="reports", daemon=True)
    with listener:
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _app(folder: Path) -> Starlette:
    """The files of one folder; no listing, nothing outside of it."""
    folder.mkdir(parents=True, exist_ok=True)
    return Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
