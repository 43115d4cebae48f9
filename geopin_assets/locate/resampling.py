"""How far a figure may be off: intervals over resampled groups of questions.

Here: the resampling. Not here: figures (`figures.py`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Figure = Callable[[NDArray[np.intp]], float]
"""Of the questions with these numbers."""
_RESAMPLES = 1_000


def interval(groups: Sequence[str], figure: Figure) -> tuple[float, float]:
    """95 % of the figure over resampled groups; the same every time."""
    random = np.random.default_rng(0)
    members: dict[str, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    all_groups = [np.array(numbers) for numbers in members.values()]
    drawn = (random.integers(len(all_groups), size=len(all_groups)) for _ in range(_RESAMPLES))
    figured = [figure(np.concatenate([all_groups[n] for n in chosen])) for chosen in drawn]
    low, high = np.quantile(figured, [0.025, 0.975])
    return float(low), float(high)
