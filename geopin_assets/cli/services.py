"""What `geopin ui` runs in a process of its own: Dagster's webserver and the reports behind the door, and the daemon.

`dagster dev` does the same with its webserver on a port of its own, which anything on this machine, and any page in
its browsers, may ask. Not here: the rules (`door.py`), or starting and stopping all of it (`ui.py`).
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from mimetypes import guess_type
from pathlib import Path

import uvicorn
from pmtiles.reader import Reader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geopin_assets.cli.door import REPORTS, Door
from geopin_assets.cli.try_page import try_page
from geopin_assets.defs.dagster_internals import webserver
from geopin_assets.defs.running.home import open_instance
from geopin_assets.errors import PermanentError
from geopin_assets.files.object_store import ObjectStore, Stored
from geopin_assets.locate import locate
from geopin_assets.platform.parts import Storage
from geopin_assets.quality.layers import FOLDER
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
_CLOSE_S = 5
_TILE = "application/vnd.mapbox-vector-tile"
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
_DAEMON_STOPS_S = 20


def main() -> int:
    """Serve at the port in the arguments until interrupted. Returns the exit code."""
    port, home, settings = int(sys.argv[1]), Path(os.environ["DAGSTER_HOME"]), Settings.from_env()
    listener = socket.create_server((HOST, port))
    with (
        listener,
        open_instance(is_served=True) as instance,
        webserver(instance, home / "workspace.yaml") as (dagster, workspace),
    ):
        door = Door(
            dagster,
            reports(Storage().quality()),
            try_page(locate),
            {f"http://{HOST}:{port}", f"http://localhost:{port}", settings.ui_url},
            settings.ui_token.get_secret_value(),
        )
        quiet = {"log_level": "warning", "access_log": False, "proxy_headers": False, "server_header": False}
        server = uvicorn.Server(uvicorn.Config(door, timeout_graceful_shutdown=_CLOSE_S, lifespan="off", **quiet))  # type: ignore[arg-type]
        with _daemon(workspace, server) as daemon:
            with suppress(KeyboardInterrupt):  # which is how it is stopped
                server.run(sockets=[listener])
            return daemon.poll() or 0


def reports(objects: ObjectStore) -> Starlette:
    """The objects of the store, under their place in the UI: no listing, nothing outside. And single tiles of layers,
    for programs that read no archives."""

    def report(request: Request) -> Response:
        key = request.path_params["key"]
        try:
            asked = _RANGE.fullmatch(request.headers.get("range", ""))
            if asked and (stored := objects.find(key)):
                return _part(objects, key, stored, int(asked[1]), int(asked[2] or stored.bytes))
            return Response(objects.get(key), media_type=guess_type(key)[0] or "application/octet-stream")
        except PermanentError:  # not there, or no plain name
            return Response(status_code=404)

    def tile(request: Request) -> Response:
        name, *at = (request.path_params[part] for part in ("name", "z", "x", "y"))
        try:
            found = Reader(partial(objects.get_range, f"{FOLDER}/{name}.pmtiles")).get(*at)
        except (PermanentError, ValueError, OverflowError):  # not there, or no tile of any map
            return Response(status_code=404)
        if found is None:
            return Response(status_code=204)
        return Response(found, headers={"content-encoding": "gzip"}, media_type=_TILE)

    of_tile = Route(f"{REPORTS}/{FOLDER}/{{name}}/{{z:int}}/{{x:int}}/{{y:int}}.mvt", tile)
    return Starlette(routes=[of_tile, Route(f"{REPORTS}/{{key:path}}", report)])


def _part(objects: ObjectStore, key: str, stored: Stored, first: int, last: int) -> Response:
    """The bytes of an object from first to last, as readers of large archives ask for them."""
    last = min(last, stored.bytes - 1)
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{stored.bytes}"})
    found = objects.get_range(key, first, last - first + 1)
    headers = {"content-range": f"bytes {first}-{last}/{stored.bytes}", "accept-ranges": "bytes"}
    return Response(found, status_code=206, headers=headers, media_type="application/octet-stream")


@contextmanager
def _daemon(workspace: Path, server: uvicorn.Server) -> Iterator["subprocess.Popen[bytes]"]:
    """Dagster's daemon for as long as the context lasts. Where it ends by itself, so does the server."""
    command = [sys.executable, "-m", "geopin_assets.cli.lifeline", "dagster._daemon", "run", "-w", str(workspace)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as daemon:

        def watch() -> None:
            daemon.wait()
            server.should_exit = True

        threading.Thread(target=watch, name="daemon", daemon=True).start()
        try:
            yield daemon
        finally:
            _stop(daemon)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask, then insist."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_DAEMON_STOPS_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main())
