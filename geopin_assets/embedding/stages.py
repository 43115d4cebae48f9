"""Timing of overlapping stages, so that a report can name the one that holds the others up."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class StageClock:
    """Counts the seconds spent in each stage, across threads and tasks."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._lock = Lock()
        self._total: defaultdict[str, float] = defaultdict(float)
        self._active: defaultdict[str, int] = defaultdict(int)
        self._peak: defaultdict[str, int] = defaultdict(int)
        self._reported: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as time of one lane of this stage."""
        with self._lock:
            self._active[name] += 1
            self._peak[name] = max(self._peak[name], self._active[name])
        started = self._now()
        try:
            yield
        finally:
            with self._lock:
                self._active[name] -= 1
                self._total[name] += self._now() - started

    def lap(self) -> dict[str, float]:
        """Per stage, its lanes' seconds since the last lap over the most lanes seen at once.

        That is the wall time it needed itself.
        """
        with self._lock:
            now = {name: total / self._peak[name] for name, total in self._total.items()}
            before, self._reported = self._reported, now
        return {name: max(seconds - before.get(name, 0.0), 0.0) for name, seconds in now.items()}
