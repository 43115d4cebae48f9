"""A new model's index takes the place of the one in use only where it is not worse beyond the interval."""

from pathlib import Path

import numpy as np
import pytest

from geopin_assets.files.object_store import open_store
from geopin_assets.locate.switching import judged
from geopin_assets.locate.verdict import FEWEST, Verdict, read_verdict


def verdict(before: float, after: float, count: int) -> Verdict:
    """Of so many questions, in groups of five, of which these shares were answered right."""
    random = np.random.default_rng(1)
    groups = [str(n // 5) for n in range(count)]
    return judged("new", "old", groups, list(random.random(count) < before), list(random.random(count) < after))


@pytest.mark.parametrize(
    ("before", "after", "count", "may_switch"),
    [
        (0.5, 0.8, 400, True),
        (0.5, 0.5, 400, True),
        (0.8, 0.5, 400, False),
        (0.5, 0.0, 100, False),
        (0.5, 0.9, FEWEST - 1, False),
        (0.0, 0.0, 0, False),
    ],
)
def test_a_model_that_finds_less_waits_and_so_does_one_that_too_little_is_known_of(
    before: float, after: float, count: int, may_switch: bool
) -> None:
    told = verdict(before, after, count)
    assert told.may_switch is may_switch
    assert told.in_words().startswith("new is not worse than old" if may_switch else "searches stay with old")
    assert ("geopin index switch new" in told.in_words()) is not may_switch


def test_before_any_model_was_compared_there_is_no_verdict(tmp_path: Path) -> None:
    assert read_verdict(open_store(tmp_path)) is None
