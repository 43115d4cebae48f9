"""Two and three processes at once on the same data: whoever comes second waits, or finds it done."""

from typing import Any

import pytest

from geopin_assets_tests.depth import IS_LONG, some
from geopin_assets_tests.faults.conftest import Scene
from geopin_assets_tests.faults.verdict import note


@pytest.mark.parametrize("count", some([2, 3]))
def test_first_runs(scene: Scene, first: Any, count: int) -> None:
    """Nothing is there: no Dagster home, no catalog, no ledger, no index."""
    folder = scene.new("together")
    ended = scene.workers.run(*[scene.task("region", folder)] * count)
    lost = scene.content(folder) != scene.content(str(first / "made"))
    clean = all((one.signal, one.error, one.returned) == (0, "", {}) for one in ended)
    note("first runs at once", attempts=count, captures_lost=int(lost), unclean_ends=int(not clean))
    assert clean, ended
    assert not lost


@pytest.mark.skipif(not IS_LONG, reason="seven runs one after the other: make test-faults")
def test_a_run_a_takedown_and_a_switch(scene_after_first: Scene) -> None:
    scene, (whole, folder) = scene_after_first, map(scene_after_first.new, ("whole", "together"))
    gone = scene.do("captures_of", whole, source="amsterdam").returned[:1]
    for work, arguments in (("region", {}), ("take_down", {"capture_ids": gone}), ("switch", {})):
        scene.whole(work, whole, **arguments)
    ended = scene.workers.run(
        scene.task("region", folder),
        scene.task("take_down", folder, capture_ids=gone),
        scene.task("switch", folder),
    )
    clean = all(one.signal == 0 and not one.error for one in ended)
    for work, arguments in (("take_down", {"capture_ids": gone}), ("region", {}), ("switch", {})):
        scene.whole(work, folder, **arguments)  # what waited in vain is repeated, as it says
    served = scene.do("served", folder, capture_ids=gone).returned
    lost = scene.content(folder) != scene.content(whole)
    note(
        "run, takedown and switch at once", attempts=3, unclean_ends=int(not clean),
        taken_down_served=len(served), captures_lost=int(lost),
    )  # fmt: skip
    assert clean, ended
    assert not served and not lost
