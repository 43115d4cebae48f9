"""Runs whose process is gone are closed; what two doors do at once is done once."""

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from geopin_assets.defs.automation.cell_events import cells_under_way
from geopin_assets.defs.declare import cell_asset, cells
from geopin_assets.defs.running.local_run import layer
from geopin_assets.defs.running.materialize import CellDone, CellFailed, materialize_cells
from geopin_assets.defs.running.under_way import PROCESS_TAG, living_runs, process_tag
from geopin_assets.files.lease import Leases
from geopin_assets_tests.files.processes import at_work, start
from geopin_assets_tests.instances import instance_in

RUN_AND_HANG = """
    import sys, time
    from pathlib import Path
    import dagster as dg
    from geopin_assets.defs.running.local_run import layer
    from geopin_assets_tests.defs.running.test_under_way import job, KEYS
    from geopin_assets_tests.instances import instance_in
    with instance_in(Path(sys.argv[1])) as instance:
        layer(job("hangs"), instance, "catalog/captures", KEYS)
"""
KEYS = tuple(cells.get_partition_keys()[:3])


def job(how: str = "") -> dg.JobDefinition:
    """One asset whose work says that it began, and may then hang."""

    @cell_asset(["catalog", "captures"], cells_per_run=500)
    def captures(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        def work(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
            for number, cell_id in enumerate(cell_ids):
                if how == "hangs" and number == 1:
                    Path(context.instance.root_directory, "began").touch()
                    signal.pause()
                yield CellDone(cell_id, 1, "same")

        yield from materialize_cells(context, work)

    return dg.Definitions(assets=[captures], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()


def await_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


def test_a_run_whose_process_was_killed_is_closed_and_its_cells_are_free(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        with start(RUN_AND_HANG, tmp_path) as process:
            await_file(tmp_path / "began")
            (run,) = living_runs(instance)
            assert run.status is dg.DagsterRunStatus.STARTED
            assert cells_under_way(instance, cells.get_partition_keys())[dg.AssetKey(["catalog", "captures"])]
            process.kill()
            process.wait()
        assert living_runs(instance) == []
        assert cells_under_way(instance, cells.get_partition_keys()) == {}
        closed = instance.get_run_by_id(run.run_id)
        assert closed and closed.status is dg.DagsterRunStatus.CANCELED
        result = layer(job(), instance, "catalog/captures", KEYS)
        assert (result.cells, result.failed) == (3, {})
        assert instance.get_run_by_id(run.run_id) == closed


def test_a_run_of_a_living_process_stays_whatever_tags_it_copied(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        started = {"status": dg.DagsterRunStatus.STARTED}
        mine, copied, other, plain = (dg.DagsterRun("job", tags=tags, **started) for tags in ({}, {}, {}, {}))
        mine = mine.with_tags(process_tag(instance, mine.run_id))
        place = process_tag(instance, other.run_id)[PROCESS_TAG].rpartition(" ")[0]
        copied = copied.with_tags({PROCESS_TAG: f"{place} 1-gone"})
        other = other.with_tags({PROCESS_TAG: f"{other.run_id} another-host:0 1-gone"})
        for run in (mine, copied, other, plain):
            instance.add_run(run)
        assert {run.run_id for run in living_runs(instance)} == {r.run_id for r in (mine, copied, other, plain)}


def test_cells_that_another_process_has_are_done_last(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    hold = """
        import pathlib, sys, time
        from geopin_assets.files.lease import Leases
        with Leases(pathlib.Path(sys.argv[1])).held("catalog/captures", [sys.argv[2]]):
            print("held", flush=True)
            sys.stdin.readline()
    """
    order: list[str] = []

    @cell_asset(["catalog", "captures"], cells_per_run=500)
    def captures(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        def work(cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
            for cell_id in cell_ids:
                order.append(cell_id)
                if len(order) == 2:
                    assert other.stdin
                    other.stdin.write("\n")
                    other.stdin.flush()
                yield CellDone(cell_id, 1, "same")

        yield from materialize_cells(context, work)

    defs = dg.Definitions(assets=[captures], executor=dg.in_process_executor)
    with instance_in(home) as instance, at_work(hold, home / ".geopin" / "leases", KEYS[0]) as other:
        result = layer(defs.resolve_implicit_global_asset_job_def(), instance, "catalog/captures", KEYS)
    assert result.cells == 3
    assert order == [KEYS[1], KEYS[2], KEYS[0]]


def test_a_finished_run_leaves_no_lease(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        layer(job(), instance, "catalog/captures", KEYS)
    assert Leases(tmp_path / ".geopin" / "leases").holders("catalog/captures") == []


def test_first_commands_at_once_make_one_home(tmp_path: Path) -> None:
    code = """
        import os, sys
        os.environ["DAGSTER_HOME"] = sys.argv[1]
        from geopin_assets.defs.running.home import open_instance
        print("ready", flush=True)
        sys.stdin.readline()
        with open_instance() as instance:
            print(instance.get_runs_count())
    """
    (tmp_path / "dagster.yaml").write_text((Path(__file__).parents[3] / "dagster.yaml").read_text())
    processes = [start(code, tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[0], process.returncode) for process in processes] == [("0\n", 0)] * 3
