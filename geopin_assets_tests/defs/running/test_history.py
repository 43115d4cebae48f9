"""Old runs go, and nothing that is there now looks as if it were not: in SQLite as in a real Postgres."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.cells import cell_ids
from geopin_assets.defs.automation.cell_events import MADE, PLANNED, CellLog
from geopin_assets.defs.automation.follow import Follow
from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.declare import cell_asset
from geopin_assets.defs.running.backfills import InstanceBackfills
from geopin_assets.defs.running.history import purge_backfills, purge_runs
from geopin_assets.defs.running.materialize import CellDone, CellFailed, materialize_cells

CHECKOUT = Path(__file__).parents[3]
CELLS = cell_ids()[:6]
ABOVE, BELOW = dg.AssetKey(["raw", "mapillary"]), dg.AssetKey(["catalog", "captures"])
versions: dict[str, str] = {}


def work(cells: Sequence[str]) -> Iterator[CellDone | CellFailed]:
    yield from (CellDone(cell, 1, versions.get(cell, "first")) for cell in cells)


@cell_asset(["raw", "mapillary"], cells_per_run=250)
def above(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    yield from materialize_cells(context, work)


@cell_asset(["catalog", "captures"], cells_per_run=500, deps=[above.key], automation_condition=Follow())
def below(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    yield from materialize_cells(context, work)


@pytest.fixture(params=["sqlite", "postgres"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    if request.param == "sqlite":
        shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    else:
        address = request.getfixturevalue("postgres_place")
        (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{address}'}}}}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as opened:
        yield opened


def make(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, cells: Sequence[str]) -> str:
    over = {RANGE_START: cells[0], RANGE_END: cells[-1]}
    return dg.materialize([asset], instance=instance, tags=over, selection=[asset]).run_id


def wanted(instance: dg.DagsterInstance) -> set[str]:
    """What is asked for below by somebody who looks for the first time."""
    result = dg.evaluate_automation_conditions(dg.Definitions([above, below]), instance)
    return set(result.get_requested_partitions(BELOW))


def test_runs_whose_cells_were_all_made_again_go_and_what_is_fresh_stays(instance: dg.DagsterInstance) -> None:
    versions.clear()
    first, third = make(instance, above, CELLS[:3]), make(instance, above, CELLS[3:])
    merged = make(instance, below, CELLS)
    second = make(instance, above, CELLS[:3])
    versions[CELLS[1]] = "changed"
    changed = make(instance, above, CELLS[:2])
    logs = {(key, kind): CellLog(instance, key, kind).newest for key in (ABOVE, BELOW) for kind in (MADE, PLANNED)}
    behind = wanted(instance)
    assert behind >= {CELLS[1]}
    assert purge_runs(instance, datetime.now(UTC) - timedelta(days=1)) == 0
    assert purge_runs(instance, datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert {run.run_id for run in instance.get_runs()} == {second, third, merged, changed}
    assert not list(Path(instance.root_directory).rglob(f"*{first}*"))
    assert not instance.all_logs(first)
    for (key, kind), newest in logs.items():
        assert CellLog(instance, key, kind).newest == newest
    assert wanted(instance) == behind


def test_backfills_that_are_over_go_and_those_under_way_stay(instance: dg.DagsterInstance) -> None:
    backfills = InstanceBackfills(instance)
    over, under_way = (backfills.launch("raw/mapillary", CELLS, title=name, tags={"a": "b"}) for name in ("x", "y"))
    found = instance.get_backfill(over)
    assert found is not None
    instance.update_backfill(found.with_status(type(found.status).COMPLETED_SUCCESS))
    assert purge_backfills(instance, datetime.now(UTC) - timedelta(days=1)) == 0
    assert purge_backfills(instance, datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert [left.backfill_id for left in instance.get_backfills()] == [under_way]
