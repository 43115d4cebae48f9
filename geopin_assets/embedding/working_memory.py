"""A bound on the memory that threads decode in at once: one image may need 0.8 GB, and there are 16 threads.

Not here: what an image needs (`jpeg.py`, `pillow_image.py`), the bound on undecoded bytes (`budget.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class WorkingMemory:
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
