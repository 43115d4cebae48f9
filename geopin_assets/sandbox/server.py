"""The sandbox server: the stand-ins as one ASGI app, and how to run it on loopback.

Here: /health, /stats, /faults, starting and sharing one server. Not here: any source's routes.

    GET    /health   {"geopin_sandbox": "<world version>"}
    GET    /stats    requests by source and kind since the start
    POST   /faults   {"source": "amsterdam", "status": 500, "bbox": [w, s, e, n]} or {"vanish": ["<id>", …]}
    DELETE /faults   everything as it was
"""

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from http.client import HTTPConnection, HTTPException

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from geopin_assets.errors import ConfigurationError
from geopin_assets.sandbox.amsterdam import AmsterdamStandIn
from geopin_assets.sandbox.panoramax import PanoramaxStandIn
from geopin_assets.sandbox.photos import write_photos
from geopin_assets.sandbox.state import Fault, Sandbox
from geopin_assets.sandbox.world import World, build_world
from geopin_assets.settings import Settings

HOST = "127.0.0.1"
_HEALTH = "geopin_sandbox"
_POLL_S = 0.1
_START_S = 20


def create_app(world: World, base_url: str, faults: Iterable[Fault] | None = None) -> Starlette:
    """The ASGI app. `base_url` starts every href it hands out; no trailing slash."""
    sandbox = Sandbox(world, base_url, list(faults or ()))

    async def health(request: Request) -> Response:
        return JSONResponse({_HEALTH: world.version})

    async def stats(request: Request) -> Response:
        return JSONResponse(dict(sandbox.requests))

    async def set_fault(request: Request) -> Response:
        try:
            _apply(sandbox, await request.json())
        except (TypeError, ValueError) as error:
            return JSONResponse({"message": str(error)}, 400)
        return JSONResponse({"faults": len(sandbox.faults), "vanished": len(sandbox.vanished)})

    async def clear_faults(request: Request) -> Response:
        sandbox.faults.clear()
        sandbox.vanished.clear()
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/stats", stats),
            Route("/faults", set_fault, methods=["POST"]),
            Route("/faults", clear_faults, methods=["DELETE"]),
            Mount("/panoramax", routes=PanoramaxStandIn(sandbox).routes()),
            Mount("/amsterdam", routes=AmsterdamStandIn(sandbox).routes()),
        ]
    )


def _apply(sandbox: Sandbox, body: dict[str, object]) -> None:
    """Add one fault or some vanished ids. Raises TypeError or ValueError for a body that says neither."""
    if "vanish" in body:
        sandbox.vanished.update(body["vanish"])  # type: ignore[call-overload]
        return
    unknown = body.keys() - {field.name for field in fields(Fault)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    sandbox.faults.append(Fault(**body))  # type: ignore[arg-type]


def serve(settings: Settings) -> None:
    """Run the server in the foreground until interrupted. Raises ConfigurationError if the port is taken."""
    world = build_world()
    write_photos(settings.data_dir / "sandbox" / "own_photos", world)
    listener = _bind(settings.sandbox_port)
    if listener is None:
        raise ConfigurationError(f"port {settings.sandbox_port} is taken; set GEOPIN_SANDBOX_PORT to a free one")
    with listener:
        _server(settings).run(sockets=[listener])


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """A sandbox at `settings.sandbox_url` for the duration; yields that address.

    Processes share one server: whoever binds the port first serves, the others stand by and take
    over within a moment when it ends. Raises ConfigurationError if something else has the port.
    """
    world = build_world()
    write_photos(settings.data_dir / "sandbox" / "own_photos", world)
    stop = threading.Event()
    keeper = threading.Thread(target=_keep_serving, args=(settings, stop), name="sandbox", daemon=True)
    keeper.start()
    try:
        _await_health(settings, world)
        yield settings.sandbox_url
    finally:
        stop.set()
        keeper.join()


def _keep_serving(settings: Settings, stop: threading.Event) -> None:
    """Serve as soon as the port is free, until told to stop."""
    while not stop.is_set():
        listener = _bind(settings.sandbox_port)
        if listener is None:
            stop.wait(_POLL_S)
            continue
        with listener:
            server = _server(settings)
            stopper = threading.Thread(target=lambda: (stop.wait(), setattr(server, "should_exit", True)), daemon=True)
            stopper.start()
            server.run(sockets=[listener])


def _server(settings: Settings) -> uvicorn.Server:
    app = create_app(build_world(), settings.sandbox_url)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))


def _bind(port: int) -> socket.socket | None:
    """A listening socket on loopback, or None when the port is taken."""
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return None


def _await_health(settings: Settings, world: World) -> None:
    """Wait until a sandbox of this world answers. Raises ConfigurationError if anything else does, or nothing."""
    stop = threading.Event()
    for _ in range(int(_START_S / _POLL_S)):
        answer = _health(settings.sandbox_port)
        if answer == world.version:
            return
        if answer is not None:
            raise ConfigurationError(
                f"port {settings.sandbox_port} answers, but is not this sandbox ({_HEALTH}={answer!r}, "
                f"expected {world.version!r}); stop it or set GEOPIN_SANDBOX_PORT to a free port"
            )
        stop.wait(_POLL_S)
    raise ConfigurationError(f"port {settings.sandbox_port} is taken and does not answer; set GEOPIN_SANDBOX_PORT")


def _health(port: int) -> str | None:
    """The world version at /health, "" for a server that is no sandbox, None when nothing answers."""
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read())[_HEALTH])
    except (ConnectionError, TimeoutError):
        return None
    except (HTTPException, ValueError, KeyError, TypeError):
        return ""
    finally:
        connection.close()
