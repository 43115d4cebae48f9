"""Plugin of pytest: what each process of the suite took, and memory given back between tests.

`make test` runs the suite in several workers, a module in one of them. Their peak of memory, and the CPU of them and
of what they started, is printed at the end.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
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
_took: dict[str, str] = {}


def pytest_configure() -> None:
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


def pytest_runtest_logfinish() -> None:
    """The allocator of glibc keeps what models and images took; a worker would grow to twice its size.

    Looked for by size, after each test: a search for garbage takes a tenth of a second, and few tests leave any.
    """
    if sys.platform == "linux" and _resident_mb() > _kept_mb[0] + _GROWTH_MB:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _kept_mb[0] = _resident_mb()


def _resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["took"] = _taken()


def pytest_testnodedown(node: Any) -> None:
    _took[node.gateway.id] = getattr(node, "workeroutput", {}).get("took", "died")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, took in sorted((_took or {"this process": _taken()}).items()):
        terminalreporter.write_line(f"{name}: {took}")
    if IS_LONG:
        terminalreporter.write_line(f"the same again: make test-long SEED={SEED}")


def _taken() -> str:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1024**2)
    times = os.times()
    own_s, started_s = times.user + times.system, times.children_user + times.children_system
    loaded = ", PyTorch in it" if "torch" in sys.modules else ""
    return f"at most {peak_mb} MB{loaded}, {own_s:.0f} s of CPU, {started_s:.0f} s in what it started"
