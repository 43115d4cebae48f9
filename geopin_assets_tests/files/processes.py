"""Other processes, for tests of what several of them do at once and of what one leaves behind when it is killed.

They are forked from a process of this one's, which has imported what most of them need: importing it anew takes longer
than most of what they do. Each has an environment, a folder and pipes of its own, and ends like any other.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.connection import Connection, arbitrary_address
from pathlib import Path
from textwrap import dedent
from typing import Any

CHECKOUT = Path(__file__).parents[2]
_FORKING: Any = get_context("forkserver")
_FORKING.set_forkserver_preload(["geopin_assets_tests.files.imported"])


def fork_from_here() -> None:
    """What this process and those that are forked from it start, begins with all that it has imported by now.

    Otherwise each of them makes a new interpreter for it, that imports some of that. Of the versions whose insides are
    known; in others it stays so.
    """
    ours: Any = forkserver._forkserver  # type: ignore[attr-defined]
    if sys.version_info >= (3, 14):
        return
    resource_tracker.ensure_running()
    listener, (alive, held) = socket.socket(socket.AF_UNIX), os.pipe()
    listener.bind(address := arbitrary_address("AF_UNIX"))
    listener.listen()
    if not os.fork():
        try:
            os.close(held)
            forkserver.main(listener.detach(), alive, [])
        finally:
            os._exit(0)
    listener.close()
    os.close(alive)  # it ends with the last process that has the other end
    ours._forkserver_address, ours._forkserver_alive_fd, ours.ensure_running = address, held, lambda: None


class Started:
    """A process that runs some code: what `subprocess.Popen` offers of one with pipes for in and output, as text."""

    def __init__(self, code: str, arguments: tuple[str, ...]) -> None:
        theirs = [os.pipe(), os.pipe()]
        (their_in, to_them), (from_them, their_out) = theirs
        with Connection(their_in, writable=False) as taken, Connection(their_out, readable=False) as given:
            about = (code, arguments, dict(os.environ), str(CHECKOUT))
            self._process = _FORKING.Process(target=_run, args=(*about, taken, given), daemon=True)
            self._process.start()
        self.stdin, self.stdout = os.fdopen(to_them, "w"), os.fdopen(from_them)
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Below nought where a signal ended it."""
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired where it does not end in time."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        return code

    def communicate(self, told: str = "", timeout: float | None = None) -> tuple[str, None]:
        """What it says from now on, once it has ended; it is told this, and no more."""
        self.stdin.write(told)
        self._close(self.stdin)
        said = self.stdout.read()
        self.wait(timeout)
        self.stdout.close()
        return said, None

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self._close(self.stdin)
        self._process.join()
        self.stdout.close()

    @staticmethod
    def _close(pipe: Any) -> None:
        try:
            pipe.close()
        except BrokenPipeError:
            return  # it ended before it read all


def _run(
    code: str, arguments: tuple[str, ...], environ: dict[str, str], folder: str, taken: Connection, given: Connection
) -> None:
    """In the new process."""
    os.dup2(taken.fileno(), 0)
    os.dup2(given.fileno(), 1)
    taken.close()
    given.close()
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 the test's own


def start(code: str, *arguments: object) -> Started:
    """A process that runs the code, with the arguments in `sys.argv[1:]` and pipes for in and output."""
    return Started(dedent(code), tuple(map(str, arguments)))


def end(process: Started) -> tuple[int, str]:
    """Wait for one; its exit code and what it said."""
    said, _ = process.communicate(timeout=240)
    return process.wait(), said


@contextmanager
def at_work(code: str, *arguments: object) -> Iterator[Started]:
    """One that has printed its first line; killed at the end."""
    with start(code, *arguments) as process:
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
