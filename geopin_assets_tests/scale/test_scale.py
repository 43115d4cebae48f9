"""Two machines that share nothing but a Postgres, a Redis and an S3, and are killed at the worst moment."""

import os
import re
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geopin_assets.defs.declare import asset_key
from geopin_assets.defs.graph import EMBEDDINGS, GRAPH, RAW, node
from geopin_assets.defs.running.backfills import InstanceBackfills
from geopin_assets.defs.running.queues import QUEUE_TAG
from geopin_assets.defs.running.under_way import living_runs
from geopin_assets.regions import region
from geopin_assets_tests.faults.work import content_of
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import Installation, Platform
from geopin_assets_tests.scale.machines import Machine, machines, materialize, switch_off_automation, until
from geopin_assets_tests.scale.page import CHECKOUT, PAGE

pytestmark = [
    pytest.mark.skipif("GEOPIN_TEST_SCALE" not in os.environ, reason="minutes of several machines: make test-scale"),
    pytest.mark.timeout(3600),
]
REGION = "+".join(f"nh-amsterdam-r{row:03d}c{column:03d}" for row in (89, 90) for column in range(50, 54))
"""Two ranges of cells, so two runs an asset: one on either machine with a GPU."""
CELLS = region(REGION)
LAYERS = [row.key for row in GRAPH if row.cells_per_run and row.above]
PUBLISHING = [key for key in LAYERS if node(key).queue == "publish"]
CRAWLED = [name.partition("/")[2] for name in RAW]
OTHERS = "On the second, and on every other one with a GPU"
CONTROL = 2
"""Services of the first machine before its workers: the webserver and the daemon."""
MINUTE_S = 60.0
IN_THE_MIDDLE_S = 1.0
"""After a step's start: what it imports takes longer, and all cells together some seconds."""


def made(instance: dg.DagsterInstance, key: str) -> Counter[str]:
    """Cell -> how often it was made."""
    cells, cursor = Counter[str](), None
    while True:
        page = instance.fetch_materializations(asset_key(key), 1000, cursor)
        cells.update(record.partition_key for record in page.records if record.partition_key)
        if not page.has_more:
            return cells
        cursor = page.cursor


def at_work(instance: dg.DagsterInstance, machine: str, keys: Collection[str]) -> dg.DagsterRun | None:
    """A run of these assets that the machine is in the middle of."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        task = instance.run_launcher.celery.AsyncResult(run.tags["dagster-celery/task_id"])  # type: ignore[attr-defined]
        if not {key.to_user_string() for key in run.asset_selection or ()} & set(keys):
            continue
        begun = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
        is_there = task.state == "STARTED" and task.info["hostname"].endswith(f"@{machine}")
        if is_there and begun and time.time() - begun[0].timestamp > IN_THE_MIDDLE_S:
            return run
    return None


def finish(instance: dg.DagsterInstance, key: str) -> None:
    """Wait until all cells of an asset are made and nothing is under way."""

    def is_over() -> bool:
        return not living_runs(instance) and made(instance, key).keys() >= set(CELLS)

    until(is_over, patience_s=900, what=f"the end of {key}")


def noticed_after_s(instance: dg.DagsterInstance, run: dg.DagsterRun, lost_at_s: float) -> float:
    """How long until the run of a lost machine was failed."""

    def ended() -> float | None:
        record = instance.get_run_record_by_id(run.run_id)
        assert record is not None
        return record.end_time if record.dagster_run.status == dg.DagsterRunStatus.FAILURE else None

    end_s = until(ended, what="noticing that a machine is lost")
    assert end_s is not None
    return end_s - lost_at_s


def made_alone(folder: Path, port: int, photos: str) -> dict[str, Any]:
    """What one machine makes of the same."""
    with instance_in(folder) as instance:
        one = Platform(folder / "one", port, GEOPIN_OWN_PHOTOS_DIR=photos)
        layers = one.run(instance, tuple(CELLS), tuple(CRAWLED), reports=False)
        assert not [layer for layer in layers.values() if layer.asset in LAYERS and layer.failed]
    return content_of(one, CELLS, port)


def test_two_machines_that_are_killed_make_what_one_makes(
    variables: dict[str, str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s, alone = time.monotonic(), tmp_path / "alone"
    alone.mkdir()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as beside,
        machines(tmp_path, variables, ["first", "second", "third"]) as (first, second, third),
    ):
        wanted = beside.submit(made_alone, alone, port, variables["GEOPIN_OWN_PHOTOS_DIR"])
        monkeypatch.setenv("DAGSTER_HOME", str(first.home))
        first.set_up("On the first")
        with dg.DagsterInstance.get() as instance:
            figures = lose_two(instance, first, second, third)
            once = {key: made(instance, key) for key in LAYERS}
            for queue in ("catalog", "publish"):
                assert_one_at_a_time(instance, queue)
        two = Installation(tmp_path, variables)
        two.set(GEOPIN_DATA=str(first.home / ".geopin" / "sandbox"))
        assert content_of(two, CELLS, port) == wanted.result()
    assert once == {key: Counter(CELLS) for key in LAYERS}
    took = f"{time.monotonic() - began_s:.0f} s in all"
    noticed = ", ".join(f"lost in {what}: noticed after {after_s:.0f} s" for what, after_s in figures.items())
    assert max(figures.values()) < MINUTE_S
    summary = f"test-scale: {len(CELLS)} cells, three machines, Postgres, Redis, S3: as one machine; {noticed}; {took}"
    if os.sep in (to := os.environ["GEOPIN_TEST_SCALE"]):
        (CHECKOUT / to).write_text(f"{summary}\n")
    print(f"\n{summary}")


def assert_one_at_a_time(instance: dg.DagsterInstance, queue: str) -> None:
    """No run of the queue began before the one before it had ended."""
    records = instance.get_run_records(dg.RunsFilter(tags={QUEUE_TAG: queue}))
    times = sorted((record.start_time or 0.0, record.end_time or 0.0) for record in records)
    assert times and all(ended <= begins for (_, ended), (begins, _) in pairwise(times)), (queue, times)


def lose_two(instance: dg.DagsterInstance, first: Machine, second: Machine, third: Machine) -> dict[str, float]:
    """The whole graph, with a machine lost in embedding and one in publishing; when each was noticed."""
    switch_off_automation(instance, first.home / "workspace.yaml")
    first.serve("On the first")
    for machine in (second, third):
        machine.serve(OTHERS)
    until(lambda: InstanceBackfills(instance).has_daemon() and first.has_webserver(), what="the services' start")
    crawl(instance, first)
    figures = {}
    for key in LAYERS:
        materialize(first.webserver, key, CELLS)
        if key == EMBEDDINGS:
            run = until(lambda: at_work(instance, "second", [EMBEDDINGS]), what="embedding on the second")
            figures["embedding"] = noticed_after_s(instance, run, second.lose())
        elif key == PUBLISHING[-1]:
            run = until(lambda: at_work(instance, "first", PUBLISHING), what="publishing on the first")
            lost_at_s = first.lose(keep=CONTROL)
            first.serve("On the first", "celery")
            figures["publishing"] = noticed_after_s(instance, run, lost_at_s)
        finish(instance, key)
    return figures


def crawl(instance: dg.DagsterInstance, first: Machine) -> None:
    """One source by the command of the page, all others as the UI does; some of the sandbox fail on purpose."""
    (command,) = re.findall(r"^geopin backfill .+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    others = [name for name in CRAWLED if f"geopin backfill {name} " not in command]
    for name in others:
        materialize(first.webserver, f"raw/{name}", CELLS)
    first.do(command.replace("nh-amsterdam", REGION))
    until(lambda: not living_runs(instance), patience_s=900, what="the end of crawls")
