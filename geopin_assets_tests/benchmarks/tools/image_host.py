"""JPEGs as a source serves them, over HTTP from a process of their own, so that only the reading side is measured.

Here: street pictures of 1024 x 768 and 134 KB, which is the mean of Mapillary's thumbnails of that size, and a server
that answers from memory. Not here: servers with faults (`embedding/image_server.py`).
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.images import draw

GRAIN = 5.1
"""Gray levels of noise: with a camera's grain a rendered street takes as many bytes as a photo."""
QUALITY = 85


def street_jpegs(count: int, size: tuple[int, int] = (1024, 768)) -> list[bytes]:
    """So many different pictures, each time the same."""
    flat = (shot for shot in build_world().shots if not shot.drive.is_pano)
    return [_grainy(draw(shot), size, seed) for seed, shot in enumerate(itertools.islice(flat, count))]


def _grainy(picture: np.ndarray, size: tuple[int, int], seed: int) -> bytes:
    enlarged = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    noisy = enlarged + np.random.default_rng(seed).normal(0, GRAIN, enlarged.shape)
    buffer = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


@contextmanager
def image_host(jpegs: Sequence[bytes]) -> Iterator[str]:
    """Serve `jpegs` until left; yields what to put before a number: any number is an address."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, jpegs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        process.kill()
        process.join()


def _serve(parent: Connection, jpegs: Sequence[bytes]) -> None:
    asyncio.run(_serve_forever(parent, [_answer(jpeg) for jpeg in jpegs]))


async def _serve_forever(parent: Connection, answers: Sequence[bytes]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Client(answers), "127.0.0.1", 0, backlog=1024)
    parent.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _answer(jpeg: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b" % (len(jpeg), jpeg)


class _Client(asyncio.Protocol):
    """One connection: `GET /{number}` gets the picture of that number, counted around."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            number = int(request.split(b" ", 2)[1][1:])
            self._transport.write(self._answers[number % len(self._answers)])
            if b"\r\nConnection: close" in request:
                self._transport.close()
