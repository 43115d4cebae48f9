"""Rows that come frame by frame, because all of them together may be too many: how they are cut, filled and sent.

Not here: what is desired (`defs/`), or what is done with a frame (`targets.py`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import polars as pl

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()

Frames = Callable[[], Iterable[pl.DataFrame]]
"""What cells desire, in frames small enough to hold; each call gives the same rows again.

They are read once to be hashed and, where something differs, once more to be sent: of a cell of 100,000 panoramas only
ids and hashes are held together.
"""

VECTOR_CAPTURES_AT_ONCE, ROW_CAPTURES_AT_ONCE = 100_000, 50_000
"""Captures whose vectors, or rows, one publish should take together. Of vectors only hashes are held, and each publish
waits half a minute for Cloudflare; rows are held as they are sent."""


def frames_of(desired: pl.DataFrame | Frames) -> Frames:
    """One frame as what is read frame by frame."""
    return (lambda: [desired]) if isinstance(desired, pl.DataFrame) else desired


def in_chunks(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """The rows of all frames in frames of `size`; the last one holds what is left."""
    left: pl.DataFrame | None = None
    for frame in frames:
        rows = frame if left is None else pl.concat([left, frame])
        whole = rows.height - rows.height % size
        yield from rows.head(whole).iter_slices(size)
        left = rows.slice(whole)
    if left is not None and left.height:
        yield left


def filled(items: Iterable[bytes], most_bytes: int, most: int | None = None) -> Iterator[list[bytes]]:
    """Items in order, as many together as fit with a separator each, `most` at most; at least one."""
    together: list[bytes] = []
    size = 0
    for item in items:
        if together and (size + len(item) + 1 > most_bytes or len(together) == most):
            yield together
            together, size = [], 0
        together.append(item)
        size += len(item) + 1
    if together:
        yield together


@contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items; while one is used, a thread makes the next, and no more than that. It ends with the block.

    A generator alone would leave the thread to the garbage collector, which may run in that very thread: it cannot
    wait for itself.
    """
    with ThreadPoolExecutor(1) as thread:
        yield _ahead(items, thread)


def _ahead(items: Iterator[T], thread: ThreadPoolExecutor) -> Iterator[T]:
    following = thread.submit(next, items, _END)
    while (item := following.result()) is not _END:
        following = thread.submit(next, items, _END)
        yield item


def last_alone(work: Callable[[T], R], items: Iterator[T], at_once: int) -> Iterator[R]:
    """What `work` makes of each, in order: `at_once` side by side, and the last one when all others are done.

    No more items are held than are worked on, and one.
    """
    last = next(items)
    with ThreadPoolExecutor(at_once) as threads:
        under_way = deque[Future[R]]()
        for item in items:
            if len(under_way) == at_once:
                yield under_way.popleft().result()
            under_way.append(threads.submit(work, last))
            last = item
        yield from (future.result() for future in under_way)
        yield work(last)
