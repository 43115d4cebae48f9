"""Work in processes of its own, where each step that changes a file or asks a server is counted, the last, or refused.

Here: the library that counts (`steps.c`, preloaded, so that DuckDB, SQLite, Arrow, Lance and Python are counted alike),
a process that has imported everything and forks one for each piece of work, and how those end. Not here: work
(`work.py`), or what must hold afterwards.
"""

import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

COUNT, KILL, FAIL = range(3)
COMPILER = shutil.which("cc")


@dataclass(frozen=True, slots=True)
class Task:
    """A function of the module of work by its name, with its arguments, and what befalls it.

    `mode` KILL: the process ends at step `at`. FAIL: from step `at` on each is refused with `errno`. `under`: only
    steps below this folder count. `told`: a file that gets a line for each step, the path it concerns or "network".
    """

    work: str
    arguments: Mapping[str, Any]
    mode: int = COUNT
    at: int = 0
    errno: int = 0
    under: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: the signal that ended it and what it was about to do, or what it returned or raised."""

    signal: int
    killed_at: str = ""
    returned: Any = None
    error: str = ""
    steps: int = 0
    peak_mb: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class Workers:
    """Runs tasks, those of one call at the same time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, *tasks: Task) -> list[Ended]:
        """Wait for all of them."""
        assert self._process.stdin and self._process.stdout
        words = [astuple(task) for task in tasks]
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]

    def one(self, task: Task) -> Ended:
        """One alone."""
        (ended,) = self.run(task)
        return ended


@contextmanager
def workers(folder: Path, work: str = "geopin_assets_tests.faults.work") -> Iterator[Workers]:
    """Workers, their library built in `folder` by the C compiler that `COMPILER` is. `work`: a module with `warm`, what
    is done before anything is forked, and `do`, which does a task.
    """
    assert COMPILER
    library = folder / "steps.so"
    source = Path(__file__).with_name("steps.c")
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environ = os.environ | {"LD_PRELOAD": str(library)}
    words = [*own_mounts(), sys.executable, "-m", "geopin_assets_tests.faults.steps", work]
    with (
        (folder / "workers.log").open("w") as log,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environ
        ) as process,
    ):
        try:
            yield Workers(process)
        finally:
            assert process.stdin
            process.stdin.close()


@cache
def own_mounts() -> list[str]:
    """What gives a command disks of its own, or nothing where that is not allowed."""
    for words in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            command = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return words
        except FileNotFoundError:
            break
    return []


def _serve() -> None:
    """In the process that forks: a line of tasks in, a line of how they ended out."""
    work = import_module(sys.argv[1])
    os.environ.pop("LD_PRELOAD")  # not for what the work itself starts
    work.warm()
    gc.collect()
    gc.freeze()  # no search for garbage looks at what is loaded, nor copies its pages into each process
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        started = [_start(work, *words) for words in json.loads(line)]
        answers.write(json.dumps([_end(*one) for one in started]) + "\n")
        answers.flush()


def _start(
    work: Any, name: str, arguments: dict[str, Any], mode: int, at: int, errno: int, under: str, told: str
) -> tuple[int, int, float]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader, time.monotonic()
    library = ctypes.CDLL(None)
    library.steps_count.restype = ctypes.c_long
    said: dict[str, Any] = {}
    tell = os.open(told, os.O_WRONLY | os.O_CREAT) if told else writer if mode == KILL else -1
    try:
        library.steps_arm(mode, ctypes.c_long(at), errno, under.encode(), tell)
        said = {"returned": work.do(name, arguments)}
    except BaseException as error:  # noqa: BLE001 whatever ends it is the answer
        said = {"error": f"{type(error).__name__}: {error}"}
        traceback.print_exc()
    steps = library.steps_count()
    library.steps_arm(COUNT, ctypes.c_long(0), 0, b"", -1)
    os.write(writer, json.dumps(said | {"steps": steps}).encode())
    sys.stderr.flush()
    os._exit(0)


def _end(pid: int, reader: int, started: float) -> dict[str, Any]:
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    ended = {
        "signal": signal,
        "peak_mb": usage.ru_maxrss // 1024,
        "seconds": time.monotonic() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }
    return ended | ({"killed_at": said.decode().partition("\n")[0]} if signal else json.loads(said))


if __name__ == "__main__":
    _serve()
