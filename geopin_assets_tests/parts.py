"""The suite in parts, several at once, each a process that pays for what its own tests load and gives it back.

`python -m geopin_assets_tests.parts [PART …] [what pytest is told …]`: all parts, or some. They are forked from one
process that has imported what nearly all of them need, since that takes longer than most parts' tests of a kind: 5 s.
What a part says is printed when it has ended; at the end stands what each took. Not here: tests that go into one part
together for a reason, which their own modules tell, or what each module took (`workers.py`).
"""

import atexit
import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryFile
from typing import IO

import pytest

import geopin_assets
from geopin_assets.cells import all_cells
from geopin_assets_tests.files.processes import fork_from_here
from geopin_assets_tests.instances import prepared_files
from geopin_assets_tests.platform import paint

ROOM = Path(__file__).parent
PARTS: dict[str, tuple[str, ...]] = {
    "ui": ("ui",),
    "runs": (
        *("defs/running/test_local_run.py", "defs/running/test_takedown.py", "defs/assets/test_thinning.py"),
        *("defs/assets/test_freshness.py", "defs/assets/test_left_grid.py", "defs/test_over_s3.py"),
        *("exchange/test_import.py", "exchange/test_withdrawing.py"),
    ),
    "defs": ("defs",),
    "others": (".",),
    "cli": ("cli", "contributing"),
    "sources": ("sources", "real/test_own_photos_walk.py"),
    "index": ("index", "cloudflare", "embedding/test_decoders.py"),
    "exchange": ("exchange", "defs/running"),
    "faults": ("faults", "docs"),
    "store": ("store",),
    "embedding": ("embedding",),
    "real": ("real",),
    "locate": ("locate",),
    "networks": ("embedding/model",),
    "models": ("cli/test_whiten.py", "defs/test_index_state.py", "files/test_plain.py"),
    "benchmarks": ("benchmarks",),
}
"""Folders and modules of tests; one below another's belongs to its own part alone, and what is new to `others`. The
longest come first, so that no core is left alone with one at the end; `ui` mostly waits. `runs` are those that go on
from one first run (`conftest.first_run`), which takes 5 s of CPU to make."""
AT_ONCE = (os.cpu_count() or 1) + 3
"""More than there are cores, as tests wait too."""
_LOADED = (
    *("aiohttp", "alembic.command", "hypothesis.strategies", "lance_namespace", "matplotlib.figure", "moto.server"),
    *(
        "pandas",
        "pyarrow.dataset",
        "scipy.optimize",
        "sqlalchemy.dialects.postgresql",
        "uvicorn",
        "websockets",
        "xdist",
    ),
)
WITH_PYTORCH = ("geopin_assets.embedding.model", "geopin_assets.locate.verify")
"""200 MB and two seconds, for those who need it."""
_NOT_LOADED = (*WITH_PYTORCH, "geopin_assets.definitions")
"""Definitions are as variables say."""
_LOADED_BEFORE = ("-W", "ignore:Module already imported so cannot be rewritten")
"""Plugins of pytest among them, whose assertions are none of ours."""


@dataclass(frozen=True, slots=True)
class Running:
    """A part that has begun, and where what it says goes."""

    name: str
    said: IO[bytes]
    began: float


def chosen(part: str) -> list[str]:
    """What pytest is told to collect for it."""
    own = PARTS[part]
    others = {path for name, paths in PARTS.items() if name != part for path in paths}
    inner = sorted(path for path in others - {"."} if any(one == "." or path.startswith(f"{one}/") for one in own))
    return [str(ROOM / path) for path in own] + [f"--ignore={ROOM / path}" for path in inner]


def load() -> None:
    """Import what is forked, and make what most parts would make for themselves. Nothing that asks threads later on: a
    fork has none but the one that forks."""
    for name in _LOADED:
        import_module(name)
    for module in walk_packages(geopin_assets.__path__, "geopin_assets."):
        if not module.name.startswith(_NOT_LOADED) and not module.name.endswith(("__main__", "celery_worker")):
            with suppress(ModuleNotFoundError):  # of an extra that is not installed
                import_module(module.name)
    prepared_files()
    all_cells()
    paint()
    gc.collect()
    gc.freeze()  # no search for garbage looks at what is loaded, nor copies its pages into each process
    fork_from_here()


def begin(part: str, told: Sequence[str]) -> tuple[int, Running]:
    """Start one; its process id too."""
    running = Running(part, TemporaryFile(), time.monotonic())  # noqa: SIM115 until it has ended
    if pid := os.fork():
        return pid, running
    for stream in (1, 2):
        os.dup2(running.said.fileno(), stream)
    code = 1
    try:
        code = pytest.main([*chosen(part), *_LOADED_BEFORE, *told])
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 it ends here, whatever ended it
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries would look for threads that only the other process has


def end(running: Running, status: int, used: "os.struct_rusage") -> tuple[bool, str]:
    """Print what it said; whether all is well, and a line of what it took."""
    with running.said as said:
        said.seek(0)
        sys.stdout.buffer.write(f"\n{running.name}\n".encode() + said.read())
        sys.stdout.flush()
    code, took_s = os.waitstatus_to_exitcode(status), time.monotonic() - running.began
    cpu_s, peak_mb = used.ru_utime + used.ru_stime, used.ru_maxrss // (1024 if sys.platform == "linux" else 1024**2)
    how = "passed" if not code else f"ended with {code}"
    return not code, f"{running.name:12}{how:16}{took_s:6.0f} s{cpu_s:6.0f} s of CPU{peak_mb:7} MB in one process"


def run(parts: Sequence[str], told: Sequence[str], at_once: int) -> Iterator[tuple[bool, str]]:
    """How each ended, in the order in which they did."""
    waiting, running = list(parts), dict[int, Running]()
    while waiting or running:
        while waiting and len(running) < at_once:
            pid, begun = begin(waiting.pop(0), told)
            running[pid] = begun
        pid, status, used = os.wait4(-1, 0)
        if pid in running:
            yield end(running.pop(pid), status, used)


def main(words: Sequence[str]) -> int:
    """0 if all parts passed."""
    named = [word for word in words if word in PARTS]
    load()
    ended = list(run(named or list(PARTS), [word for word in words if word not in named], AT_ONCE))
    print("\n" + "\n".join(line for _, line in ended), flush=True)
    return 0 if all(passed for passed, _ in ended) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
