"""The process that untrusted images are decoded in: what it is told and says, and its limits.

Here: the process itself. Not here: decoding (`decoding.py`), who starts it and what its end means (`decoders.py`).
Importing this imports little: that is what a start takes.

    told  length of the data, least width and height       says  pixels: height, width
          (a byte: go on)                                         failure: length of its text
                                                                  needs: so many bytes of memory, before it goes on

Data and pixels, or the text of a failure, are in memory that both sides see.
"""

import contextlib
import mmap
import resource
import signal
import socket
import struct
from enum import IntEnum

import numpy as np

from geopin_assets.embedding.decoding import decode_image
from geopin_assets.embedding.jpeg import Jpeg
from geopin_assets.embedding.protocol import Failure
from geopin_assets.files.memory import limit, mapped_bytes

MAX_BYTES = 64 * 2**20
SHARED_BYTES = MAX_BYTES + 3 * Jpeg.max_pixels
"""The data, and behind it pixels. Pages that nothing was written to take no memory."""
UNASKED_BYTES = 16 * 2**20
"""Working memory that it need not ask for: an image of 5 Mpx."""
REQUEST, ANSWER = struct.Struct("<QII"), struct.Struct("<BQQ")


class Said(IntEnum):
    """The first number of an answer."""

    PIXELS = 0
    FAILURE = 1
    NEEDS = 2


def received(line: socket.socket, size: int) -> bytes:
    """So many bytes. Raises OSError if they do not come."""
    data = line.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionResetError
    return data


def serve(descriptor: int, file: int, cpu_ms: int, memory_bytes: int) -> None:
    """Decode what is asked for, one after another, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks
    shared = mmap.mmap(file, SHARED_BYTES)
    limit(resource.RLIMIT_AS, mapped_bytes() + memory_bytes)
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        limit(what, 0)
    with socket.socket(fileno=descriptor) as line, contextlib.suppress(OSError):
        line.sendall(b"\1")
        while True:
            length, width, height = REQUEST.unpack(received(line, REQUEST.size))
            signal.setitimer(signal.ITIMER_PROF, cpu_ms / 1000)  # of all threads; nobody hears SIGPROF: it ends us
            line.sendall(_answer(line, shared, length, (width, height)))


def _answer(line: socket.socket, shared: mmap.mmap, length: int, at_least: tuple[int, int]) -> bytes:
    def reserve(amount: int) -> None:
        if amount > UNASKED_BYTES:
            line.sendall(ANSWER.pack(Said.NEEDS, amount, 0))
            received(line, 1)

    room = np.ndarray((SHARED_BYTES - MAX_BYTES,), np.uint8, shared, MAX_BYTES)
    found = decode_image(shared[:length], at_least=at_least, into=room, reserve=reserve)
    if isinstance(found, Failure):
        text = f"{found.reason}\n{found.detail}".encode(errors="replace")
        shared[: len(text)] = text
        return ANSWER.pack(Said.FAILURE, len(text), 0)
    if found.ctypes.data != room.ctypes.data:
        room[: found.size] = found.reshape(-1)
    return ANSWER.pack(Said.PIXELS, *found.shape[:2])
