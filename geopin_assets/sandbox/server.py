"""Running the sandbox on loopback, in the foreground or beside a command, and sharing it between processes.

Here: the ASGI app that mounts the stand-ins, ports, threads, the files that the sandbox provides, and where
Cloudflare's stand-in comes from. Not here: any source's routes.

    GET    /health   {"geopin_sandbox": "<world version>"}
    GET    /stats    requests by source and kind since the start
    POST   /faults   {"source": "amsterdam", "status": 500, "bbox": [w, s, e, n]}, see `state.py` for all kinds,
                     {"vanish": ["<id>", …]}, {"move": {"<id>": [lon, lat]}} or {"cap": {"panoramax": 10}};
                     in a checkout {"source": "cloudflare", "kind": "reset", "committed": true, "service": "d1",
                     "times": 1}, see `geopin_assets_tests/cloudflare/faults.py`
    DELETE /faults   everything as it was
"""

import importlib
import json
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from geopin_assets.errors import ConfigurationError, GeoPinError
from geopin_assets.sandbox.photos import write_photos, write_query_photos
from geopin_assets.sandbox.stand_ins.amsterdam import AmsterdamStandIn
from geopin_assets.sandbox.stand_ins.europeana import EuropeanaStandIn
from geopin_assets.sandbox.stand_ins.flickr import FlickrStandIn
from geopin_assets.sandbox.stand_ins.kartaview import KartaViewStandIn
from geopin_assets.sandbox.stand_ins.mapilio import MapilioStandIn
from geopin_assets.sandbox.stand_ins.mapillary import MapillaryStandIn
from geopin_assets.sandbox.stand_ins.panoramax import PanoramaxStandIn
from geopin_assets.sandbox.stand_ins.stac import StacStandIn
from geopin_assets.sandbox.stand_ins.wikimedia_commons import WikimediaCommonsStandIn
from geopin_assets.sandbox.state import CloudflareStandIn, Fault, Faulty, Sandbox
from geopin_assets.sandbox.streets.city import whole_world
from geopin_assets.sandbox.streets.images import paint_ahead
from geopin_assets.sandbox.streets.world import Shot, World
from geopin_assets.settings import Settings

HEALTH = "geopin_sandbox"
CLOUDFLARE = "cloudflare"


def create_app(
    world: World, base_url: str, faults: Iterable[Fault] | None = None, cloudflare: CloudflareStandIn | None = None
) -> Starlette:
    """The ASGI app over a world. `base_url` starts every href it hands out; no trailing slash."""
    return app_of(Sandbox(world, base_url, list(faults or ()), cloudflare=cloudflare))


def app_of(sandbox: Sandbox) -> Starlette:
    """The ASGI app over a state that the caller keeps a hand on."""

    async def health(request: Request) -> Response:
        return JSONResponse({HEALTH: sandbox.world.version})

    async def stats(request: Request) -> Response:
        published = sandbox.cloudflare.requests if sandbox.cloudflare else {}
        return JSONResponse({**sandbox.requests, **{f"{CLOUDFLARE}.{call}": n for call, n in published.items()}})

    async def set_fault(request: Request) -> Response:
        try:
            _apply(sandbox, await request.json())
        except (TypeError, ValueError) as error:
            return JSONResponse({"message": str(error)}, 400)
        published = sandbox.cloudflare.faults if sandbox.cloudflare else ()
        return JSONResponse({"faults": len(sandbox.faults) + len(published), "vanished": len(sandbox.vanished)})

    async def clear_faults(request: Request) -> Response:
        sandbox.clear()
        return Response(status_code=204)

    stand_ins = (
        MapillaryStandIn,
        KartaViewStandIn,
        PanoramaxStandIn,
        MapilioStandIn,
        AmsterdamStandIn,
        WikimediaCommonsStandIn,
        FlickrStandIn,
        EuropeanaStandIn,
        StacStandIn,
    )
    mounts = [Mount(f"/{s.name}", app=Faulty(Router(s(sandbox).routes()))) for s in stand_ins]
    if sandbox.cloudflare is not None:
        mounts.append(Mount(f"/{CLOUDFLARE}", app=sandbox.cloudflare.app()))
    return Starlette(
        routes=[
            Route("/health", health),
            Route("/stats", stats),
            Route("/faults", set_fault, methods=["POST"]),
            Route("/faults", clear_faults, methods=["DELETE"]),
            *mounts,
        ]
    )


def _apply(sandbox: Sandbox, body: object) -> None:
    """Add one fault, or captures and caps to change. Raises TypeError or ValueError for a body that says neither."""
    if not isinstance(body, dict):
        raise TypeError('a JSON object, {"source": …}, {"vanish": […]}, {"move": {…}} or {"cap": {…}}')
    if "vanish" in body:
        sandbox.vanished.update(map(str, body["vanish"]))
    elif "move" in body:
        sandbox.moved.update({str(id_): (float(lon), float(lat)) for id_, (lon, lat) in body["move"].items()})
    elif "cap" in body:
        sandbox.caps.update({str(source): int(cap) for source, cap in body["cap"].items()})
    elif body.get("source") == CLOUDFLARE:
        if sandbox.cloudflare is None:
            raise ValueError("there is no Cloudflare in this sandbox")
        sandbox.cloudflare.add_fault(**{key: body[key] for key in body if key != "source"})
    else:
        sandbox.faults.append(Fault(**body))


HOST = "127.0.0.1"
_POLL_S = 0.1
_START_S = 20
_ANSWERS_FIRST_S = 0.0005
"""What answers a request waits for whoever paints."""
_CHECKOUT = Path(__file__).parents[2]
_CLOUDFLARE_STAND_IN = "geopin_assets_tests.cloudflare"


def serve(settings: Settings) -> None:
    """Run the server in the foreground until interrupted. Raises ConfigurationError if the port is taken."""
    _check_cloudflare(settings)
    _write_files(settings)
    listener = _bind(settings.sandbox_port)
    if listener is None:
        raise ConfigurationError(f"port {settings.sandbox_port} is taken; set GEOPIN_SANDBOX_PORT to a free one")
    with listener, _cloudflare(settings) as cloudflare, suppress(KeyboardInterrupt):
        _server(settings, cloudflare).run(sockets=[listener])


@contextmanager
def running(settings: Settings, *, is_apart: bool = False, paints_ahead: bool = False) -> Iterator[str]:
    """A sandbox at `settings.sandbox_url` for the duration; yields that address.

    Processes share one server: whoever binds the port first serves, the others stand by and take
    over within a moment when it ends. Raises ConfigurationError if something else has the port.
    `is_apart`: who serves, does so in a process of its own. `paints_ahead`: every picture will be asked for.
    """
    _check_cloudflare(settings)
    is_first = is_apart and _health(settings.sandbox_port) is None
    keeper = _KeeperApart(settings, paints_ahead) if is_first else _Keeper(settings)
    keeper.start()
    try:
        _write_files(settings)
        _await_health(settings, keeper)
        yield settings.sandbox_url
    finally:
        keeper.stop()


class _Keeper(threading.Thread):
    """Serves as soon as the port is free, until told to stop."""

    def __init__(self, settings: Settings, tell: Callable[[str], object] | None = None) -> None:
        super().__init__(name="sandbox", daemon=True)
        self._settings, self._tell = settings, tell
        self._why_not = ""
        self._stopping = threading.Event()
        self._serving: uvicorn.Server | None = None

    def run(self) -> None:
        try:
            self._serve()
        except (GeoPinError, OSError, sqlite3.Error) as error:
            self._why_not = f"{type(error).__name__}: {error}"
            with suppress(OSError):  # whoever waited is gone
                if self._tell:
                    self._tell(self._why_not)

    def why_not(self) -> str:
        """Why it serves no more; empty while it does, or waits for the port."""
        return self._why_not

    def _serve(self) -> None:
        while not self._stopping.is_set():
            listener = _bind(self._settings.sandbox_port)
            if listener is None:
                self._stopping.wait(_POLL_S)
                continue
            with listener, _cloudflare(self._settings) as cloudflare:
                self._serving = _server(self._settings, cloudflare)
                if not self._stopping.is_set():
                    self._serving.run(sockets=[listener])

    def stop(self) -> None:
        """End the server, if this one has it, and wait for its end."""
        self._stopping.set()
        if self._serving is not None:
            self._serving.should_exit = True
        self.join()


class _KeeperApart:
    """A keeper in a process of its own: painting a picture takes as much CPU as looking at it.

    It ends with the pipe, so that a parent that was killed leaves nothing behind.
    """

    def __init__(self, settings: Settings, paints_ahead: bool) -> None:
        spawn = get_context("spawn")
        self._line, self._far_end = spawn.Pipe()
        arguments = settings, self._far_end, paints_ahead
        self._process = spawn.Process(target=_keep, args=arguments, name="sandbox", daemon=True)

    def start(self) -> None:
        self._process.start()
        self._far_end.close()

    def why_not(self) -> str:
        """As the keeper there told."""
        return str(self._line.recv()) if self._line.poll() else ""

    def stop(self) -> None:
        self._line.close()
        self._process.join()


def _keep(settings: Settings, line: Connection, paints_ahead: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the line
    keeper = _Keeper(settings, line.send)
    keeper.start()
    if paints_ahead:
        sys.setswitchinterval(_ANSWERS_FIRST_S)
        threading.Thread(target=paint_ahead, args=(_served_by_cell(),), daemon=True).start()
    with suppress(EOFError):
        line.recv()
    keeper.stop()


def _served_by_cell() -> list[Shot]:
    """Whatever this server shows, about in the order in which cells are done."""
    shots = (shot for shot in whole_world().shots if shot.drive.source not in ("own_photos", "query"))
    return sorted(shots, key=lambda shot: (shot.lat, shot.lon))


def _write_files(settings: Settings) -> None:
    write_photos(settings.data_dir / "own_photos", whole_world())
    write_query_photos(settings.data_dir / "queries")


def _has_cloudflare() -> bool:
    return (_CHECKOUT / _CLOUDFLARE_STAND_IN.replace(".", "/")).is_dir()


def _check_cloudflare(settings: Settings) -> None:
    """Raises ConfigurationError where the sandbox is to publish to a Cloudflare that did not come with it."""
    if settings.publishes_to_cloudflare and not _has_cloudflare():
        raise ConfigurationError(
            "GEOPIN_INDEX=cloudflare in the sandbox needs Cloudflare's stand-in, which comes with a checkout of the "
            "project and not with the installed package; GEOPIN_INDEX=embedded needs nothing"
        )


def _cloudflare(settings: Settings) -> AbstractContextManager[CloudflareStandIn | None]:
    """Opened by whoever has the port, so that one process at a time has its files; what was published stays."""
    if not _has_cloudflare():
        return nullcontext()
    if str(_CHECKOUT) not in sys.path:  # a command that was installed from the checkout finds the package alone
        sys.path.append(str(_CHECKOUT))
    opened: AbstractContextManager[CloudflareStandIn] = importlib.import_module(
        _CLOUDFLARE_STAND_IN
    ).CloudflareEmulator(settings.data_dir / CLOUDFLARE, origin=f"{settings.sandbox_url}/{CLOUDFLARE}")
    return opened


def _server(settings: Settings, cloudflare: CloudflareStandIn | None) -> uvicorn.Server:
    app = create_app(whole_world(), settings.sandbox_url, cloudflare=cloudflare)
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    )


def _bind(port: int) -> socket.socket | None:
    """A listening socket on loopback, or None when the port is taken."""
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return None


def _await_health(settings: Settings, keeper: _Keeper | _KeeperApart) -> None:
    """Wait until a sandbox of this world answers. Raises ConfigurationError if anything else does, or nothing."""
    version, pause = whole_world().version, threading.Event()
    for _ in range(int(_START_S / _POLL_S)):
        answer = _health(settings.sandbox_port)
        if answer == version:
            return
        if answer is not None:
            raise ConfigurationError(
                f"port {settings.sandbox_port} answers, but is not this sandbox ({HEALTH}={answer!r}, "
                f"expected {version!r}); stop it or set GEOPIN_SANDBOX_PORT to a free port"
            )
        if why := keeper.why_not():
            raise ConfigurationError(f"the stand-ins cannot be served from {settings.data_dir}: {why}")
        pause.wait(_POLL_S)
    raise ConfigurationError(f"port {settings.sandbox_port} is taken and does not answer; set GEOPIN_SANDBOX_PORT")


def _health(port: int) -> str | None:
    """The world version at /health, "" for a server that is no sandbox, None when nothing answers."""
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read())[HEALTH])
    except (ConnectionError, TimeoutError):
        return None
    except (HTTPException, ValueError, KeyError, TypeError):
        return ""
    finally:
        connection.close()
