"""Two and three processes at once on the same data: whoever comes second waits, or finds it done."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.faults.conftest import BACKENDS, First, Scene
from geopin_assets_tests.faults.verdict import note

WORKS = ("region", "take_down", "switch", "reconcile_all", "upkeep")
PAIRS = [*combinations_with_replacement(WORKS, 2)]
TRIPLES = [(work,) * 3 for work in WORKS] + [("region", "take_down", "switch"), ("region", "reconcile_all", "upkeep")]
_WHOLE: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
"""What works leave that are done one after the other, by backend: of twice and three times the same it is the same."""
at_each_backend = pytest.mark.parametrize("backend", some(BACKENDS))
only_long = pytest.mark.skipif(not IS_LONG, reason="several runs one after the other: make test-faults")


@at_each_backend
@pytest.mark.parametrize("count", some([2, 3]))
def test_first_runs(scene: Scene, first: First, count: int) -> None:
    """Nothing is there: no Dagster home, no catalog, no ledger, no index."""
    folder = scene.new("together")
    ended = scene.workers.run(*[scene.task("region", folder)] * count)
    lost = scene.content(folder) != first.content
    clean = all((one.signal, one.error, one.returned) == (0, "", {}) for one in ended)
    note(f"{scene.backend}: first runs at once", attempts=count, captures_lost=int(lost), unclean_ends=int(not clean))
    assert clean, ended
    assert not lost


@only_long
@at_each_backend
@pytest.mark.parametrize("works", [*PAIRS, *TRIPLES], ids=" and ".join)
def test_everything_beside_everything(scene: Scene, first: First, works: Sequence[str]) -> None:
    """What waited in vain is repeated, as it says; the end is that of one after the other."""
    folder, in_order = scene.new("together", first), tuple(work for work in WORKS if work in works)
    gone = scene.do("captures_of", folder, source="amsterdam").returned[:1] if "take_down" in works else []
    if (key := (scene.backend, in_order)) not in _WHOLE:
        whole = scene.new("whole", first)
        for work in in_order:
            scene.whole(work, whole, **arguments_of(work, gone))
        _WHOLE[key] = scene.content(whole)
    ended = scene.workers.run(*(scene.task(work, folder, **arguments_of(work, gone)) for work in works))
    clean = all(one.signal == 0 and not one.error for one in ended)
    for work in in_order:
        scene.whole(work, folder, **arguments_of(work, gone))
    served = scene.do("served", folder, capture_ids=gone).returned
    lost = scene.content(folder) != _WHOLE[key]
    note(
        f"{scene.backend}: {len(works)} at once", attempts=len(works), unclean_ends=int(not clean),
        taken_down_served=len(served), captures_lost=int(lost),
    )  # fmt: skip
    assert clean, ended
    assert not served and not lost


def arguments_of(work: str, gone: Sequence[str]) -> dict[str, Any]:
    return {"capture_ids": gone} if work == "take_down" else {}
