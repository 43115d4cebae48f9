"""What the pipeline's stages share: a clock, so that a report can name the slowest, and bounds on memory.
memory.

Undecoded, 64 bodies of 32 MB would be 2 GB; to decode one image may take 0.8 GB, and there are 16 threads. Here:
bytes taken and given back in turn, by the tasks of an event loop and by threads. Not here: who takes how many
(`fetching.py`, `decoding.py`), or until when (`reading.py`).
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class TaskMemory:
    """Bytes shared by the tasks of one event loop. First come, first served, lest a large image waits for ever.

    Whoever asks for more than the whole gets the whole, and gives it back in the same words.
    """

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self.free = whole
        """Bytes that nobody has taken."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> None:
        """Wait for `amount` bytes and for everybody who asked before."""
        if self.take_now(amount):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((self._clipped(amount), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # served and cancelled in the same breath
                self.give_back(amount)
            self._serve()
            raise

    def take_now(self, amount: int) -> bool:
        """Take them if that needs no waiting."""
        if self._waiting or self._clipped(amount) > self.free:
            return False
        self.free -= self._clipped(amount)
        return True

    def give_back(self, amount: int, *, but: int = 0) -> None:
        """Return what one `take(amount)` took, all or all `but` some, which are given back later."""
        self.free += self._clipped(amount) - self._clipped(but)
        self._serve()

    def _clipped(self, amount: int) -> int:
        return min(amount, self._whole)

    def _serve(self) -> None:
        """Serve from the front as far as the bytes go; those who left are skipped."""
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done():
                if amount > self.free:
                    return
                self.free -= amount
                turn.set_result(None)
            self._waiting.popleft()


class ThreadMemory:
    """Bytes shared by threads. Whoever needs more than the whole gets it alone; nobody overtakes who waits."""

    def __init__(self, whole: int) -> None:
        self._whole = self._free = whole
        self._next, self._changed = Lock(), Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait for `amount` bytes, and have them within the context."""
        amount = min(amount, self._whole)
        with self._next, self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify()


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
