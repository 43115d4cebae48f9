"""How far a figure may be off, and what of known answers is kept unseen: groups of questions, resampled and in folds.

A group is what one drive, or one creator in one block of cells, showed: it is never on both sides. Not here: figures
(`figures.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Figure = Callable[[NDArray[np.intp]], float]
"""Of the questions with these numbers."""
FOLDS = 5
_RESAMPLES = 1_000


def folds(groups: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """By fold, the numbers of all but those in it, and of those in it; the same every time."""
    fold = np.array([crc32(group.encode()) % FOLDS for group in groups])
    for number in np.unique(fold):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def interval(groups: Sequence[str], figure: Figure) -> tuple[float, float]:
    """95 % of the figure over resampled groups; the same every time."""
    random = np.random.default_rng(0)
    names, group = np.unique(groups, return_inverse=True)
    drawn = (random.integers(len(names), size=len(names)) for _ in range(_RESAMPLES))
    times = (np.bincount(chosen, minlength=len(names))[group] for chosen in drawn)
    figured = [figure(np.repeat(np.arange(len(group)), each)) for each in times]
    low, high = np.quantile(figured, [0.025, 0.975])
    return float(low), float(high)
