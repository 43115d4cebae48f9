"""Runs over many cells keep what they finish: the pattern of `defs/ranges.py` on an asset of its own."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pytest

from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.running.deadline import InTime
from geopin_assets.defs.running.materialize import CellDone, CellFailed, Work, materialize_cells
from geopin_assets_tests.instances import new_instance

CELLS = [f"c{number}" for number in range(12)]  # c10 sorts before c2: alphabetical is not partition order
PARTITIONS = dg.StaticPartitionsDefinition(CELLS)
POLICY = dg.BackfillPolicy.multi_run(250)
ROWS = {cell_id: 100 + number for number, cell_id in enumerate(CELLS)}


class Town(dg.ConfigurableResource):
    """What happens while its cells are worked on; another run may meet another town."""

    broken: list[str] = []
    interrupted_at: str = ""

    def work(self, cell_ids: Sequence[str]) -> Iterator[CellDone | CellFailed]:
        for cell_id in cell_ids:
            if cell_id == self.interrupted_at:
                raise KeyboardInterrupt
            if cell_id in self.broken:
                yield CellFailed(cell_id, f"503 in {cell_id}")
            else:
                yield CellDone(cell_id, ROWS[cell_id], f"v-{cell_id}", {"requests": 3})


@dg.asset(key=["raw", "town"], partitions_def=PARTITIONS, backfill_policy=POLICY, output_required=False)
def raw_town(context: dg.AssetExecutionContext, town: Town) -> Iterator[dg.MaterializeResult]:
    yield from materialize_cells(context, town.work)


@dg.asset(key=["catalog", "town"], deps=[raw_town], partitions_def=PARTITIONS, backfill_policy=POLICY)
def merged_town() -> None:
    """Comes after `raw_town`, in the same run when it is selected too."""


def town_job() -> dg.JobDefinition:
    return dg.Definitions(
        assets=[raw_town, merged_town],
        jobs=[dg.define_asset_job("town", [raw_town, merged_town])],
        resources={"town": Town()},
        executor=dg.in_process_executor,
    ).resolve_job_def("town")


def run(
    instance: dg.DagsterInstance,
    cells: Sequence[str] = CELLS,
    *,
    assets: Sequence[dg.AssetsDefinition] = (raw_town,),
    again: str = "",
    **town: Any,
) -> dg.JobExecutionResult:
    """Run the range of `cells`; `again` is the id of a run to re-execute, as the UI and run retries do it."""
    one = {"dagster/partition": cells[0]}
    return dg.execute_job(
        dg.reconstructable(town_job),
        instance,
        run_config={
            "resources": {"town": {"config": town}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=one if len(cells) == 1 else {RANGE_START: cells[0], RANGE_END: cells[-1]},
        reexecution_options=dg.ReexecutionOptions(again) if again else None,
        asset_selection=[asset.key for asset in assets],
    )


def materializations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    """What a run recorded, in the order in which it was recorded."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, ascending=True)
    return [record.asset_materialization for record in records.records if record.asset_materialization]


def recorded(instance: dg.DagsterInstance, ended: dg.JobExecutionResult) -> list[str | None]:
    return [materialization.partition for materialization in materializations(instance, ended.run_id)]


def shown(instance: dg.DagsterInstance) -> dict[str, str]:
    """The state of each cell that has one, as the UI shows it."""
    statuses = instance.get_status_by_partition(raw_town.key, CELLS, PARTITIONS) or {}
    return {cell_id: status.value for cell_id, status in statuses.items() if status}


def test_failed_cells_show_as_failed_and_all_others_as_materialized(instance: dg.DagsterInstance) -> None:
    ended = run(instance, broken=["c3", "c10"])
    assert not ended.success
    assert shown(instance) == {c: "FAILED" if c in ("c3", "c10") else "MATERIALIZED" for c in CELLS}


def test_cells_are_done_in_the_order_of_the_partitions_each_recorded_once(instance: dg.DagsterInstance) -> None:
    assert recorded(instance, run(instance)) == CELLS


def test_every_finished_cell_has_its_own_row_count_version_and_facts(instance: dg.DagsterInstance) -> None:
    ended = run(instance, broken=["c3"])
    found = materializations(instance, ended.run_id)
    assert len(found) == 11
    for event in found:
        assert event.partition is not None
        assert event.metadata["dagster/partition_row_count"].value == ROWS[event.partition]
        assert event.metadata["requests"].value == 3
        assert (event.tags or {})["dagster/data_version"] == f"v-{event.partition}"


def test_the_failure_names_the_failed_cells_and_why(instance: dg.DagsterInstance) -> None:
    ended = run(instance, broken=["c3", "c10"])
    (event,) = (e for e in ended.all_events if e.is_step_failure)
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.metadata["failed_cells"].value == 2
    assert failure.metadata["failed"].value == {"c3": "503 in c3", "c10": "503 in c10"}
    assert failure.description.startswith("2 of 12 cells failed, the others are kept. First: c3: 503 in c3")


def test_a_re_execution_does_only_what_its_family_has_not_finished(instance: dg.DagsterInstance) -> None:
    first = run(instance, broken=["c3", "c5", "c10"])
    second = run(instance, again=first.run_id, broken=["c5"])
    assert recorded(instance, second) == ["c3", "c10"]
    third = run(instance, again=second.run_id)
    assert recorded(instance, third) == ["c5"]
    assert third.success
    assert set(shown(instance).values()) == {"MATERIALIZED"}


def test_a_re_execution_of_a_complete_run_does_nothing_and_succeeds(instance: dg.DagsterInstance) -> None:
    first = run(instance)
    second = run(instance, again=first.run_id, broken=CELLS)  # any cell it touched would fail
    assert second.success
    assert recorded(instance, second) == []


def test_a_new_run_of_the_same_range_does_every_cell_again(instance: dg.DagsterInstance) -> None:
    run(instance)
    assert recorded(instance, run(instance)) == CELLS


def test_one_cell_is_an_ordinary_output_so_what_comes_after_runs_too(instance: dg.DagsterInstance) -> None:
    ended = run(instance, ["c4"], assets=(raw_town, merged_town))
    assert ended.success
    found = {event.asset_key: event for event in materializations(instance, ended.run_id)}
    assert set(found) == {raw_town.key, merged_town.key}
    assert {event.partition for event in found.values()} == {"c4"}
    assert found[raw_town.key].metadata["dagster/partition_row_count"].value == ROWS["c4"]
    assert (found[raw_town.key].tags or {})["dagster/data_version"] == "v-c4"


def test_one_failed_cell_fails_its_run_and_what_comes_after_does_not_run(instance: dg.DagsterInstance) -> None:
    ended = run(instance, ["c4"], assets=(raw_town, merged_town), broken=["c4"])
    assert not ended.success
    assert recorded(instance, ended) == []
    assert shown(instance) == {"c4": "FAILED"}


def test_an_interrupt_keeps_what_was_finished_and_a_re_execution_goes_on_from_there(
    instance: dg.DagsterInstance,
) -> None:
    first = run(instance, interrupted_at="c7")
    assert not first.success
    assert recorded(instance, first) == CELLS[:7]
    assert recorded(instance, run(instance, again=first.run_id)) == CELLS[7:]


def limited(
    work: Work, *cells: str, limit_s: str = "3", tag: str = "dagster/max_runtime", fails: bool = True
) -> tuple[str, set[str]]:
    """What a run over these cells says that has so little time, and which it did."""

    @dg.asset(key=["raw", "town"], partitions_def=PARTITIONS, backfill_policy=POLICY, output_required=False)
    def slow_town(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_cells(context, work)

    one = {"dagster/partition": cells[0]}
    tags = one if len(cells) == 1 else {RANGE_START: cells[0], RANGE_END: cells[-1]}
    with new_instance() as instance:
        ended = dg.materialize([slow_town], instance=instance, raise_on_error=False, tags=tags | {tag: limit_s})
        if ended.success and not fails:
            return "", set(instance.get_materialized_partitions(slow_town.key))
        (failure,) = ended.get_step_failure_events()
        said = failure.step_failure_data.user_failure_data
        return (said.description if said else "") or "", set(instance.get_materialized_partitions(slow_town.key))


def await_near(cells: InTime) -> None:
    while not cells.deadline.is_near:
        time.sleep(0.05)


def test_a_run_near_its_limit_finishes_what_it_began_and_says_what_is_left() -> None:
    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        for cell_id in cell_ids:
            if cell_id == CELLS[1]:
                await_near(cell_ids)
            yield CellDone(cell_id, 1, "same")

    text, done = limited(work, *CELLS, limit_s="6")  # a busy machine may take seconds to begin
    assert text.startswith("stopped in time for the limit of 6 s a run")
    assert "2 of 12 cells done, 10 left to the next run" in text
    assert done == {CELLS[0], CELLS[1]}


@pytest.mark.parametrize("cells", [CELLS[:1], CELLS])
def test_cells_that_time_is_too_short_for_have_not_failed(cells: Sequence[str]) -> None:
    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        list(cell_ids)
        await_near(cell_ids)
        yield from ()

    text, done = limited(work, *cells)
    assert text == (
        "stopped in time for the limit of 3 s a run (run_monitoring.max_runtime_seconds in dagster.yaml): "
        f"0 of {len(cells)} cells done, {len(cells)} left to the next run"
    )
    assert not done


@pytest.mark.parametrize("cells", [CELLS[:1], CELLS])
def test_a_limit_that_strikes_is_named(cells: Sequence[str]) -> None:
    """Work that looks at no time: Dagster interrupts it."""

    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        while not cell_ids.deadline.has_struck:
            time.sleep(0.05)
        raise dg.DagsterExecutionInterruptedError
        yield

    text, _ = limited(work, *cells, limit_s="1")
    assert text.startswith("ended by the limit of 1 s a run") and f"{len(cells)} left to the next run" in text


def test_a_limit_by_dagster_s_other_name_is_one_too() -> None:
    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        await_near(cell_ids)
        yield from ()

    text, _ = limited(work, *CELLS, limit_s="1", tag="dagster/max_runtime_seconds")
    assert text.startswith("stopped in time for the limit of 1 s a run")


@pytest.mark.parametrize("told", ["0", "", "two hours", "nan", "inf"])
def test_what_is_no_limit_to_dagster_is_none(told: str) -> None:
    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        yield from (CellDone(cell_id, 1, "same") for cell_id in cell_ids)

    assert limited(work, *CELLS, limit_s=told, fails=False) == ("", set(CELLS))


def test_an_interrupt_before_the_limit_is_what_it_is() -> None:
    def work(cell_ids: InTime) -> Iterator[CellDone | CellFailed]:
        raise dg.DagsterExecutionInterruptedError
        yield

    assert limited(work, *CELLS, limit_s="100") == ("", set())
