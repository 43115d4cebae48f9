"""Whether reading foreign text takes time in proportion to its length: CPU seconds at n, 2n and 4n.

Here: the measure. Not here: texts and readers. CPU of the calling thread, the least of several tries where the first
looks like growth, and a wide bound: four times the text may take eight times as long; what is quadratic takes sixteen.
Of the two doublings the one that costs less counts: memory that the system hands out anew from some size on, or a
cache that is full, makes one of them dear, and what is quadratic both.
"""

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

Text = TypeVar("Text", str, bytes)

MOST = 8.0
_TRIES = 12
_MEASURABLE_S, _NOTICEABLE_S = 0.001, 0.003
_SMALLEST, _LARGEST = 1024, 2**20


def growth(read: Callable[[Text], object], grain: Text, *, before: Text | None = None) -> float:
    """How many times as long four times as many grains take, of whatever number takes a millisecond."""
    head = grain[:0] if before is None else before
    size = _SMALLEST
    while size < _LARGEST and _cpu_s(read, head + grain * (size // len(grain))) < _MEASURABLE_S:
        size *= 2
    texts = [head + grain * (factor * size // len(grain)) for factor in (1, 2, 4)]
    least = [math.inf] * len(texts)
    for _ in range(_TRIES):
        least = [min(time_s, _cpu_s(read, text)) for time_s, text in zip(least, texts, strict=True)]
        doubled = min(more / less for less, more in pairwise(least))
        if doubled**2 < MOST or least[2] > 1:
            break
    return doubled**2 if least[2] > _NOTICEABLE_S else 1.0


def _cpu_s(read: Callable[[Text], object], text: Text) -> float:
    started = time.thread_time()
    read(text)
    return time.thread_time() - started
