"""Untrusted images are decoded in processes of their own, which can be ended.

Here: starting such processes, asking them, and what their end means for an image. Not here: the process itself
(`decoder_process.py`), which images are tried at all (`attempts.py`). A process that an image took over can lie about a
picture and no more: numbers and a line of text come back, and it has no environment, so no keys.

Pixels are read where they were decoded, in memory that is used again and again: an image of 134 kB costs 0.1 ms more
than without all this.
"""

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from geopin_assets.embedding.decoder_process import ANSWER, MAX_BYTES, REQUEST, SHARED_BYTES, Said, received
from geopin_assets.embedding.decoding import FLAT_AT_LEAST
from geopin_assets.embedding.protocol import Failure, FailureReason, Image
from geopin_assets.embedding.stages import ThreadMemory
from geopin_assets.errors import TransientError

WORKING_BYTES = 512 * 2**20
"""For decoding, in all processes together. What needs more is decoded alone: 0.8 GB at most; 0.4 for a PNG of 100 Mpx,
0.6 for a WebP of 40."""
_memory = ThreadMemory(WORKING_BYTES)
_TRIES = 2
_LONGEST_TEXT = 64 * 2**10  # of a failure; whoever took the process over could have us copy all that is shared
_KEPT_BYTES = 64 * 2**20
"""Memory for more pixels than that is given back after use."""
_COMMAND = "import sys; from geopin_assets.embedding.decoder_process import serve; serve(*map(int, sys.argv[1:]))"
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of such a process, for one image."""

    cpu_s: float = 20.0
    """The most costly of true ones, a progressive JPEG of 100 Mpx in 64 scans, takes 5."""
    wall_s: float = 120.0
    """For one that takes no CPU time either."""
    memory_bytes: int = 1280 * 2**20
    """Beside what both sides see; a progressive CMYK JPEG of 100 Mpx takes 0.8 GB."""


class Decoder:
    """One such process, started when it is needed and again after it ended. For one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._file = _file_in_memory()
        self._shared = mmap.mmap(self._file, SHARED_BYTES)
        self._process: subprocess.Popen[bytes] | None = None
        self._bytes = 0

    def decode(self, data: bytes, *, at_least: tuple[int, int] = FLAT_AT_LEAST) -> Image | Failure:
        """`decode_image`; the pixels are good until the next call.

        Never raises for an image; raises TransientError if the process cannot be started.
        """
        if len(data) > MAX_BYTES:
            return Failure(FailureReason.TOO_LARGE, f"{len(data)} bytes")
        self._shared[: len(data)] = data
        for _ in range(_TRIES):
            try:
                return self._ask(len(data), at_least)
            except (OSError, ValueError, TypeError):  # it ended, does not answer, or says what it cannot mean
                failure = self._ended()
                if failure.reason is FailureReason.TOO_COSTLY:
                    break
        return failure

    def forget(self) -> None:
        """The pixels are not needed any more; many of them would go on taking memory."""
        if self._bytes > _KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._shared.madvise(mmap.MADV_REMOVE, 0, SHARED_BYTES)
        self._bytes = 0

    def close(self) -> None:
        """End the process and give back what it shared."""
        self._end()
        with contextlib.suppress(BufferError):  # somebody still looks at pixels: the memory goes with them
            self._shared.close()
        os.close(self._file)

    def _ask(self, length: int, at_least: tuple[int, int]) -> Image | Failure:
        if self._process is None:
            self._process = self._started()
        self._line.sendall(REQUEST.pack(length, *at_least))
        said, first, second = ANSWER.unpack(received(self._line, ANSWER.size))
        if said == Said.NEEDS:
            with _memory.taken(first):
                self._line.sendall(b"\1")
                said, first, second = ANSWER.unpack(received(self._line, ANSWER.size))
        if said == Said.FAILURE:
            if first > _LONGEST_TEXT:
                raise ValueError(first)
            reason, _, detail = self._shared[:first].decode().partition("\n")
            return Failure(FailureReason(reason), detail)
        if said != Said.PIXELS:
            raise ValueError(said)
        pixels: Image = np.ndarray((first, second, 3), np.uint8, self._shared, MAX_BYTES)
        self._bytes = pixels.nbytes
        return pixels

    def _started(self) -> subprocess.Popen[bytes]:
        self._line, theirs = socket.socketpair()
        self._line.settimeout(self._limits.wall_s)
        with theirs:
            arguments = theirs.fileno(), self._file, round(1000 * self._limits.cpu_s), self._limits.memory_bytes
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _COMMAND, *map(str, arguments)],
                pass_fds=arguments[:2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        try:
            received(self._line, 1)
        except OSError as error:
            self._line.close()
            process.kill()
            raise TransientError(f"no process to decode images in: it ended with {process.wait()}") from error
        return process

    def _ended(self) -> Failure:
        """What the end of the process says of the image."""
        code = self._end()
        if code == -signal.SIGPROF:
            return Failure(FailureReason.TOO_COSTLY, f"not decoded after {self._limits.cpu_s:g} s of CPU")
        return Failure(FailureReason.CRASHED, f"the process that decoded it ended with {code}")

    def _end(self) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        self._line.close()
        try:
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


class Decoders:
    """As many as work at once. Use it as a context manager; leaving ends the processes."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._all: list[Decoder] = []
        self._idle: list[Decoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for decoder in self._all:
            decoder.close()

    @contextmanager
    def lent(self) -> Iterator[Decoder]:
        """A decoder for this thread alone; what it decoded is good within the context only."""
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = Decoder(self._limits)
            self._all.append(decoder)
        try:
            yield decoder
        finally:
            decoder.forget()
            self._idle.append(decoder)


def _file_in_memory() -> int:
    """A file without a name, as large as what both sides see."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("geopin-decoder")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, SHARED_BYTES)
    return descriptor


def _environment() -> dict[str, str]:
    """What finds the same libraries; `site` is left out, which would take a third of the start."""
    folders = [*(str(Path(folder).absolute()) for folder in sys.path), str(Path(__file__).parents[2])]
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(folders))}
