"""How deep the suite goes: `make test` takes a few examples of every kind, `make test-long` many, from another seed.

Here: which of the two this run is, and its seed. Not here: examples themselves.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")

IS_LONG = os.environ.get("GEOPIN_TEST_DEPTH") == "long"
SEED = int(os.environ.get("GEOPIN_TEST_SEED") or 0)
"""Of everything that is random; `make test` always takes the same, `make test-long` prints the one it took."""


def examples(usual: int, long: int) -> int:
    """How many examples to take."""
    return long if IS_LONG else usual


def some(items: Sequence[T], usual: int = 1) -> Sequence[T]:
    """All items, or the first of them, where each costs seconds and shows the same."""
    return items if IS_LONG else items[:usual]


def load_hypothesis_profile() -> None:
    """Examples of properties that do not say how many. Failures print what repeats them."""
    settings.register_profile("usual", max_examples=25, deadline=None, derandomize=True, print_blob=True)
    settings.register_profile("long", max_examples=500, deadline=None, print_blob=True)
    settings.load_profile("long" if IS_LONG else "usual")
