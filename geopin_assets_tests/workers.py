"""Plugin of pytest: what each process of the suite took, and memory given back between tests.

`make test` runs each part of the suite in a process of its own, `make test-faults` runs modules in workers. Their peak
of memory, and the CPU of them and of what they started, is printed at the end, and which modules took the most of it.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, SEED

FIRST = (
    *("ui/test_backfill_story", "defs/running/test_local_run", "faults/test_killed", "defs/test_index_state"),
    *("benchmarks", "faults", "cli/test_ui", "cli/test_killed_run", "defs/running", "defs", "cli", "index"),
    *("real/test_recall", "embedding/test_decod", "embedding", "store", "sources/test_tenth_source", "test_packaging"),
)
"""What takes longest begins first, so that no worker is left alone with it at the end."""

_GROWTH_MB = 100
_kept_mb = [0]
_MOST = 12
"""So many modules are named at the end."""
_took: dict[str, str] = {}
_cpu_s: Counter[str] = Counter()
_more_mb: Counter[str] = Counter()
"""What each module took: of CPU, and how much higher the peak of memory is since."""
_before = [0.0, 0]


def pytest_configure(config: pytest.Config) -> None:
    """What a shell starts in the background ignores interrupts. Dagster then has all that it starts ignore SIGTERM too,
    and waits half a minute at each step for two `tail` that do not end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Modules and 8,000 tests are there to the end: no search for garbage needs to look at them, and few do find any.
    It was a quarter of what some modules took."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    _before[:] = sum(os.times()[:4]) + _running_s(os.getpid()), _peak_mb()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By modules, whatever their tests are called: what a module has made for its tests is made once."""
    items.sort(key=lambda item: _place(item.nodeid.partition("::")[0]))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or nextitem.path != item.path:
        _note(item.nodeid.partition("::")[0].removeprefix("geopin_assets_tests/"))


def pytest_runtest_logfinish() -> None:
    """The allocator of glibc keeps what models and images took; a worker would grow to twice its size.

    Looked for by size, after each test: a search for garbage takes a tenth of a second, and few tests leave any.
    """
    if sys.platform == "linux" and _resident_mb() > _kept_mb[0] + _GROWTH_MB:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _kept_mb[0] = _resident_mb()


def _place(module: str) -> int:
    return next((number for number, part in enumerate(FIRST) if part in module), len(FIRST))


def _note(module: str) -> None:
    """What it started and has not waited for is its own too, not that of who happens to run when it ends."""
    cpu_s, peak_mb = sum(os.times()[:4]) + _running_s(os.getpid()), _peak_mb()
    _cpu_s[module] += cpu_s - _before[0]
    _more_mb[module] += peak_mb - _before[1]
    _before[:] = cpu_s, peak_mb


def _running_s(parent: int) -> float:
    """CPU seconds of the processes that one started and that still run, and of what those waited for. Linux only."""
    took_s = 0.0
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):  # a thread or a process that just ended
            for child in children.read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                took_s += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + _running_s(int(child))
    return took_s


def _resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output |= {"took": _taken(), "cpu_s": dict(_cpu_s), "more_mb": dict(_more_mb)}


def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    _took[node.gateway.id] = output.get("took", "died")
    _cpu_s.update(output.get("cpu_s", {}))
    _more_mb.update(output.get("more_mb", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, took in sorted((_took or {"this process": _taken()}).items()):
        terminalreporter.write_line(f"{name}: {took}")
    for what, counts in (("s of CPU", _cpu_s), ("MB more at most", _more_mb)):
        most = [f"{module} {amount:.0f}" for module, amount in counts.most_common(_MOST) if amount >= 1]
        terminalreporter.write_line(f"{what}: {', '.join(most)}")
    if IS_LONG:
        terminalreporter.write_line(f"the same again: make test-long SEED={SEED}")


def _taken() -> str:
    times = os.times()
    own_s, started_s = times.user + times.system, times.children_user + times.children_system
    loaded = ", PyTorch in it" if "torch" in sys.modules else ""
    return f"at most {_peak_mb()} MB{loaded}, {own_s:.0f} s of CPU, {started_s:.0f} s in what it started"


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1024**2)
