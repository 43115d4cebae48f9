"""A run that its time is too short for: it stops, hands on the rest, and another does that, by Dagster's own daemon."""

import re
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.defs.running.backfills import InstanceBackfills
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.ui.city import CELLS, served
from geopin_assets_tests.ui.live_dagster import instance_at, live_dagster, prepare_home

SOURCE = "panoramax"
FAILED, SUCCEEDED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS

pytestmark = [
    pytest.mark.skipif(not IS_LONG, reason="a daemon for three minutes: make test-faults"),
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize(("limit_s", "requests_per_s"), [(90, 0.7), (60, 0.4)])
def test_a_backfill_that_no_single_run_has_time_for_is_done_whole(
    tmp_path: Path, limit_s: int, requests_per_s: float
) -> None:
    home = prepare_home(tmp_path / "home")
    config = (home / "dagster.yaml").read_text()
    shorter = re.sub(r"(max_runtime_seconds: )\d+", rf"\g<1>{limit_s}", config)
    (home / "dagster.yaml").write_text(re.sub(r"(poll_interval_seconds: )\d+", r"\g<1>2", shorter))
    with served({SOURCE: CELLS}) as port:
        variables = {
            "GEOPIN_PROFILE": "sandbox",
            "GEOPIN_SANDBOX_PORT": str(port),
            "GEOPIN_DATA": str(tmp_path / "data"),
            "GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": str(requests_per_s),
        }
        with live_dagster(home, variables) as dagster, instance_at(home) as instance:
            dagster.stop_sensors()
            started = InstanceBackfills(instance).launch(f"raw/{SOURCE}", CELLS, title="slow", tags={})
            ended = dagster.await_backfill(started, patience_s=1500)
            runs = instance.get_runs()[::-1]
            crawled = sorted(cell_id for run in runs for cell_id in cells_of(instance, run.run_id))
            said = [failure_of(instance, run.run_id) for run in runs]
    note("runs near their limit", attempts=len(runs), captures_lost=len({*CELLS} - {*crawled}))
    assert ended["status"] == "COMPLETED_SUCCESS", (said, ended)
    assert len(runs) > 1 and [run.status for run in runs] == [FAILED] * (len(runs) - 1) + [SUCCEEDED]
    assert all(f"the limit of {limit_s} s a run" in text and "handed on" in text for text in said[:-1]), said
    assert crawled == sorted(CELLS), "each cell once"


def cells_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    page = instance.get_records_for_run(run_id, None, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000)
    return [str(record.partition_key) for record in page.records]


def failure_of(instance: dg.DagsterInstance, run_id: str) -> str:
    page = instance.get_records_for_run(run_id, None, dg.DagsterEventType.STEP_FAILURE, limit=10)
    failures = [record.event_log_entry.dagster_event.step_failure_data for record in page.records]
    return " ".join(failure.error_display_string for failure in failures)
