"""Cloudflare's stand-in on a socket, in a process of its own, so that only the publishing side is measured.

Here: serving an account to each run, at once or at the pace of a line. Not here: what an account answers
(`geopin_assets_tests/cloudflare`), except that vectors are kept as the lines they came in: parsing 5,000 of them takes
the stand-in 0.7 s, beside which no client's cost would show. D1 is the stand-in's: it runs the SQL and counts the rows.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geopin_assets_tests.cloudflare import Answer, CloudflareEmulator, Lag, Limits, Request
from geopin_assets_tests.cloudflare.routes import Service, routed
from geopin_assets_tests.cloudflare.wire import CloudflareApp, accepted

AT_ONCE = Lag(mutation_s=0.0, count_s=0.0)
UNLIMITED = Limits(requests_per_window=1_000_000)


class Account:
    """An account of the stand-in whose vectors stay as they came."""

    def __init__(self, emulator: CloudflareEmulator) -> None:
        self._emulator = emulator
        self._lines: dict[str, bytes] = {}
        self._upserts = 0

    def answer(self, request: Request) -> Answer:
        call = routed(request)
        if call is None or call.service is not Service.VECTORIZE:
            return self._emulator.answer(request)
        if call.operation == "upsert":
            self._lines.update((_id(line), line) for line in request.body.splitlines())
            self._upserts += 1
            return accepted({"mutationId": str(self._upserts)})
        if call.operation == "info":
            known = orjson.loads(self._emulator.answer(request).body)["result"]
            return accepted(known | {"vectorCount": len(self._lines), "processedUpToMutation": str(self._upserts)})
        if call.operation == "get_by_ids":
            ids = orjson.loads(request.body)["ids"]
            return accepted([orjson.Fragment(self._lines[id_]) for id_ in ids if id_ in self._lines])
        return self._emulator.answer(request)


def _id(line: bytes) -> str:
    """Of `{"id":"…","values":…`."""
    return line[7 : line.index(b'"', 7)].decode()


@contextmanager
def cloudflare_host(prepared: Path, *, bytes_per_s: float | None = None) -> Iterator[str]:
    """Serve until left; yields what to put before a name: any name is an account, in the state in `prepared` at first.

    Copies are made beside `prepared`. Bodies of requests arrive at `bytes_per_s`, or as fast as they can.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, prepared, bytes_per_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        process.kill()
        process.join()


def _serve(parent: Connection, prepared: Path, bytes_per_s: float | None) -> None:
    asyncio.run(_serve_forever(parent, prepared, bytes_per_s))


async def _serve_forever(parent: Connection, prepared: Path, bytes_per_s: float | None) -> None:
    app = _Paced(_Accounts(prepared), bytes_per_s) if bytes_per_s else _Accounts(prepared)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False, lifespan="off"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    parent.send(server.servers[0].sockets[0].getsockname()[1])
    await serving


class _Accounts:
    """The first word of a path names the account, which is opened when it is first asked."""

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared
        self._apps: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].split("/")[1]
        if name not in self._apps:
            self._apps[name] = self._open(name, "http://{}:{}".format(*scope["server"]))
        await self._apps[name](scope, receive, send)

    def _open(self, name: str, address: str) -> ASGIApp:
        folder = shutil.copytree(self._prepared, self._prepared.with_name(name))
        emulator = CloudflareEmulator(folder, origin=f"{address}/{name}", lag=AT_ONCE, limits=UNLIMITED)
        return Starlette(routes=[Mount(f"/{name}", app=CloudflareApp(Account(emulator).answer))])


class _Paced:
    """Reads bodies no faster than one line would bring them all: the rest waits with the senders."""

    def __init__(self, app: ASGIApp, bytes_per_s: float) -> None:
        self._app, self._bytes_per_s = app, bytes_per_s
        self._free_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def paced() -> Message:
            message = await receive()
            now = perf_counter()
            self._free_at = max(now, self._free_at) + len(message.get("body", b"")) / self._bytes_per_s
            await asyncio.sleep(self._free_at - now)
            return message

        await self._app(scope, paced, send)
